//! Slowing a guest down, the last resort against one that writes faster than pages can be copied.

use handoff::VerbErrorKind;
use privcmd::CpuCap;

use super::super::cap::{self, Lowered};
use super::Guest;
use super::verdict::{Verdict, of_xen, refuse};

impl Guest {
    /// The verb `Throttle`.
    pub(in super::super) fn throttle(&mut self, percent: u8) -> Verdict<()> {
        let info = self.check()?;
        match percent {
            100 => return self.unthrottle(),
            1..100 => {}
            _ => return Err(refuse(VerbErrorKind::NotAllowed, format!("{percent} percent is no share"))),
        }
        let domid = self.who.domid;
        let present = self.xen.cpu_cap(domid).map_err(of_xen)?.ok_or_else(|| {
            refuse(VerbErrorKind::Hypervisor, "Xen's scheduler knows no caps: credit2 and credit do")
        })?;
        let mut lowered = self.lowered.clone().unwrap_or_else(|| Lowered::from(present.percent));
        if !lowered.is_untouched(present.percent) {
            let why = format!("somebody else has set the cap of `{}`", self.who.name);
            return Err(refuse(VerbErrorKind::Hypervisor, why));
        }
        let new = lowered.lower(percent, info.online_vcpus);
        self.lowered = Some(lowered);
        // Before it is changed: whoever comes after us must know what it was.
        self.note().map_err(|e| refuse(VerbErrorKind::Hypervisor, e.message))?;
        self.xen.set_cpu_cap(domid, CpuCap { percent: new, ..present }).map_err(of_xen)?;
        tracing::info!(guest = self.who.name, percent, cap = new, "slowed down");
        Ok(())
    }

    /// Gives back what the guest had, unless somebody else has set something else.
    pub(super) fn unthrottle(&mut self) -> Verdict<()> {
        let Some(lowered) = &self.lowered else { return Ok(()) };
        cap::restore(&self.xen, self.who.domid, lowered).map_err(of_xen)?;
        self.lowered = None;
        self.note().map_err(|e| refuse(VerbErrorKind::Hypervisor, e.message))
    }
}
