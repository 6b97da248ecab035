//! Who knows everything: each frame, when it was sent and delivered, and where each guest's cut lies.
//!
//! All hosts of one schedule tell it what really happened, in one order (ticks). It never tells a
//! host anything: the protocol can't lean on it. At the end [`Oracle::judge`] looks at a committed
//! snapshot and says whether it is what Mattern's proof promises.

use std::collections::{BTreeMap, BTreeSet};

use crate::node::Host;

/// A vif of a guest, numbered over the whole world and never used again.
pub type Vif = u32;

/// A guest's frame, numbered over the whole world.
pub type FrameNo = u32;

/// A group snapshot: network, epoch, initiator.
pub type Group = (u32, u32, u64);

/// A life of a pair's session, one direction: who sends, who receives, and which key.
pub type Key = (Host, Host, u32);

/// A frame that a guest sent.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The vif that it left.
    pub from: Vif,
    /// The vif that it is for; none: all of the network.
    pub to: Option<Vif>,
    /// When the guest sent it.
    pub sent: u64,
    /// The datagrams that carry it to other hosts.
    datagrams: Vec<(Key, u64)>,
    delivered: Vec<(Vif, u64)>,
    /// Where it was lost in a stub that crashed or had no peer or port for it; none: for all.
    vanished: Vec<(Option<Vif>, u64)>,
}

/// A vif.
#[derive(Clone, Copy, Debug)]
pub struct VifLog {
    /// Its host.
    pub host: Host,
    /// Its guest.
    pub guest: u32,
    /// Its network.
    pub network: u32,
    born: u64,
    died: u64,
    epoch: u32,
}

/// How the channel from one peer to a host was closed.
#[derive(Clone, Debug)]
pub struct Closed {
    /// The session that was counted.
    pub key: Key,
    /// Datagrams before this one were no longer waited for when the first guest was to be cut.
    pub after: u64,
    /// Those that had not come; none: nobody knows.
    pub missing: Option<BTreeSet<u64>>,
}

#[derive(Clone, Debug, Default)]
struct GroupLog {
    /// When each host's stub was told to prepare.
    prepared: BTreeMap<Host, u64>,
    /// Where each vif was cut.
    cuts: BTreeMap<Vif, u64>,
    closed: BTreeMap<Host, Vec<Closed>>,
}

/// What a committed snapshot holds, as its parts say.
#[derive(Clone, Debug, Default)]
pub struct Held {
    /// The members: their vifs.
    pub vifs: Vec<Vif>,
    /// The frames of the channel state, each with the vif that it is for.
    pub recorded: Vec<(Vif, FrameNo)>,
}

/// What a committed snapshot came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Frames in transit at the cut.
    pub in_transit: u64,
    /// Of them recorded.
    pub recorded: u64,
    /// Of them in datagrams that were counted as lost.
    pub lost: u64,
    /// Of them lost before the snapshot began: a wire loses frames.
    pub earlier: u64,
    /// Of them overtaken for so long that nobody waited for them, and delivered late: the image lacks
    /// them, and does not say so.
    pub overtaken: u64,
    /// Ticks are no time; the time between the first and last cut, in microseconds.
    pub spread_us: u64,
}

/// Everything that happened.
#[derive(Debug, Default)]
pub struct Oracle {
    tick: u64,
    /// All frames.
    pub frames: Vec<Frame>,
    /// All vifs.
    pub vifs: Vec<VifLog>,
    groups: BTreeMap<Group, GroupLog>,
    /// The world's time of each cut.
    cut_us: BTreeMap<Group, (u64, u64)>,
    /// The links keep the order of datagrams, so guests must see it kept.
    pub in_order: bool,
    /// The last frame that each vif got of each other.
    last: BTreeMap<(Vif, Vif), FrameNo>,
    /// The first thing that can't be.
    pub wrong: Option<String>,
}

