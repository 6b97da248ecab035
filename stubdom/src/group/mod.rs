//! Group snapshots: what the switches agree on becomes orders to the snapshots and the network of this
//! host, and to its shim.
//!
//! | module | what for |
//! | --- | --- |
//! | [`vnsnap`] | who says what to whom, and when: no I/O |
//! | [`meeting`] | where a guest's snapshot waits for the others |
//! | [`current`] | the group snapshot that this host takes part in |
//! | [`orders`] | what the shim says |
//! | [`pace`] | how slow this machine is |
//! | `mod` | the task that moves all of it on |
//!
//! It never decides anything: `vnsnap` does. It holds no image and no manifest longer than it takes to
//! hand it on.

mod current;
mod meeting;
mod orders;
mod pace;

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::time::Duration;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use handoff::{GROUP_PIECE, GroupNews, ToShim};
use log::{info, warn};
use vnsnap::{Config, Local, Node, Output};
use xen::select::select;
use xen::time::{now, sleep};

pub(crate) use self::meeting::Meeting;

use self::current::Current;
use crate::link::Link;
use crate::net::{Net, now_ms};

/// The most octets that come before what a shim said: the names of its host.
const BEFORE: usize = "host  (switch 0123456789abcdef) could not go on: ".len() + "ffff:".len() * 8;
const _: () = assert!(BEFORE + vnsnap::TEXT_MAX <= handoff::WHY_MAX);

/// How often is looked while the last frames of before the cut leave, or channels drain: what ends that is no
/// message.
const LOOK: Duration = Duration::from_millis(2);

/// How long a member of a host waits for the others, at most.
const STEP: Duration = Duration::from_millis(300);

/// Group snapshots on this host.
pub(crate) struct Groups {
    net: Rc<Net>,
    /// Time-outs for a machine as this one is found to be, in percent.
    measured_percent: u32,
    state: RefCell<State>,
    /// Set when there may be something to do.
    wake: Signal<NoopRawMutex, ()>,
}

struct State {
    node: Node,
    /// Which switch, in which life, `node` is, and its time-outs in percent.
    me: (u64, u64),
    timeouts_percent: u32,
    /// Who is there, and who has which network, as `node` was told.
    switches: Vec<(u64, u64)>,
    peers: Vec<(u32, Vec<(u64, u64)>)>,
    current: Option<Current>,
    /// Whether there is a shim that could take part.
    shim: bool,
    /// What the link is to tell the shim, in its order.
    news: Vec<(GroupNews, Vec<u8>)>,
    /// A manifest that comes from the shim in pieces, and those who should have it.
    manifest: Vec<u8>,
    members: Vec<u64>,
}

impl Groups {
    /// None yet.
    pub(crate) fn new(net: Rc<Net>) -> Self {
        let measured_percent = pace::timeouts_percent();
        let state = State {
            node: Node::new(0, 0, timeouts(measured_percent)),
            me: (0, 0),
            timeouts_percent: measured_percent,
            switches: Vec::new(),
            peers: Vec::new(),
            current: None,
            shim: false,
            news: Vec::new(),
            manifest: Vec::new(),
            members: Vec::new(),
        };
        Self { net, measured_percent, state: RefCell::new(state), wake: Signal::new() }
    }

    /// A snapshot waits at the barrier, or goes on, whose guest wrote to so many pages since it last did.
    /// Whether its guest may be suspended.
    pub(crate) async fn wait(&self, member: &Meeting, dirtied: u32) -> bool {
        if member.arrive() {
            self.wake.signal(());
        }
        member.wait(dirtied).await
    }

    /// A member is asked to suspend itself.
    pub(crate) fn suspends(&self, member: &Meeting) {
        member.note(|times, us| times.asked_us = us);
    }

    /// A member stands still.
    pub(crate) fn stands(&self, member: &Meeting) {
        member.note(|times, us| times.cut_us = us);
        if let Some(network) = self.network() {
            self.net.flip(member.guest, network);
        }
        member.cut();
        self.stepped();
    }

    /// A member runs again.
    pub(crate) fn runs(&self, member: &Meeting) {
        member.note(|times, us| times.resumed_us = us);
        self.net.go_on(member.guest);
        member.end();
        self.stepped();
    }

    fn stepped(&self) {
        self.state.borrow().current.iter().for_each(Current::stepped);
        self.wake.signal(());
    }

