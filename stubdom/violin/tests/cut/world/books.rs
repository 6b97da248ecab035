//! What must be true when all is over: was each cut consistent, and is each frame that was in transit
//! recorded once, or lost?

use super::{Mode, Sent, World, host_of};

impl World {
    /// All of it.
    ///
    /// # Errors
    /// What is wrong.
    pub(super) fn check(&self) -> Result<(), String> {
        for k in &self.committed {
            self.check_orphans(*k)?;
        }
        for (host, of) in self.hosts.iter().enumerate() {
            if of.held.values().any(|held| !held.is_empty()) || of.cut.poll_at().is_some() {
                return Err(format!("stuck: host {host} still holds frames"));
            }
        }
        if let Some(guest) = self.guests.iter().position(|guest| guest.doubled > 0) {
            return Err(format!("doubled: guest {guest} got a frame twice"));
        }
        if self.mode == Mode::Hold
            && let Some((guest, id)) = self.dropped.first()
        {
            return Err(format!("stuck: {id} for guest {guest} was held until it was dropped"));
        }
        for k in &self.committed {
            self.check_snapshot(*k)?;
        }
        Ok(())
    }

    /// Whether a guest knew at its moment what another sent after its own.
    fn check_orphans(&self, k: u32) -> Result<(), String> {
        for (guest, of) in self.guests.iter().enumerate() {
            let Some(moment) = of.moment.get(&k) else { return Err(format!("cut: {k} lacks guest {guest}")) };
            for (id, _) in of.received.iter().filter(|(_, at)| *at < moment) {
                let Sent { by, event } = self.sent[*id];
                if self.guests[by].moment.get(&k).is_some_and(|moment| event > *moment) {
                    return Err(format!("orphan: guest {guest} has {id} of guest {by} in {k}"));
                }
            }
        }
        Ok(())
    }

    fn check_snapshot(&self, k: u32) -> Result<(), String> {
        for (&(guest, id), &arrived) in &self.arrived {
            let of = &self.guests[guest];
            let sent = &self.sent[id];
            let (Some(before), Some(moment)) = (self.guests[sent.by].moment.get(&k), of.moment.get(&k))
            else {
                return Err(format!("cut: {k} lacks a guest"));
            };
            let in_transit =
                sent.event < *before && of.received.get(&id).is_none_or(|received| received > moment);
            let recorded = self.recorded.get(&(k, guest, id)).copied().unwrap_or(0);
            let closed = self.hosts[host_of(guest)].closed_at.get(&k).copied().unwrap_or(u64::MAX);
            let lost = arrived > closed || self.dropped.contains(&(guest, id));
            match (in_transit, recorded) {
                (true, 1) | (false, 0) => {}
                (true, 0) if lost => {}
                (true, 0) => return Err(format!("unrecorded: {id} to guest {guest} in {k}")),
                (_, n) => return Err(format!("recorded: {id} to guest {guest} {n} times in {k}")),
            }
        }
        Ok(())
    }
}
