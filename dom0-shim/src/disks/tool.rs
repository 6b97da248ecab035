//! Running the tools of LVM, of the device mapper and of QEMU; and where those have their files.

use std::fs::File;
#[cfg(test)]
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};

use crate::error::{Context, Error, Result};

/// Runs a tool to its end and returns what it printed.
///
/// # Errors
/// It can't be run, or it says no: then its last words.
pub(super) fn run(tool: &str, args: &[&str]) -> Result<String> {
    run_with(tool, args, Stdio::null())
}

/// What a tool of [`run_into`] calls the file.
pub(super) const INTO: &str = "/proc/self/fd/0";

/// The same with a file that has no name (any more): the tool writes to [`INTO`].
pub(super) fn run_into(tool: &str, args: &[&str], file: &File) -> Result<String> {
    #[cfg(test)]
    if fake::is_set() {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let args: Vec<&str> = args.iter().map(|a| if *a == INTO { &*path } else { *a }).collect();
        return run(tool, &args);
    }
    run_with(tool, args, file.try_clone().context("passing a file on")?.into())
}

fn run_with(tool: &str, args: &[&str], input: Stdio) -> Result<String> {
    #[cfg(test)]
    if let Some(said) = fake::run(tool, args) {
        return said;
    }
    let output = Command::new(tool)
        .args(args)
        .stdin(input)
        // Messages are compared, and numbers are read.
        .env("LC_ALL", "C")
        // LVM complains about our files otherwise.
        .env("LVM_SUPPRESS_FD_WARNINGS", "1")
        .output()
        .context(format!("running {tool}"))
        .map_err(|e| {
            e.hint("Disks on LVM need Debian's packages lvm2 and dmsetup, qcow2 files qemu-utils")
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let words: Vec<&str> = said.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let words = words.get(words.len().saturating_sub(3)..).unwrap_or_default().join("; ");
    Err(Error::new(format!("{tool} failed: {words}")))
}

/// The folder of devices, without a slash at its end.
#[cfg(not(test))]
pub(super) fn devices() -> String {
    "/dev".into()
}

/// The folder of QEMU's monitors.
#[cfg(not(test))]
pub(super) fn sockets() -> String {
    "/var/run/xen".into()
}

#[cfg(test)]
pub(super) use fake::{devices, sockets};

/// Tools that a test has, in its own thread.
#[cfg(test)]
pub(super) mod fake {
    use std::cell::RefCell;

    use crate::error::Result;

    type Tool = Box<dyn FnMut(&str, &[&str]) -> Result<String>>;

    thread_local! {
        static FAKE: RefCell<Option<(String, Tool)>> = const { RefCell::new(None) };
    }

    /// From now on this answers, and volumes are files in a folder.
    pub(in crate::disks) fn set(devices: &str, tool: impl FnMut(&str, &[&str]) -> Result<String> + 'static) {
        FAKE.with(|fake| *fake.borrow_mut() = Some((devices.to_owned(), Box::new(tool))));
    }

    pub(super) fn is_set() -> bool {
        FAKE.with(|fake| fake.borrow().is_some())
    }

    pub(super) fn run(tool: &str, args: &[&str]) -> Option<Result<String>> {
        FAKE.with(|fake| fake.borrow_mut().as_mut().map(|(_, run)| run(tool, args)))
    }

    pub(in crate::disks) fn sockets() -> String {
        devices()
    }

    pub(in crate::disks) fn devices() -> String {
        FAKE.with(|fake| fake.borrow().as_ref().map_or("/dev".into(), |(devices, _)| devices.clone()))
    }
}