impl Oracle {
    fn next(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// Notes what must never happen; the first of it counts.
    pub fn complain(&mut self, what: impl FnOnce() -> String) {
        if self.wrong.is_none() {
            self.wrong = Some(what());
        }
    }

    /// A vif is there.
    pub fn born(&mut self, host: Host, guest: u32, network: u32) -> Vif {
        let born = self.next();
        self.vifs.push(VifLog { host, guest, network, born, died: u64::MAX, epoch: 0 });
        self.vifs.len() as Vif - 1
    }

    /// A vif is gone, with its guest.
    pub fn died(&mut self, vif: Vif) {
        self.vifs[vif as usize].died = self.next();
    }

    /// Whether the guest of a vif lives.
    pub fn lives(&self, vif: Vif) -> bool {
        self.vifs[vif as usize].died == u64::MAX
    }

    /// A guest has put a frame into its ring.
    pub fn sent(&mut self, from: Vif, to: Option<Vif>) -> FrameNo {
        let sent = self.next();
        let (datagrams, delivered, vanished) = Default::default();
        self.frames.push(Frame { from, to, sent, datagrams, delivered, vanished });
        self.frames.len() as FrameNo - 1
    }

    /// A frame left its host.
    pub fn left(&mut self, frame: FrameNo, key: Key, counter: u64) {
        self.frames[frame as usize].datagrams.push((key, counter));
    }

    /// A frame is in a guest's memory.
    pub fn delivered(&mut self, frame: FrameNo, vif: Vif) {
        let tick = self.next();
        let log = &mut self.frames[frame as usize];
        let before = log.delivered.iter().any(|(other, _)| *other == vif);
        log.delivered.push((vif, tick));
        let from = log.from;
        if before {
            self.complain(|| format!("frame {frame} was delivered twice to vif {vif}"));
        }
        if self.in_order
            && let Some(last) = self.last.insert((from, vif), frame)
            && last > frame
        {
            self.complain(|| format!("vif {vif} got frame {frame} of vif {from} after frame {last}"));
        }
    }

    /// A frame ended in a stub: it crashed, or had nowhere to put it.
    pub fn vanished(&mut self, frame: FrameNo, vif: Option<Vif>) {
        let tick = self.next();
        self.frames[frame as usize].vanished.push((vif, tick));
    }

    /// A frame did not leave its host for a vif: no peer was known there. No number tells of it.
    pub fn unsent(&mut self, frame: FrameNo, vif: Vif) {
        self.frames[frame as usize].vanished.push((Some(vif), 0));
    }

    /// A vif has this epoch now.
    pub fn epoch(&mut self, vif: Vif, epoch: u32) {
        let log = &mut self.vifs[vif as usize];
        let before = std::mem::replace(&mut log.epoch, epoch);
        if epoch < before {
            self.complain(|| format!("the epoch of vif {vif} went back from {before} to {epoch}"));
        }
    }

    /// The stub of a vif is new, and knows no epochs: it will learn them.
    pub fn forgot_epoch(&mut self, vif: Vif) {
        self.vifs[vif as usize].epoch = 0;
    }

    /// A host's stub was told to prepare.
    pub fn prepared(&mut self, group: Group, host: Host) {
        let tick = self.next();
        if super::host::host_of(group.2) == host {
            // It begins. If all stubs that knew of an earlier one of this name are gone, the name is used
            // again; the first was never complete.
            self.groups.remove(&group);
            self.cut_us.remove(&group);
        }
        self.groups.entry(group).or_default().prepared.insert(host, tick);
    }

    /// A guest stands still: what its vifs sent and received so far is before its cut.
    pub fn cut(&mut self, group: Group, vif: Vif, now_us: u64) {
        let tick = self.next();
        let first = self.groups.entry(group).or_default().cuts.insert(vif, tick).is_none();
        let (from, to) = self.cut_us.entry(group).or_insert((now_us, now_us));
        (*from, *to) = ((*from).min(now_us), (*to).max(now_us));
        if !first {
            self.complain(|| format!("vif {vif} was cut twice for {group:?}"));
        }
    }

    /// A host has closed its channels.
    pub fn closed(&mut self, group: Group, host: Host, closed: Vec<Closed>) {
        self.groups.entry(group).or_default().closed.insert(host, closed);
    }

    /// Whether a committed snapshot is consistent and complete.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn judge(&self, group: Group, held: &Held) -> Result<Sum, String> {
        let log = self.groups.get(&group).ok_or("nothing is known of it")?;
        let mut cuts = BTreeMap::new();
        for &vif in &held.vifs {
            let cut = *log.cuts.get(&vif).ok_or(format!("vif {vif} is a member and was never cut"))?;
            cuts.insert(vif, cut);
        }
        if let Some((vif, _)) = log.cuts.iter().find(|(vif, _)| !cuts.contains_key(vif)) {
            return Err(format!("vif {vif} was cut, and is not in it"));
        }
        let mut recorded = BTreeSet::new();
        for &(vif, frame) in &held.recorded {
            if !recorded.insert((frame, vif)) {
                return Err(format!("frame {frame} is recorded twice for vif {vif}"));
            }
        }
        self.no_orphans(&cuts)?;
        let span = self.cut_us.get(&group).copied().unwrap_or_default();
        let mut sum = Sum { spread_us: span.1 - span.0, ..Sum::default() };
        for (number, frame) in self.frames.iter().enumerate() {
            let Some(&sent_cut) = cuts.get(&frame.from) else { continue };
            let red = frame.sent > sent_cut;
            let all = frame.to.is_none();
            let targets = cuts.range(frame.to.unwrap_or(0)..).take(if all { usize::MAX } else { 1 });
            for (&vif, &cut) in targets {
                if vif == frame.from || frame.to.is_some_and(|to| to != vif) {
                    continue;
                }
                let number = number as FrameNo;
                let early = frame.delivered.iter().any(|&(to, tick)| to == vif && tick < cut);
                let kept = recorded.remove(&(number, vif));
                if kept && (red || early) {
                    let when = if red { "sent after" } else { "delivered before" };
                    return Err(format!("frame {number} is recorded for vif {vif}, and was {when} the cut"));
                }
                if red || early || self.vifs[vif as usize].born > frame.sent {
                    continue;
                }
                sum.in_transit += 1;
                if kept {
                    sum.recorded += 1;
                } else {
                    match self.excuse(log, frame, vif) {
                        Some(Excuse::Counted) => sum.lost += 1,
                        Some(Excuse::Earlier) if frame.delivered.iter().any(|&(to, _)| to == vif) => {
                            sum.overtaken += 1;
                        }
                        Some(Excuse::Earlier) => sum.earlier += 1,
                        None => {
                            return Err(format!(
                                "frame {number} from vif {} to vif {vif} was in transit, and is neither recorded nor counted as lost: {frame:?} cut {sent_cut} and {cut}, prepared {:?}, closed {:?}",
                                frame.from,
                                log.prepared,
                                log.closed.get(&self.vifs[vif as usize].host),
                            ));
                        }
                    }
                }
            }
        }
        // What is left was sent by guests that are no members: they may be there, once.
        if let Some((frame, vif)) =
            recorded.into_iter().find(|(frame, _)| cuts.contains_key(&self.frames[*frame as usize].from))
        {
            return Err(format!("frame {frame} is recorded for vif {vif}, which it was not for"));
        }
        Ok(sum)
    }

