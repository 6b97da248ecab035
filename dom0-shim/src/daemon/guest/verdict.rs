//! What a verb returns, and how errors are put for the stub and, through it, for the operator.

use handoff::{Detail, VerbError, VerbErrorKind};

/// What a verb returns.
pub(in super::super) type Verdict<T> = std::result::Result<T, VerbError>;

/// An error for the stub, and through it for the operator.
pub(super) fn refuse(kind: VerbErrorKind, why: impl std::fmt::Display) -> VerbError {
    let mut detail = Detail::new();
    for c in why.to_string().chars() {
        if detail.push(c).is_err() {
            break;
        }
    }
    VerbError { kind, detail }
}

/// Xen's errors, by the class that the operator's hint depends on.
pub(super) fn of_xen(e: privcmd::Error) -> VerbError {
    use privcmd::Error as E;
    let kind = match e {
        E::NoSuchDomain(_) => VerbErrorKind::GuestGone,
        E::LogDirtyOwned(_) | E::LogDirtyPassthrough(_) | E::LogDirtyNoHap(_) | E::LogDirtyNoMemory(_) => {
            VerbErrorKind::LogDirty
        }
        _ => VerbErrorKind::Hypervisor,
    };
    refuse(kind, e)
}
