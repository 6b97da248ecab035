//! Results for people and for programs.

use serde::Serialize;
use serde_json::Value;

use crate::error::Result;

/// One JSON value on one line.
pub(super) fn json_line(value: &impl Serialize) {
    if let Ok(line) = serde_json::to_string(value) {
        println!("{line}");
    }
}

/// Octets in the unit that people read.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let unit = UNITS.get(unit).unwrap_or(&"");
    if *unit == "B" { format!("{n} B") } else { format!("{value:.1} {unit}") }
}

/// What an image takes on the disk, and how its pages are stored.
pub(super) fn stored(image: &store::Image) {
    let pages = image.manifest().stored.map_or_else(String::new, |s| {
        let kinds = [(s.raw, "raw"), (s.lz4, "LZ4"), (s.parent, "as in the parent")];
        let kinds: Vec<String> =
            kinds.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        format!(": pages {}", kinds.join(", "))
    });
    println!("stored   {} on disk{pages}", bytes(image.disk_octets()));
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

pub(super) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The stub is up.
pub(super) fn up(json: bool, result: &Value) -> Result<()> {
    if json {
        json_line(result);
    } else {
        println!(
            "the stub domain is up: domain {}, pool {} MiB",
            number(result, "domid"),
            number(result, "pool_mib")
        );
        for warning in items(result, "warnings") {
            eprintln!("warning: {}", text(warning, "message"));
            eprintln!("  {}", text(warning, "hint"));
        }
    }
    Ok(())
}

/// The stub is down.
pub(super) fn down(json: bool, result: &Value) -> Result<()> {
    if json {
        json_line(result);
    } else if result.get("domid").is_some_and(Value::is_u64) {
        println!("the stub domain is down");
    } else {
        println!("no stub domain was running");
    }
    Ok(())
}

/// A guest was attached or detached.
pub(super) fn guest(json: bool, done: &str, result: &Value) -> Result<()> {
    if json {
        json_line(result);
    } else {
        println!("{done} {} (domain {})", text(result, "guest"), number(result, "domid"));
        if let Some(network) = result.get("network").filter(|n| n.is_object()) {
            let plugged = network.get("plugged").and_then(Value::as_bool).unwrap_or(false);
            let how = if plugged { "now has a vif on" } else { "was already on" };
            println!("  {how} network {}, MAC address {}", text(network, "name"), text(network, "mac"));
        }
    }
    Ok(())
}

/// What runs.
pub(super) fn status(json: bool, result: &Value) -> Result<()> {
    if json {
        json_line(result);
        return Ok(());
    }
    println!("Xen {}", text(result, "xen"));
    let stub = result.get("stub").unwrap_or(&Value::Null);
    match text(stub, "state") {
        "up" => println!(
            "stub domain up: domain {}, pool {} MiB",
            number(stub, "domid"),
            number(stub, "pool_mib")
        ),
        _ => println!("stub domain down: {}. {}", text(stub, "reason"), text(stub, "hint")),
    }
    let guests = result.get("guests").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if guests.is_empty() {
        println!("no guest is attached: luthier attach GUEST");
    } else {
        println!("{:24} {:>5}  STATE", "GUEST", "DOMID");
        for g in guests {
            let busy = g.get("snapshotting").and_then(Value::as_bool).unwrap_or(false);
            let state = if busy { "snapshot in progress" } else { "attached" };
            println!("{:24} {:>5}  {state}", text(g, "name"), number(g, "domid"));
        }
    }
    if !items(result, "networks").is_empty() {
        println!();
        super::net::networks(items(result, "networks"));
    }
    Ok(())
}