    /// A member that runs again leaves the CPU to those of this host that don't, but does not wait for long.
    /// (One that stands still waits for nobody: its downtime would be theirs as well.)
    pub(crate) async fn wait_until_others_run(&self, member: &Meeting) {
        let since = now();
        let ahead = || self.state.borrow().current.as_ref().is_some_and(Current::is_ahead);
        while !member.is_over() && ahead() {
            let Some(left) = STEP.checked_sub(since.elapsed()) else { return };
            member.step(left).await;
        }
    }

    fn network(&self) -> Option<u32> {
        self.state.borrow().current.as_ref().map(|current| current.group.network)
    }

    /// Moves everything on, for ever.
    pub(crate) async fn run(link: Rc<Link>) {
        let groups = link.groups();
        loop {
            groups.turn();
            groups.tell(&link).await;
            let due = groups.due_in();
            select(select(groups.wake.wait(), groups.net.group_event()), sleep(due)).await;
        }
    }

    /// Takes in what has come, and does what is to be done.
    fn turn(&self) {
        let now = now_ms();
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let me = self.net.switch();
        let percent = self.net.timeouts_percent().unwrap_or(self.measured_percent);
        self.net.set_slow_percent(percent);
        if state.timeouts_percent != percent {
            state.node.set_config(timeouts(percent));
            state.timeouts_percent = percent;
        }
        if state.me != me && state.node.running().is_none() {
            (state.node, state.me) = (Node::new(me.0, me.1, timeouts(percent)), me);
            state.peers.clear();
            state.switches.clear();
        }
        // One that went may be back, even with the same name and life: it is told of anew then.
        let mut is_lost = false;
        while let Some((peer, incarnation)) = self.net.take_lost() {
            state.node.peer_lost(now, peer, incarnation);
            is_lost = true;
        }
        state.meet(self.net.switches(), self.net.group_peers(), is_lost, now);
        while let Some((from, octets)) = self.net.take_told() {
            if let Err(why) = state.node.receive(now, from, &octets) {
                log::debug!("a message of {from:016x} on groups did nothing: {why:?}");
            }
        }
        while let Some((network, from)) = self.net.next_ahead() {
            state.node.ahead(now, network, from);
        }
        if let Some(current) = &mut state.current {
            current.advance(&self.net, &mut state.node, &mut state.news, now);
        }
        while let Some(output) = state.node.poll(now) {
            self.act(state, output, now);
        }
    }

    fn act(&self, state: &mut State, output: Output, now: u64) {
        match output {
            Output::Send { to, octets } => self.net.send_group(to, &octets),
            Output::Prepare { group, mode, name, options, members } => {
                // First of all: the hosts' times are told from here on.
                let began = xen::time::now();
                info!("group snapshot {name} ({group}) of {} hosts", members.len());
                let id = orders::id_out(group);
                if !state.shim {
                    let why = "luthierd does not run on this host";
                    state.node.local(now, Local::Refused { group, why });
                    return;
                }
                if !self.net.begin_cut(group.network, group.epoch, mode == vnsnap::Mode::Together) {
                    let why = "the network of this host is beyond this epoch";
                    state.node.local(now, Local::Refused { group, why });
                    return;
                }
                state.current = Some(Current::new(group, mode, began));
                let bulk = members.iter().flat_map(|member| member.to_le_bytes()).collect();
                let mode = orders::mode_out(mode);
                state.news.push((GroupNews::Prepare { group: id, mode, name, options }, bulk));
            }
            Output::Go { group } => {
                if let Some(current) = state.current_of(group) {
                    current.go(self.net.seen_points());
                }
            }
            Output::Expect { group, points } => {
                if let Some(current) = state.current_of(group) {
                    current.expect(points);
                }
            }
            Output::Close { group } => {
                self.net.close_channels();
                if let Some(current) = state.current_of(group) {
                    current.close();
                }
            }
            Output::Manifest { group, parts } => {
                let joined = orders::join(&parts);
                let id = orders::id_out(group);
                pieces(state, &joined, |first, total| GroupNews::Manifest { group: id, first, total });
            }
            Output::Commit { group, manifest } => {
                let id = orders::id_out(group);
                self.finish(state, group, Some(group.epoch));
                pieces(state, &manifest, |first, total| GroupNews::Commit { group: id, first, total });
            }
            Output::Abort { group, why, settle } => {
                let why = self.told(&why);
                warn!("group snapshot {group} is given up: {why}");
                self.finish(state, group, settle);
                let why = handoff::word(&why);
                state.news.push((GroupNews::Abort { group: orders::id_out(group), why }, Vec::new()));
            }
            Output::Settle { network, epoch } => self.net.settle(network, epoch),
            Output::Question { group } => {
                let group = orders::id_out(group);
                state.news.push((GroupNews::Question { group }, Vec::new()));
            }
            Output::Ended { group, result } => {
                self.finish(state, group, result.is_ok().then_some(group.epoch));
                let news = match result {
                    Ok(_) => GroupNews::Ended { group: orders::id_out(group) },
                    Err(why) => GroupNews::Abort {
                        group: orders::id_out(group),
                        why: handoff::word(&self.told(&why)),
                    },
                };
                state.news.push((news, Vec::new()));
            }
        }
    }

