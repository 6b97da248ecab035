//! `luthier check`: is this host fit, and if not, why and what to do.

use std::path::Path;
use std::process::Command;

use privcmd::{HostFacts, Hypervisor, XsmMode};
use serde::Serialize;

use super::{Cli, check_net, client, print};
use crate::api::Request;
use crate::error::{Error, Result};
use crate::paths;

/// Grant-table frames that a guest needs at least: half of them is the window.
const MIN_GRANT_FRAMES: u32 = 32;

/// How a look at one thing came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mark {
    Ok,
    /// Works, but the operator may want to know.
    Note,
    /// Luthier does not work like this.
    Fail,
}

#[derive(Debug, Serialize)]
pub(super) struct Finding {
    what: &'static str,
    pub(super) mark: Mark,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

pub(super) fn finding(what: &'static str, mark: Mark, found: impl Into<String>, todo: &str) -> Finding {
    let todo = (mark != Mark::Ok).then(|| todo.to_owned());
    Finding { what, mark, found: found.into(), todo }
}

fn pass_or(fit: bool, otherwise: Mark) -> Mark {
    if fit { Mark::Ok } else { otherwise }
}

/// Looks at everything.
pub(super) fn run(cli: &Cli) -> Result<()> {
    let mut findings = Vec::new();
    match Hypervisor::open_any_version().and_then(|h| h.facts()) {
        Ok(facts) => of_host(&facts, &mut findings),
        Err(e) => {
            findings.push(finding("xen", Mark::Fail, e.to_string(), "Run this as root in Dom0 of a Xen host"))
        }
    }
    findings.push(of_tool("xl", &["help"], "Install Debian's xen-utils"));
    let kernel = Path::new(paths::STUB_KERNEL).exists();
    findings.push(finding(
        "stub kernel",
        pass_or(kernel, Mark::Fail),
        if kernel { paths::STUB_KERNEL.into() } else { format!("{} is missing", paths::STUB_KERNEL) },
        "Build and install it as the README says",
    ));
    let config = Path::new(paths::STUB_CONFIG).exists();
    findings.push(finding(
        "stub configuration",
        pass_or(config, Mark::Fail),
        if config { paths::STUB_CONFIG.into() } else { format!("{} is missing", paths::STUB_CONFIG) },
        "Install boot/host/stub.cfg there",
    ));
    match client::ask(&cli.run, &Request::Status) {
        Ok(status) => {
            findings.push(finding("daemon", Mark::Ok, "luthierd answers", ""));
            let stub = status.pointer("/stub/state").and_then(|s| s.as_str()) == Some("up");
            findings.push(finding(
                "stub domain",
                pass_or(stub, Mark::Note),
                if stub { "is up" } else { "is not running" },
                "Start it: luthier up",
            ));
        }
        Err(e) => {
            findings.push(finding("daemon", Mark::Fail, e.message, e.hint.as_deref().unwrap_or_default()))
        }
    }
    check_net::run(cli, &mut findings);
    show(cli.json, &findings);
    match findings.iter().filter(|f| f.mark == Mark::Fail).count() {
        0 => Ok(()),
        n => Err(Error::new(format!("this host is not fit yet: {n} of {} looks failed", findings.len()))),
    }
}

fn of_host(facts: &HostFacts, findings: &mut Vec<Finding>) {
    findings.push(finding(
        "xen",
        pass_or(facts.supported, Mark::Fail),
        format!("Xen {}", facts.version),
        "Luthier knows the control interfaces of Xen 4.17 to 4.20: use one of these",
    ));
    let asked = |answer: Option<bool>, yes: &str, no: &str| match answer {
        Some(true) => (Mark::Ok, yes.to_owned()),
        Some(false) => (Mark::Fail, no.to_owned()),
        None => (Mark::Note, "Xen did not tell".to_owned()),
    };
    let (mark, found) =
        asked(facts.hvm, "HVM and PVH guests are possible", "no HVM or PVH guests on this machine");
    findings.push(finding("hvm", mark, found, "Switch on VT-x or AMD-V in the firmware"));
    let (mark, found) = asked(facts.hap, "hardware-assisted paging is there", "no hardware-assisted paging");
    findings.push(finding(
        "hap",
        mark,
        found,
        "Log-dirty needs EPT or NPT: see Xen's option hap and the firmware",
    ));
    let (mark, found) = match facts.xsm {
        XsmMode::Silo => (Mark::Fail, "silo"),
        XsmMode::Flask { enforcing: true } => (Mark::Note, "flask, enforcing"),
        XsmMode::Flask { enforcing: false } => (Mark::Ok, "flask, permissive"),
        XsmMode::Dummy => (Mark::Ok, "dummy"),
        XsmMode::BuildDefault => (Mark::Ok, "none named; the build's default"),
    };
    let todo = if facts.xsm == XsmMode::Silo {
        "silo forbids grants between guests, so every driver domain: take xsm=silo off Xen's command line"
    } else {
        "The policy must let the stub domain use grants of its guests"
    };
    findings.push(finding("xsm", mark, found, todo));
    let (mark, found) = match facts.gnttab_max_frames {
        Some(n) if n >= MIN_GRANT_FRAMES => (Mark::Ok, format!("{n} frames for each guest")),
        Some(n) => (Mark::Fail, format!("only {n} frames for each guest")),
        None => (Mark::Note, "Xen did not tell".into()),
    };
    findings.push(finding(
        "grant tables",
        mark,
        found,
        "A snapshot's window needs the top 16 of at least 32: set gnttab_max_frames on Xen's command line",
    ));
}

fn of_tool(name: &'static str, args: &[&str], todo: &str) -> Finding {
    match Command::new(name).args(args).output() {
        Ok(_) => finding(name, Mark::Ok, "is there", ""),
        Err(e) => finding(name, Mark::Fail, format!("can't be run: {e}"), todo),
    }
}

fn show(json: bool, findings: &[Finding]) {
    if json {
        print::json_line(&findings);
        return;
    }
    for f in findings {
        let mark = match f.mark {
            Mark::Ok => "ok  ",
            Mark::Note => "note",
            Mark::Fail => "FAIL",
        };
        println!("{mark}  {:18}  {}", f.what, f.found);
        if let Some(todo) = &f.todo {
            println!("      {:18}  {todo}", "");
        }
    }
}
