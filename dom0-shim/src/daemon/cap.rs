//! The cap of a guest's CPU time while a snapshot slows the guest down, and giving it back.
//!
//! The cap that the guest had is in the journal before it is touched. What this module must never
//! do: overwrite a cap that somebody else has set meanwhile (`xl sched-credit2`).

use privcmd::{CpuCap, DomId, Hypervisor};
use serde::{Deserialize, Serialize};

/// What a guest's cap was, and what we made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lowered {
    /// Percent of one CPU; 0: none.
    was: u16,
    /// The caps that we have set, or were about to. A cap that is none of these is somebody else's.
    ours: Vec<u16>,
}

impl Lowered {
    /// Nothing is lowered yet.
    pub(super) fn from(was: u16) -> Self {
        Self { was, ours: Vec::new() }
    }

    /// The cap for a share, noted as ours from now on. At least 1, as 0 means none; at most 100 for
    /// each vCPU, as Xen takes no more.
    pub(super) fn lower(&mut self, percent: u8, vcpus: u32) -> u16 {
        let whole = match self.was {
            0 => vcpus.max(1).saturating_mul(100),
            was => was.into(),
        };
        let cap = (whole.saturating_mul(percent.min(100).into()) / 100).clamp(1, u16::MAX.into()) as u16;
        if !self.ours.contains(&cap) {
            self.ours.push(cap);
        }
        cap
    }

    /// Whether the guest's cap is still as we left it: as it was, or as we set it.
    pub(super) fn is_untouched(&self, present: u16) -> bool {
        present == self.was || self.ours.contains(&present)
    }
}

/// Gives a guest the cap that it had, unless somebody else has given it another.
///
/// # Errors
/// Xen's; nothing has changed then. That the guest is gone is none.
pub(super) fn restore(xen: &Hypervisor, domid: DomId, lowered: &Lowered) -> Result<(), privcmd::Error> {
    let restored = xen.cpu_cap(domid).and_then(|present| match present {
        Some(CpuCap { scheduler, percent }) if lowered.ours.contains(&percent) => {
            xen.set_cpu_cap(domid, CpuCap { scheduler, percent: lowered.was })
        }
        // Somebody else's, or as it was.
        _ => Ok(()),
    });
    match restored {
        Err(privcmd::Error::NoSuchDomain(_)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_what_the_guest_had() {
        assert_eq!(Lowered::from(0).lower(50, 1), 50);
        assert_eq!(Lowered::from(0).lower(25, 4), 100);
        assert_eq!(Lowered::from(80).lower(50, 4), 40);
        // Never none, and never more than there was.
        assert_eq!(Lowered::from(0).lower(0, 1), 1);
        assert_eq!(Lowered::from(1).lower(1, 1), 1);
        assert_eq!(Lowered::from(60).lower(255, 1), 60);
        assert_eq!(Lowered::from(0).lower(100, 0), 100);
    }

    #[test]
    fn a_cap_that_somebody_else_has_set_is_theirs() {
        let mut lowered = Lowered::from(0);
        lowered.lower(50, 1);
        lowered.lower(25, 1);
        for ours in [0, 50, 25] {
            assert!(lowered.is_untouched(ours));
        }
        assert!(!lowered.is_untouched(30));
    }
}