    /// For the operator: hosts are called as he knows them. All of it finds room in news to the shim.
    fn told(&self, why: &vnsnap::Why) -> alloc::string::String {
        let vnsnap::Why { member, cause } = why;
        match self.net.address_of(*member) {
            Some(address) => alloc::format!("host {address} (switch {member:016x}) {cause}"),
            None if *member == self.net.switch().0 => alloc::format!("this host {cause}"),
            None => alloc::format!("{why}"),
        }
    }

    /// The group is over here, as far as guests and frames go: whoever still waits runs on.
    fn finish(&self, state: &mut State, group: vnsnap::GroupId, settle: Option<u32>) {
        if let Some(current) = state.current.take_if(|current| current.group == group) {
            current.end();
        }
        match settle {
            Some(epoch) => self.net.settle(group.network, epoch),
            None => self.net.cancel_cut(group.network, group.epoch),
        }
    }

    /// Tells the shim what there is to tell. Without a shim nobody hears it, and asks again later.
    async fn tell(&self, link: &Link) {
        loop {
            let news = core::mem::take(&mut self.state.borrow_mut().news);
            if news.is_empty() {
                return;
            }
            for (news, bulk) in news {
                let _ = link.send(&ToShim::Group(news), &[&bulk]).await;
            }
        }
    }

    fn due_in(&self) -> Duration {
        let state = self.state.borrow();
        let busy = state.current.as_ref().is_some_and(Current::is_busy);
        let due = state.node.poll_at().map(|at| Duration::from_millis(at.saturating_sub(now_ms())));
        let due = due.unwrap_or(Duration::from_secs(1)).min(Duration::from_secs(1));
        if busy { due.min(LOOK) } else { due }
    }

    /// A shim has come: an earlier one may have learned how groups ended, and not told.
    pub(crate) fn shim_here(&self) {
        let mut state = self.state.borrow_mut();
        let State { node, news, shim, .. } = &mut *state;
        *shim = true;
        news.extend(
            node.undecided()
                .into_iter()
                .map(|group| (GroupNews::Question { group: orders::id_out(group) }, Vec::new())),
        );
        drop(state);
        self.wake.signal(());
    }

    /// The shim is gone: what it was to do, it can't.
    pub(crate) fn shim_lost(&self) {
        let mut state = self.state.borrow_mut();
        state.news.clear();
        state.manifest.clear();
        state.shim = false;
        state.node.shim_lost(now_ms());
        drop(state);
        self.wake.signal(());
    }
}

/// Cuts octets into messages.
fn pieces(state: &mut State, octets: &[u8], news: impl Fn(u32, u32) -> GroupNews) {
    let total = octets.len() as u32;
    for (i, piece) in octets.chunks(GROUP_PIECE).enumerate() {
        state.news.push((news((i * GROUP_PIECE) as u32, total), piece.into()));
    }
}

impl State {
    /// The group that this host takes part in, if it is this one.
    fn current_of(&mut self, group: vnsnap::GroupId) -> Option<&mut Current> {
        self.current.as_mut().filter(|current| current.group == group)
    }

    /// Tells the node who has which network, if that has changed, or somebody was lost meanwhile.
    fn meet(
        &mut self,
        switches: Vec<(u64, u64)>,
        peers: Vec<(u32, Vec<(u64, u64)>)>,
        is_lost: bool,
        now: u64,
    ) {
        if is_lost || self.switches != switches {
            self.node.set_switches(now, &switches);
            self.switches = switches;
        }
        if !is_lost && self.peers == peers {
            return;
        }
        for (network, _) in &self.peers {
            if !peers.iter().any(|(there, _)| there == network) {
                self.node.leave(now, *network);
            }
        }
        for (network, with) in &peers {
            self.node.set_peers(now, *network, with);
        }
        self.peers = peers;
    }
}

fn timeouts(percent: u32) -> Config {
    Config { scale_percent: percent.into(), ..Config::default() }
}
