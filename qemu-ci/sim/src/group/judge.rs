//! Whether a schedule that has come to rest kept all properties.

use std::collections::BTreeMap;

use vnsnap::GroupId;

use super::disk::{Part, parts};
use super::host::{host_of, id_of};
use super::oracle::{Held, Vif};
use super::plan::{Cost, Outcome};
use super::schedule::Schedule;
use super::shared::{Answer, Shared, name};
use crate::node::Host;

impl Schedule<'_> {
    pub(super) fn judge(&self, quiet_ms: u64) -> Result<Outcome, String> {
        let shared = self.shared.borrow();
        let mut outcome = Outcome {
            requests: shared.requests.len() as u64,
            frames: shared.oracle.frames.len() as u64,
            struck: shared.struck.len() as u64,
            stood_ms: shared.stood_ms,
            messages: shared.messages.0,
            settled_ms: self.world.now_ms() - quiet_ms,
            events: self.world.events(),
            trace: self.world.trace(),
            ..Outcome::default()
        };
        if let Some(first) = shared.requests.first()
            && let Some(group) = first.group
            && let Some(&commit_ms) = shared.committed.get(&group)
            && let Some(&(end_ms, (messages, octets))) = shared.ended.get(&group)
        {
            outcome.cost = Cost {
                messages: messages - first.messages.0,
                octets: octets - first.messages.1,
                commit_ms: commit_ms - first.at_ms,
                end_ms: end_ms - first.at_ms,
            };
        }
        let mut epochs: BTreeMap<(Vif, u32), GroupId> = BTreeMap::new();
        let mut groups: Vec<GroupId> =
            self.world.nodes().flat_map(|(_, node)| node.disk.folders.keys().copied()).collect();
        groups.extend(shared.committed.keys());
        groups.sort_unstable();
        groups.dedup();
        for group in groups {
            outcome.committed += 1;
            match self.whole(&shared, group)? {
                Some(held) => {
                    for &vif in &held.vifs {
                        // Two sides of a split network may each use an epoch, but no guest twice.
                        if let Some(other) = epochs.insert((vif, group.epoch), group) {
                            return Err(format!("vif {vif} is in {other} and in {group}: one epoch twice"));
                        }
                    }
                    let sum =
                        shared.oracle.judge(name(group), &held).map_err(|what| format!("{group}: {what}"))?;
                    outcome.sum.in_transit += sum.in_transit;
                    outcome.sum.recorded += sum.recorded;
                    outcome.sum.lost += sum.lost;
                    outcome.sum.earlier += sum.earlier;
                    outcome.sum.overtaken += sum.overtaken;
                    outcome.sum.spread_us = outcome.sum.spread_us.max(sum.spread_us);
                }
                None => outcome.revoked += 1,
            }
        }
        for request in &shared.requests {
            let Some((answered_ms, answer)) = &request.answer else {
                return Err(format!("{request:?} was never answered"));
            };
            let committed = request.group.and_then(|group| shared.committed.get(&group));
            if *answer == Answer::Committed && committed.is_none() {
                return Err(format!("{request:?} was told of a commit that was none"));
            }
            // A stub that forgot everything may use a name again that was given up.
            if matches!(answer, Answer::Refused(_)) && committed.is_some_and(|at_ms| at_ms <= answered_ms) {
                return Err(format!("{request:?} was refused, and is committed"));
            }
        }
        Ok(outcome)
    }

    /// What a committed group holds, if it is whole everywhere; none if a double failure excuses that it is
    /// not.
    fn whole(&self, shared: &Shared, group: GroupId) -> Result<Option<Held>, String> {
        let coordinator = host_of(group.initiator);
        let manifests: Vec<(Host, &Vec<u8>)> = self
            .world
            .nodes()
            .filter_map(|(host, node)| Some((host, node.disk.folders.get(&group)?.manifest.as_ref()?)))
            .collect();
        let at = shared.committed.get(&group);
        let Some((first, manifest)) = manifests.first() else {
            // Committed, and everybody agreed to take it back.
            return match shared.revoked.contains_key(&group) {
                true => Ok(None),
                false => Err(format!("{group} was committed, and no manifest of it exists")),
            };
        };
        if at.is_none() {
            return Err(format!("{group} has a manifest on host {first}, and was never committed"));
        }
        if let Some((other, _)) = manifests.iter().find(|(_, other)| other != manifest) {
            return Err(format!("{group} has two manifests, on hosts {first} and {other}"));
        }
        let parts: Vec<Part> = parts(manifest);
        let mut held = Held::default();
        for part in &parts {
            let host = part.host as Host;
            let folder = self.world.node(host).and_then(|node| node.disk.folders.get(&group));
            let Some(folder) = folder.filter(|folder| folder.committed) else {
                return Err(format!(
                    "{group} is committed on host {first} (coordinator {coordinator}), and host {host} has nothing of it; revoked {:?}, given up {:?}, trouble {:?}",
                    shared.revoked, shared.gave_up, shared.struck
                ));
            };
            if !part.guests.iter().all(|guest| folder.images.contains(guest)) {
                return Err(format!("{group}: an image is missing on host {host}"));
            }
            let channel = folder.channel.as_deref().unwrap_or_default();
            if channel.len() != part.recorded as usize {
                return Err(format!("{group}: the channel of host {host} is not what its part says"));
            }
            held.vifs.extend(&part.vifs);
            held.recorded.extend(channel);
        }
        debug_assert!(parts.iter().any(|part| id_of(part.host as Host) == group.initiator));
        Ok(Some(held))
    }
}
