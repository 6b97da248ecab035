//! Boots the self-test image in QEMU, once for each case of `cases.txt`: what boot promises (W^X,
//! guard pages, reports, a crash that is seen as one) is broken on purpose and must be noticed.
//!
//! Needs `qemu-system-x86_64` and fails without it, unless `LUTHIER_SKIP_QEMU=1` is set.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The processor of the lab, which has neither SMEP nor SMAP, and one that has both.
const PROCESSORS: [&str; 2] = ["qemu64,+svm,+npt,+ssse3,+sse4.1,+sse4.2", "max"];

/// Exit statuses of isa-debug-exit (`boot`'s `stop.rs`).
const POWEROFF: i32 = 33;
const CRASH: i32 = 35;

#[test]
fn every_case_ends_as_it_must_and_says_why() {
    let Some(image) = image() else { return };
    for (name, ending, words) in cases() {
        for processor in PROCESSORS {
            let (status, output) = boot(&image, processor, "64M", name);
            let expected = if ending == "crash" { CRASH } else { POWEROFF };
            assert_eq!(status, Some(expected), "{name} on {processor}:\n{output}");
            assert!(output.contains(words), "{name} on {processor}: no \"{words}\" in\n{output}");
        }
    }
}

#[test]
fn it_boots_with_little_and_with_much_memory() {
    let Some(image) = image() else { return };
    for (memory, window) in [("8M", "0x100000000"), ("6G", "0x200000000")] {
        let (status, output) = boot(&image, PROCESSORS[0], memory, "edges");
        assert_eq!(status, Some(POWEROFF), "{memory}:\n{output}");
        assert!(output.contains(&format!("window {window}..")), "{memory}:\n{output}");
    }
}

#[test]
fn the_image_has_no_segment_that_is_writable_and_executable() {
    let Some(image) = image() else { return };
    let elf = std::fs::read(image).expect("the image was just built");
    // ELF-64: e_phoff at 32, e_phnum at 56; a program header is 56 bytes, p_flags at 4.
    let field = |at: usize, size: usize| {
        elf[at..at + size].iter().rev().fold(0usize, |value, byte| value << 8 | usize::from(*byte))
    };
    let headers = (0..field(56, 2)).map(|i| field(32, 8) + 56 * i);
    let load: Vec<usize> = headers.filter(|at| field(*at, 4) == 1).map(|at| field(at + 4, 4)).collect();
    assert_eq!(load, [5, 4, 6], "text R-X, rodata R--, data RW-");
}

/// The lines of `cases.txt`: name, ending, words.
fn cases() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let lines = include_str!("cases.txt").lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let mut fields = line.split('|').map(str::trim);
        let mut next = || fields.next().expect("three fields a line");
        (next(), next(), next())
    })
}

/// Builds the image as a user would, in the target directory of this test. `None`: to be skipped.
fn image() -> Option<PathBuf> {
    if std::env::var_os("LUTHIER_SKIP_QEMU").is_some_and(|value| value == "1") {
        eprintln!("skipped: LUTHIER_SKIP_QEMU=1");
        return None;
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--profile", "kernel", "--features", "kernel"])
        .args(["-p", "boot", "--bin", "boot-selftest", "--target-dir"])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the self-test image does not build");
    Some(target.join("kernel/boot-selftest"))
}

/// Runs one case; QEMU's exit status and what came out of port 0xe9.
fn boot(image: &Path, processor: &str, memory: &str, name: &str) -> (Option<i32>, String) {
    // A fault that nobody catches ends QEMU too (-no-reboot), and a hang is ended by `timeout`.
    let run = Command::new("timeout")
        .args(["60", "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-no-reboot"])
        .args(["-display", "none", "-nodefaults", "-debugcon", "stdio"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .args(["-cpu", processor, "-m", memory, "-append", &format!("selftest={name}"), "-kernel"])
        .arg(image)
        .stdin(Stdio::null())
        .output()
        .expect("timeout runs");
    if run.status.code() == Some(127) {
        panic!(
            "qemu-system-x86_64 is not installed: install it, use that of the lab (`qemu-ci/lab tools`, then \
             PATH=.lab/bin:$PATH), or set LUTHIER_SKIP_QEMU=1"
        );
    }
    let errors = String::from_utf8_lossy(&run.stderr);
    (run.status.code(), String::from_utf8_lossy(&run.stdout).into_owned() + &errors)
}
