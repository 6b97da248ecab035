//! Xen's plain save: the guest is suspended for as long as it takes to write all of its memory.
//!
//! What `xl save -c` does, and the baseline of every comparison. It neither needs log-dirty
//! nor uses the pool.

use super::Policy;

/// Suspend, write everything once, resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct XenSave;

impl XenSave {
    /// The name that operators use.
    pub const NAME: &str = "xen-save";
}

impl Policy for XenSave {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn live(&self) -> bool {
        false
    }

    fn keep(&self) -> bool {
        false
    }
}
