//! Whether stock `xl` is saving or migrating a guest at this moment.
//!
//! libxc takes the log of a guest's writes from whoever has it: when Xen refuses to begin a log,
//! it ends the one that is there and begins its own. Xen tells neither side. So a live save that
//! began during a snapshot must be seen here, or both images would lack pages. (One that has
//! ended since has ended the log too, which `Guest::clean` sees.)

use std::fs;

/// Whether a process of libxl saves the guest. What can't be read does not.
pub(super) fn is_saving(domid: u16) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    processes
        .flatten()
        .filter(|p| p.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .any(|p| fs::read(p.path().join("cmdline")).is_ok_and(|cmdline| saves(&cmdline, domid)))
}

/// `libxl-save-helper --save-domain FD BACK_FD DOMID ...` (libxl_save_callout.c, 4.17 to 4.20).
fn saves(cmdline: &[u8], domid: u16) -> bool {
    let mut words = cmdline.split(|byte| *byte == 0);
    words.next().is_some_and(|program| program.ends_with(b"libxl-save-helper"))
        && words.next() == Some(b"--save-domain")
        && words.nth(2) == Some(domid.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cmdline(words: &str) -> Vec<u8> {
        words.split(' ').flat_map(|word| word.bytes().chain([0])).collect()
    }

    #[test]
    fn only_the_helper_that_saves_this_guest_is_one() {
        let helper = cmdline("/usr/lib/xen-4.17/bin/libxl-save-helper --save-domain 9 -1 12 3 1 0");
        assert!(saves(&helper, 12));
        assert!(!saves(&helper, 9));
        assert!(!saves(&helper, 3));
        assert!(!saves(&cmdline("/bin/libxl-save-helper --restore-domain 9 -1 12"), 12));
        assert!(!saves(&cmdline("less libxl-save-helper --save-domain 9 -1 12"), 12));
        assert!(!saves(b"", 12) && !saves(b"libxl-save-helper", 12));
    }
}
