//! The shims: what a host does of what its node says, at once or in a while.

use super::*;

impl World {
    /// The shim does this: at once, or in a while, unless its host stops before or the group is given up.
    fn later(
        &mut self,
        id: u64,
        group: impl Into<Option<GroupId>>,
        act: impl FnOnce(&mut Host, u64) + 'static,
    ) {
        let at = self.now + self.random(self.shim_delay);
        let life = self.hosts[&id].life;
        if at > self.now {
            self.shims.push((at, id, life, group.into(), Box::new(act)));
        } else {
            let now = self.now;
            act(self.host(id), now);
        }
    }

    pub(super) fn run_shims(&mut self) {
        let now = self.now;
        let due: Vec<_> = self.shims.extract_if(.., |(at, ..)| *at <= now).collect();
        for (_, id, life, group, act) in due {
            let host = self.host(id);
            let over = group.is_some_and(|group| host.aborted.iter().any(|(known, _)| *known == group));
            if host.node.is_some() && host.life == life && !over {
                act(host, now);
            }
        }
    }

    pub(super) fn act(&mut self, id: u64, output: Output) {
        let now = self.now;
        let name = name(&output);
        let ids: Vec<u64> = self.hosts.keys().copied().filter(|&peer| peer != id).collect();
        let trace = self.trace;
        let host = self.host(id);
        if name != "send" {
            host.log.push(name);
            if trace {
                println!("{now} host {id}: {:.300}", format!("{output:?}"));
            }
        }
        if host.deaf.contains(name) {
            return;
        }
        match output {
            Output::Send { to, octets } => self.post(id, to, octets),
            Output::Prepare { group, mode, members, .. } => {
                host.members.insert(group, members);
                host.epoch = host.epoch.max(group.epoch - 1);
                host.highest = host.highest.map(|highest| highest.max(group.epoch));
                let (refuse, ready) = (host.refuse, mode == Mode::Together && !host.unready);
                self.later(id, group, move |host, now| match refuse {
                    Some(why) => host.local(now, Local::Refused { group, why }),
                    None => host.local(now, Local::Prepared { group, jobs: 2 }),
                });
                let delay = self.shim_delay;
                if ready && refuse.is_none() {
                    // After it is prepared.
                    self.now += delay;
                    self.later(id, group, move |host, now| host.local(now, Local::Ready { group }));
                    self.now -= delay;
                }
            }
            Output::Go { group } => self.later(id, group, move |host, now| {
                assert!(host.epoch < group.epoch, "a port is cut twice for one epoch");
                host.epoch = group.epoch;
                host.cuts.push(group.epoch);
                let points: Vec<_> =
                    ids.iter().map(|&peer| (peer, SeqPoint { key: 1, counter: id * 1000 + peer })).collect();
                host.local(now, Local::Flipped { group, points: &points });
            }),
            Output::Expect { group, points } => self.later(id, group, move |host, now| {
                for (from, point) in points {
                    assert_eq!(point.counter, from * 1000 + id, "what {from} sent to {id}");
                }
                host.local(now, Local::Drained { group });
            }),
            Output::Close { group } => self.later(id, group, move |host, now| {
                if host.no_space {
                    host.local(now, Local::Failed { group, why: "no space left for g1" });
                } else {
                    host.disk.insert(group, Disk::Pending);
                    let part = vec![id as u8; 3000];
                    host.local(now, Local::Stored { group, part: &part });
                }
            }),
            Output::Manifest { group, parts } => self.later(id, group, move |host, now| {
                let manifest: Vec<u8> = parts.iter().flat_map(|(_, part)| part.clone()).collect();
                host.disk.insert(group, Disk::Committed(manifest.clone()));
                host.manifest = Some(parts);
                host.local(now, Local::Committed { group, manifest: &manifest });
            }),
            Output::Commit { group, manifest } => self.later(id, group, move |host, now| {
                host.disk.insert(group, Disk::Committed(manifest));
                host.local(now, Local::Committed { group, manifest: &[] });
            }),
            Output::Abort { group, why, settle } => {
                host.disk.remove(&group);
                host.aborted.push((group, why));
                host.epoch = host.epoch.max(settle.unwrap_or(0));
            }
            Output::Settle { epoch, .. } => {
                assert!(epoch > host.epoch, "an epoch goes back");
                host.epoch = host.epoch.max(epoch);
            }
            Output::Question { group } => self.later(id, None, move |host, now| {
                let members = host.members.get(&group).cloned().unwrap_or_default();
                match host.disk.get(&group).cloned() {
                    Some(Disk::Pending) => host.local(now, Local::Ask { group, members: &members }),
                    Some(Disk::Committed(manifest)) => {
                        let manifest = Some(manifest.as_slice());
                        host.local(now, Local::Decision { group, manifest, members: &members });
                    }
                    None => host.local(now, Local::Decision { group, manifest: None, members: &[] }),
                }
            }),
            Output::Ended { group, result } => host.ended.push((group, result)),
        }
    }
}

pub(super) fn name(output: &Output) -> &'static str {
    match output {
        Output::Send { .. } => "send",
        Output::Prepare { .. } => "prepare",
        Output::Go { .. } => "go",
        Output::Expect { .. } => "expect",
        Output::Close { .. } => "close",
        Output::Manifest { .. } => "manifest",
        Output::Commit { .. } => "commit",
        Output::Abort { .. } => "abort",
        Output::Settle { .. } => "settle",
        Output::Question { .. } => "question",
        Output::Ended { .. } => "ended",
    }
}
