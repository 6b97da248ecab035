//! Networks, ports and peers for people.

use serde_json::Value;

use crate::cli::print::{bytes, items, number, text};

/// A table of networks.
pub(in crate::cli) fn networks(networks: &[Value]) {
    println!("{:15} {:>10} {:>5} {:>6} {:>6} {:>6}", "NETWORK", "NUMBER", "MTU", "PORTS", "PEERS", "MACS");
    for n in networks {
        println!(
            "{:15} {:>10} {:>5} {:>6} {:>6} {:>6}",
            text(n, "name"),
            number(n, "id"),
            number(n, "mtu"),
            known(n, "ports"),
            known(n, "peers"),
            known(n, "macs")
        );
    }
}

/// A number that only a running stub knows.
fn known(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_u64).map_or("-".into(), |n| n.to_string())
}

/// Everything about one network.
pub(super) fn network(n: &Value) {
    println!("network  {}, number {}, MTU {}", text(n, "name"), number(n, "id"), number(n, "mtu"));
    figures(n);
    peers(items(n, "peers"));
    let table = items(n, "table");
    if !table.is_empty() {
        println!();
        println!("{:17}  {:>6}  PLACE", "MAC ADDRESS", "AGE");
    }
    for entry in table {
        let pinned = entry.get("pinned").and_then(Value::as_bool).unwrap_or(false);
        let age = if pinned { "pinned".into() } else { format!("{} s", number(entry, "age_s")) };
        let place = match entry.get("switch").and_then(Value::as_str) {
            Some(switch) => format!("switch {switch}"),
            None => guest(entry),
        };
        println!("{:17}  {age:>6}  {place}", text(entry, "mac"));
    }
}

/// All figures.
pub(super) fn stats(s: &Value) {
    if let Some(switch) = s.get("switch").filter(|v| v.is_object()) {
        println!("switch {}, uplink {}", text(switch, "id"), text(switch, "uplink"));
        counters("  ", switch, "counters");
        counters("  dropped: ", switch, "drops");
    }
    for n in items(s, "networks") {
        println!();
        println!("network {}, number {}, MTU {}", text(n, "name"), number(n, "id"), number(n, "mtu"));
        figures(n);
    }
    if !items(s, "strays").is_empty() {
        println!();
        println!("vifs whose bridge= is no network here");
        items(s, "strays").iter().for_each(port);
    }
    if !items(s, "peers").is_empty() {
        println!();
        peers(items(s, "peers"));
    }
}

/// A network's counters and ports.
fn figures(n: &Value) {
    if n.get("macs").is_some() {
        println!(
            "  {} of {} MAC addresses, {} frames to all",
            number(n, "macs"),
            number(n, "macs_limit"),
            number(n, "flooded")
        );
    }
    counters("  dropped: ", n, "drops");
    items(n, "ports").iter().for_each(port);
}

/// A port, in two lines or three.
fn port(p: &Value) {
    let reason = text(p, "reason");
    let why = if reason.is_empty() { String::new() } else { format!(": {reason}") };
    println!("  {:24} {} {}{why}", guest(p), text(p, "mac"), text(p, "state"));
    println!(
        "    from guest {}, to guest {}, {} queued",
        traffic(p, "from_guest"),
        traffic(p, "to_guest"),
        number(p, "queued")
    );
    counters("    dropped: ", p, "drops");
}

/// A table of peers.
pub(super) fn peers(peers: &[Value]) {
    for p in peers {
        let heard = match p.get("heard_ms").and_then(Value::as_u64) {
            Some(ms) => format!(", heard {:.1} s ago", ms as f64 / 1000.0),
            None => String::new(),
        };
        let rtt = match p.get("rtt_us").and_then(Value::as_u64) {
            Some(us) => format!(", round trip {:.1} ms", us as f64 / 1000.0),
            None => String::new(),
        };
        println!("peer {} at {} {}{heard}{rtt}", text(p, "switch"), text(p, "address"), text(p, "state"));
        let networks: Vec<&str> = items(p, "networks").iter().filter_map(Value::as_str).collect();
        println!("  networks {}", if networks.is_empty() { "none".into() } else { networks.join(", ") });
        println!("  to it {}, from it {}", traffic(p, "to_peer"), traffic(p, "from_peer"));
        counters("  dropped: ", p, "drops");
    }
}

/// Who has a vif: `web/0 (domain 5)`.
fn guest(value: &Value) -> String {
    let (domid, devid) = (number(value, "domid"), number(value, "devid"));
    match value.get("guest").and_then(Value::as_str) {
        Some(name) => format!("{name}/{devid} (domain {domid})"),
        None => format!("domain {domid}/{devid}"),
    }
}

fn traffic(value: &Value, key: &str) -> String {
    let traffic = value.get(key).unwrap_or(&Value::Null);
    format!("{} frames ({})", number(traffic, "frames"), bytes(number(traffic, "bytes")))
}

/// Counters in one line, if there are any.
fn counters(head: &str, value: &Value, key: &str) {
    let counters = value.get(key).and_then(Value::as_object).into_iter().flatten();
    let words: Vec<String> = counters.map(|(name, n)| format!("{name} {n}")).collect();
    if !words.is_empty() {
        println!("{head}{}", words.join(", "));
    }
}
