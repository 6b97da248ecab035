//! Whether this host's Xen can restore an image: Xen takes what its own release or an older one wrote,
//! never what a newer one did.

use store::XenVersion;

use crate::error::{Error, Result};

/// The release of this host's Xen; `None` where it does not say.
pub(super) fn here() -> Option<XenVersion> {
    let (major, minor) = privcmd::Hypervisor::open_any_version().ok()?.version();
    Some(XenVersion { major, minor })
}

/// Refuses an image of a newer release than the host's. What is not known of either is tried.
///
/// # Errors
/// Names the image, both releases and the host.
pub(super) fn check(
    image: &str,
    taken_on: Option<XenVersion>,
    host: Option<XenVersion>,
    label: &str,
) -> Result<()> {
    let known = |v: Option<XenVersion>| v.filter(|v| v.major != 0);
    let (Some(taken), Some(host)) = (known(taken_on), known(host)) else { return Ok(()) };
    if (taken.major, taken.minor) <= (host.major, host.minor) {
        return Ok(());
    }
    Err(Error::new(format!(
        "the image {image} was taken on Xen {}.{}, and {label} has Xen {}.{}, which can't restore it",
        taken.major, taken.minor, host.major, host.minor
    ))
    .hint("Xen restores what the same release or an older one saved: restore it on a host with such a Xen"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn xen(major: u32, minor: u32) -> Option<XenVersion> {
        Some(XenVersion { major, minor })
    }

    #[test]
    fn an_image_of_a_newer_xen_is_refused_with_both_releases() {
        let error = check("web@20261122T081500Z", xen(4, 20), xen(4, 17), "this host").unwrap_err();
        assert_eq!(
            error.message,
            "the image web@20261122T081500Z was taken on Xen 4.20, and this host has Xen 4.17, which can't restore it"
        );
        assert!(
            check("x", xen(5, 0), xen(4, 20), "right").unwrap_err().message.contains("right has Xen 4.20")
        );
    }

    #[test]
    fn the_same_release_an_older_one_and_an_unknown_one_are_tried() {
        for (taken, host) in [
            (xen(4, 17), xen(4, 17)),
            (xen(4, 17), xen(4, 20)),
            (xen(4, 20), xen(5, 0)),
            (None, xen(4, 17)),
            (xen(0, 0), xen(4, 17)),
            (xen(4, 20), None),
        ] {
            check("x", taken, host, "this host").unwrap();
        }
    }
}