    /// No member received before its cut what another sent after its own.
    fn no_orphans(&self, cuts: &BTreeMap<Vif, u64>) -> Result<(), String> {
        for (number, frame) in self.frames.iter().enumerate() {
            if cuts.get(&frame.from).is_none_or(|&cut| frame.sent < cut) {
                continue;
            }
            let before = |(vif, tick): &&(Vif, u64)| cuts.get(vif).is_some_and(|cut| tick < cut);
            if let Some((vif, _)) = frame.delivered.iter().find(before) {
                return Err(format!(
                    "orphan: frame {number}, sent after the cut of vif {}, was delivered before the cut of vif {vif}",
                    frame.from
                ));
            }
        }
        Ok(())
    }

    /// Why a frame that was in transit need not be in the snapshot.
    fn excuse(&self, log: &GroupLog, frame: &Frame, vif: Vif) -> Option<Excuse> {
        let (from, to) = (self.vifs[frame.from as usize].host, self.vifs[vif as usize].host);
        let began = |host| log.prepared.get(&host).copied().unwrap_or(u64::MAX);
        // A stub had lost it before it was asked to prepare.
        let least = began(from).min(began(to));
        if frame.vanished.iter().any(|&(at, tick)| at.is_none_or(|at| at == vif) && tick < least) {
            return Some(Excuse::Earlier);
        }
        if from == to {
            return None;
        }
        let (key, counter) = frame.datagrams.iter().find(|((_, host, _), _)| *host == to)?;
        let closed = log.closed.get(&to)?.iter().find(|closed| closed.key.0 == from)?;
        match &closed.missing {
            None => Some(Excuse::Counted),
            Some(_) if closed.key.2 != key.2 => (closed.key.2 > key.2).then_some(Excuse::Earlier),
            Some(_) if *counter < closed.after => Some(Excuse::Earlier),
            Some(missing) => missing.contains(counter).then_some(Excuse::Counted),
        }
    }
}

enum Excuse {
    Counted,
    Earlier,
}
