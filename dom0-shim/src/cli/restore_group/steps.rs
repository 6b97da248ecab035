//! The steps of a group's restore, each on all hosts at once: images and checks; freeze; make all,
//! paused; give the frames; let all go on; wait until all are connected; thaw.
//!
//! What this must never do: begin a step before the one before it has ended on every host.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::crew::at_once;
use super::frozen::Frozen;
use super::hosts::{Host, Hosts};
use super::plan::{Move, Plan};
use super::undo::{Made, Undo};
use super::{channels, fetch};
use crate::cli::print;
use crate::error::{Error, Result};

/// How long members may take to connect to their network once they run.
const CONNECT: Duration = Duration::from_secs(120);

/// How long a host looks for what is not connected before it says so, in seconds.
const LOOK: &str = "5";

/// All of them; what was done is undone if one fails. `say` is told what is being done.
pub(super) fn restore(hosts: &dyn Hosts, mut plan: Plan, say: &(dyn Fn(&str) + Sync)) -> Result<Value> {
    let undo = Undo::new(hosts, &plan.network);
    match steps(hosts, &mut plan, &undo, say) {
        Ok(frames) => {
            undo.frozen.thaw();
            let members: Vec<Value> = plan
                .moves
                .iter()
                .map(|m| json!({"guest": m.target, "host": plan.label(&m.to), "domid": m.domid, "image": m.image}))
                .collect();
            Ok(json!({"group": plan.name, "network": plan.network, "members": members, "frames": frames}))
        }
        Err(why) => {
            say("it failed: what was made is taken away again");
            let left = undo.everything();
            let hint = why.hint.clone().unwrap_or_default();
            let mut hint =
                format!("{hint}{}Nothing of the group runs", if hint.is_empty() { "" } else { ". " });
            if !left.is_empty() {
                hint = format!("{hint}, but for what could not be taken away: {}", left.join("; "));
            }
            Err(Error { message: why.message, hint: Some(hint) })
        }
    }
}

fn steps(hosts: &dyn Hosts, plan: &mut Plan, undo: &Undo<'_>, say: &(dyn Fn(&str) + Sync)) -> Result<u64> {
    fetch::images(hosts, plan, undo, say)?;
    let all = plan.hosts();
    at_once(&all, |host| {
        say(&format!("checking {}", plan.label(host)));
        let members: Vec<Value> = plan.on(host).map(Move::asked).collect();
        let ask = json!({"network": plan.network, "number": plan.number, "members": members});
        hosts.ask(host, &["restore-member", "check"], ask.to_string().as_bytes())
    })?;
    let frames = channels::all(hosts, plan)?;
    let frozen = &undo.frozen;
    at_once(&all, |host| frozen.begin(host))?;
    make_all(hosts, plan, undo, say)?;
    let to: Vec<Host> = frames.iter().map(|f| f.host.clone()).collect();
    at_once(&to, |host| {
        let Some(frames) = frames.iter().find(|f| f.host == *host) else { return Ok(()) };
        say(&format!("giving {} frames to {}", frames.count, plan.label(host)));
        hosts.ask(host, &["restore-member", "inject", &plan.network], &frames.bulk).map(drop)
    })?;
    frozen.check()?;
    say("letting all go on");
    at_once(&all, |host| {
        let names: Vec<String> = plan.on(host).map(|m| m.domid.to_string()).collect();
        let mut args = vec!["restore-member", "unpause"];
        args.extend(names.iter().map(String::as_str));
        hosts.ask(host, &args, &[]).map(drop)
    })?;
    let until = Instant::now() + CONNECT;
    at_once(&all, |host| connected(hosts, plan, host, frozen, until))?;
    Ok(frames.iter().map(|f| f.count).sum())
}

/// Makes all domains, paused: one after the other on a host, on all hosts at once. When one fails, no
/// other is begun.
fn make_all(hosts: &dyn Hosts, plan: &mut Plan, undo: &Undo<'_>, say: &(dyn Fn(&str) + Sync)) -> Result<()> {
    let failed = AtomicBool::new(false);
    let all = plan.hosts();
    let made = at_once(&all, |host| {
        let mut made = Vec::new();
        for m in plan.on(host) {
            if failed.load(Ordering::Relaxed) {
                break;
            }
            say(&format!("restoring {}", m.target));
            let domid = make(hosts, m, undo).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
            made.push((m.target.clone(), domid));
        }
        Ok(made)
    })?;
    for (host, made) in all.iter().zip(made) {
        for (target, domid) in made {
            let found = plan.moves.iter_mut().find(|m| m.to == *host && m.target == target);
            found.into_iter().for_each(|m| m.domid = domid);
        }
    }
    Ok(())
}

/// Makes one; returns its domain id.
fn make(hosts: &dyn Hosts, m: &Move, undo: &Undo<'_>) -> Result<u64> {
    let mut args = vec!["restore-member", "make", &m.image];
    if m.target != m.guest {
        args.extend(["--name", &m.target]);
    }
    let made = hosts.ask(&m.to, &args, &[]).map_err(|e| m.blame(e))?;
    let domid = print::number(&made, "domid");
    let disks = made.get("disks").cloned().unwrap_or_default();
    undo.made(Made { host: m.to.clone(), name: m.target.clone(), domid, disks });
    Ok(domid)
}

/// Waits until all members of a host are connected to their network.
fn connected(hosts: &dyn Hosts, plan: &Plan, host: &Host, frozen: &Frozen<'_>, until: Instant) -> Result<()> {
    let macs: Vec<&str> = plan.on(host).flat_map(|m| m.vifs.iter().map(String::as_str)).collect();
    let mut args = vec!["restore-member", "connected", "--wait", LOOK, &plan.network];
    args.extend(macs);
    loop {
        let answer = hosts.ask(host, &args, &[])?;
        let missing: Vec<&str> = print::items(&answer, "missing").iter().filter_map(Value::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            let who: Vec<String> = missing
                .iter()
                .map(|mac| {
                    let member = plan.on(host).find(|m| m.vifs.iter().any(|vif| vif == mac));
                    member.map_or_else(|| (*mac).to_owned(), |m| format!("`{}` ({mac})", m.target))
                })
                .collect();
            return Err(Error::new(format!(
                "{} did not connect to network {} on {} in {} s",
                who.join(", "),
                plan.network,
                plan.label(host),
                CONNECT.as_secs()
            ))
            .hint("`xl console` of the guest may say why"));
        }
        frozen.check()?;
        hosts.pause(Duration::from_millis(200));
    }
}
