//! What `luthier check` says of networks: the daemon's findings, and the stub's uplink.

use std::fs;
use std::path::Path;

use super::check::{Finding, Mark, finding};
use super::{Cli, client, print};
use crate::api::{NetRequest, Request};
use crate::paths;

/// Looks at what networks need. Nothing is said if the daemon does not answer: that has a finding
/// of its own.
pub(super) fn run(cli: &Cli, findings: &mut Vec<Finding>) {
    let Ok(told) = client::ask(&cli.run, &Request::Net { net: NetRequest::Fitness }) else { return };
    let text = |f, key| print::text(f, key).to_owned();
    let mut underlay = false;
    for f in told.as_array().map(Vec::as_slice).unwrap_or_default() {
        let mark = match print::text(f, "mark") {
            "ok" => Mark::Ok,
            "note" => Mark::Note,
            _ => Mark::Fail,
        };
        let what = match print::text(f, "what") {
            "underlay" => {
                underlay = mark == Mark::Ok;
                "underlay"
            }
            "switch key" => "switch key",
            _ => "networks",
        };
        findings.push(finding(what, mark, text(f, "found"), &text(f, "todo")));
    }
    if underlay {
        let config = fs::read_to_string(paths::STUB_CONFIG).unwrap_or_default();
        findings.push(uplink(&config, |bridge| Path::new("/sys/class/net").join(bridge).exists()));
    }
}

/// Whether the stub's configuration gives it an uplink, and the bridge is there.
fn uplink(config: &str, exists: impl Fn(&str) -> bool) -> Finding {
    let vif = config
        .lines()
        .map(str::trim)
        .find(|l| l.strip_prefix("vif").is_some_and(|rest| rest.trim_start().starts_with('=')));
    let Some(vif) = vif else {
        let todo = "Give it one, then luthier down && luthier up: vif = ['bridge=xenbr0']";
        return finding("uplink", Mark::Fail, format!("{} has no vif", paths::STUB_CONFIG), todo);
    };
    // Without `bridge=`, xl takes this one.
    let bridge = vif.split_once("bridge=").map_or("xenbr0", |(_, rest)| {
        rest.split(|c: char| ",'\"]".contains(c) || c.is_whitespace()).next().unwrap_or_default()
    });
    match exists(bridge) {
        true => finding("uplink", Mark::Ok, format!("by bridge {bridge}"), ""),
        false => finding(
            "uplink",
            Mark::Fail,
            format!("there is no bridge {bridge}"),
            "Make it and put the physical interface on it, or name another in stub.cfg",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uplink_is_looked_for_where_xl_looks() {
        let mark = |config: &str| uplink(config, |bridge| bridge == "br7" || bridge == "xenbr0").mark;
        assert_eq!(mark("name = \"luthier-stub\"\n# vif = ['bridge=br7']\n"), Mark::Fail);
        assert_eq!(mark("vifs = 3"), Mark::Fail);
        assert_eq!(mark("vif = ['mac=00:16:3e:00:00:01,bridge=br7,mtu=9000']"), Mark::Ok);
        assert_eq!(mark("vif=[\"bridge=br7\"]"), Mark::Ok);
        assert_eq!(mark("vif = [ '' ]"), Mark::Ok);
        assert_eq!(mark("vif = ['bridge=br8']"), Mark::Fail);
    }
}
