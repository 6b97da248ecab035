//! Frames that were on their way at the cut: read where they were recorded, given to the hosts where
//! their receivers will be.

use super::crew::at_once;
use super::hosts::{Host, Hosts};
use super::plan::{Plan, each_once};
use crate::error::{Error, Result};

/// Frames for the guests of one host.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) host: Host,
    /// As the stub takes them.
    pub(super) bulk: Vec<u8>,
    pub(super) count: u64,
}

/// All of a group, by the host where their receivers will be, those of one host in the order in which
/// they were recorded.
pub(super) fn all(hosts: &dyn Hosts, plan: &Plan) -> Result<Vec<Frames>> {
    let recorded = || plan.sources.iter().filter(|(_, _, frames)| *frames > 0);
    let from = each_once(recorded().map(|(host, ..)| host));
    let read = at_once(&from, |from| {
        let own = recorded().filter(|(host, ..)| host == from);
        let read = |switch: &str| hosts.read(from, &["restore-member", "channels", &plan.name, switch]);
        own.map(|(_, switch, _)| read(switch)).collect::<Result<Vec<_>>>()
    })?;
    let mut all = Vec::new();
    for (from, bulks) in from.iter().zip(&read) {
        for bulk in bulks {
            sort(plan, from, bulk, &mut all)?;
        }
    }
    Ok(all)
}

/// Sorts what one host has recorded.
fn sort(plan: &Plan, from: &Host, bulk: &[u8], all: &mut Vec<Frames>) -> Result<()> {
    let mut rest = bulk;
    while !rest.is_empty() {
        let bad = |_| Error::new(format!("the frames of {} can't be read", plan.label(from)));
        let (record, frame, after) = handoff::ChannelRecord::take(rest).map_err(bad)?;
        let whole = rest.len() - after.len();
        let octets = rest.get(..whole).unwrap_or_default();
        debug_assert_eq!(octets.len(), handoff::CHANNEL_RECORD_LEN + frame.len());
        rest = after;
        let Some(to) = plan.host_of(&record.mac) else { continue };
        match all.iter_mut().find(|frames| frames.host == *to) {
            Some(frames) => {
                frames.bulk.extend_from_slice(octets);
                frames.count += 1;
            }
            None => all.push(Frames { host: to.clone(), bulk: octets.to_vec(), count: 1 }),
        }
    }
    Ok(())
}
