//! What is recorded of a guest besides its memory: what can't change any more when it is about to be asked to
//! suspend, and the rest in parts, while it stands still and the stub copies.
//!
//! What this module must never do: record a part of a guest that runs.

use handoff::VerbErrorKind;
use store::{State, StateKind};

use super::Guest;
use super::verdict::{Verdict, of_xen, refuse};

impl Guest {
    /// What is not memory, once recorded.
    pub(in super::super) fn take_state(&mut self) -> Option<State> {
        self.has_state().then(|| std::mem::take(&mut self.state))
    }

    /// Records what `xl save` records besides memory and can't change any more: it need not stand still.
    pub(super) fn begin_state(&mut self) -> Verdict<()> {
        let policy = self.xen.cpu_policy(self.who.domid).map_err(of_xen)?;
        let config = serde_json::to_vec(&self.config).map_err(|e| refuse(VerbErrorKind::Hypervisor, e))?;
        self.state = State::new();
        self.state_due = false;
        self.record([
            (StateKind::CpuidPolicy, policy.cpuid),
            (StateKind::MsrPolicy, policy.msrs),
            (StateKind::DomainConfig, config),
        ])
    }

    /// Does a part of what the verb `State` asks for before it does, while the stub copies. Whether there is more.
    pub(in super::super) fn state_ahead(&mut self) -> bool {
        if self.state_due {
            self.stateless = self.state_part().err();
            self.state_due = self.stateless.is_none() && !self.has_state();
        }
        self.state_due
    }

    /// The verb `State`: what `xl save` records besides memory, if the last bitmap can be believed.
    pub(in super::super) fn state(&mut self) -> Verdict<()> {
        self.state_due = false;
        // Not tried again: the look for the log leaves it on.
        if let Some(why) = self.stateless.take() {
            return Err(why);
        }
        if !self.check()?.suspended() {
            return Err(refuse(VerbErrorKind::NotAllowed, "the guest is not suspended"));
        }
        while !self.has_state() {
            self.state_part()?;
        }
        Ok(())
    }

    /// Records the next part of it. The guest stands still.
    fn state_part(&mut self) -> Verdict<()> {
        let domid = self.who.domid;
        let (kind, body) = if self.state.get(StateKind::TscInfo).is_none() {
            if self.log_dirty {
                self.check_log_is_on()?;
                self.log_seen = true;
            }
            (StateKind::TscInfo, self.xen.tsc_info(domid).map_err(of_xen)?.to_vec())
        } else if self.state.get(StateKind::HvmContext).is_none() {
            (StateKind::HvmContext, self.xen.hvm_context(domid).map_err(of_xen)?)
        } else {
            let params = self.xen.hvm_params(domid).map_err(of_xen)?;
            (StateKind::HvmParams, store::state::hvm_params(&params))
        };
        self.record([(kind, body)])
    }

    fn has_state(&self) -> bool {
        self.state.check_complete().is_ok()
    }

    fn record<const N: usize>(&mut self, records: [(StateKind, Vec<u8>); N]) -> Verdict<()> {
        for (kind, body) in records {
            self.state.insert(kind, body).map_err(|e| refuse(VerbErrorKind::Hypervisor, e))?;
        }
        Ok(())
    }
}
