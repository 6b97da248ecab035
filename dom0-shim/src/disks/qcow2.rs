//! Disks that are qcow2 files, served by a QEMU in Dom0, with snapshots inside the same file.
//!
//! **The moment.** At the suspend point QEMU is given one command for all such disks of the guest
//! ([`Snapshot::take`]): it lets requests under way end and holds new ones back, keeps the tables of where
//! everything is, writes them out and goes on. What the guest writes from then on goes elsewhere in the file.
//! The connection is made before, so that the guest waits for that command only.
//!
//! **One writer.** Two programs that change a qcow2 file destroy it, and libxl's QEMU takes no lock. So
//! a snapshot is removed by the QEMU that has the file open, or by `qemu-img` when nobody has
//! ([`users`]), and never any other way. A guest must not be started in the tenth of a second in which
//! `qemu-img` does.
//!
//! **Clones.** A restored guest gets a new file beside, into which `qemu-img` copies what the snapshot
//! has (also of a backing file, of which the copy is independent then). It reads a file that a QEMU may be
//! writing to: what a snapshot has does not change as long as it is there, and the image's lock keeps it.
//! What goes to another host is such a file as well ([`carry`]).

mod carry;
mod header;
mod qmp;
mod users;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::tool::{run, sockets};
use crate::error::{Context, Error, Result};
pub(super) use carry::{check_came, check_own, is_able, measure, take_out};
use qmp::Client;

/// What names of snapshots begin with: nothing else is ever removed.
pub(super) use super::record::VOLUME as PREFIX;

/// What libxl puts before the path of such a disk.
const FORMAT: &str = "qcow2:";

/// How long QEMU may take until it is greeted, and for a question.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it may take for what changes the file. The guest does not wait as long: see `daemon::disks`.
const LONG: Duration = Duration::from_secs(60);

/// A disk as the QEMU of its guest has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// The guest's file.
    pub file: PathBuf,
    /// The guest.
    pub domid: u16,
    /// QEMU's name for it.
    node: String,
}

/// Looks at a disk that QEMU serves. `params` is what libxl wrote of it.
///
/// # Errors
/// Why it can't be snapshotted.
pub fn look(domid: u16, params: &str) -> Result<Disk> {
    let Some(file) = params.strip_prefix(FORMAT) else {
        let path = params.split_once(':').map_or(params, |(_, path)| path);
        return Err(Error::new(format!("QEMU serves it, and {path} is not qcow2")).hint(
            "A raw disk can with Dom0's own back end: backendtype=phy, as a volume of LVM or a file on XFS or Btrfs",
        ));
    };
    let file = PathBuf::from(file);
    run("qemu-img", &["--version"])?;
    let mut client = connect(domid)?;
    let node = find(&mut client, &file)?.ok_or_else(|| {
        Error::new(format!("its QEMU does not have {} open for writing as qcow2", file.display()))
    })?;
    check(&file, &node)?;
    Ok(Disk { file, domid, node: text(&node, "/node-name") })
}

fn connect(domid: u16) -> Result<Client> {
    let mut last = String::new();
    for path in qmp::monitors(Path::new(&sockets()), domid) {
        match Client::connect(&path, PATIENCE) {
            Ok(client) => return Ok(client),
            // Only where there is no other is the next one tried: an order of two is kept by one socket.
            Err(qmp::Error::Absent(e)) => last = format!("{}: {e}", path.display()),
            Err(e) => return Err(told(domid, &e)),
        }
    }
    Err(Error::new(format!("the QEMU of domain {domid} has no monitor (QMP): {last}"))
        .hint("xl starts QEMU with one: was it started by something else?"))
}

fn told(domid: u16, e: &qmp::Error) -> Error {
    Error::new(format!("the QEMU of domain {domid}: {e}"))
}

/// What QEMU says of a file that it has open as qcow2 for writing, if it has.
fn find(client: &mut Client, file: &Path) -> Result<Option<Value>> {
    let nodes = client.run("query-named-block-nodes", json!({"flat": true}), PATIENCE);
    let nodes = nodes.context("asking QEMU for its disks")?;
    let wanted = identity(file).context(format!("looking at {}", file.display()))?;
    let is_it = |node: &&Value| {
        text(node, "/drv") == "qcow2"
            && !flag(node, "/ro")
            && identity(Path::new(&text(node, "/file"))).is_ok_and(|found| found == wanted)
    };
    Ok(nodes.as_array().into_iter().flatten().find(is_it).cloned())
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(file).map(|m| (m.dev(), m.ino()))
}

fn text(value: &Value, at: &str) -> String {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn flag(value: &Value, at: &str) -> bool {
    value.pointer(at).and_then(Value::as_bool).unwrap_or(false)
}

/// Whether a snapshot inside can be made, and one day be brought back. A backing file may be there: it
/// must not change as long as the guest's disk has it anyway.
fn check(file: &Path, node: &Value) -> Result<()> {
    let file = file.display();
    let data = |name: &str| format!("/image/format-specific/data/{name}");
    let refuse = |what: &str, hint: &str| Err(Error::new(format!("{file} {what}")).hint(hint.to_owned()));
    if flag(node, "/encrypted") || flag(node, "/image/encrypted") || node.pointer(&data("encrypt")).is_some()
    {
        return refuse(
            "is encrypted, and Luthier has no key to bring it back",
            "Encrypt in the guest, or below",
        );
    }
    if node.pointer(&data("data-file")).is_some() {
        return refuse(
            "keeps its data in another file, which has no snapshots inside",
            "Make it one file: qemu-img convert -O qcow2",
        );
    }
    if flag(node, &data("lazy-refcounts")) {
        return refuse(
            "has lazy_refcounts, with which a loss of power leaves wrong counts of what snapshots share",
            "While its guest is off: qemu-img amend -o lazy_refcounts=off",
        );
    }
    if flag(node, &data("corrupt")) {
        return refuse("is marked as corrupt", "While its guest is off: qemu-img check");
    }
    let bits = node.pointer(&data("refcount-bits")).and_then(Value::as_u64).unwrap_or(16);
    let most = 1_u64.checked_shl(bits.try_into().unwrap_or(64)).unwrap_or(u64::MAX).saturating_sub(1);
    // The disk itself counts as well.
    if snapshots(node, "/image/snapshots").len() as u64 >= most.saturating_sub(1) {
        return refuse(
            &format!("has no room for one more snapshot (refcount_bits={bits})"),
            "Remove images (luthier rm), or make it anew: qemu-img convert -O qcow2",
        );
    }
    Ok(())
}

/// The names of the snapshots in a file.
fn snapshots(value: &Value, at: &str) -> Vec<String> {
    let list = value.pointer(at).and_then(Value::as_array);
    list.into_iter().flatten().map(|snapshot| text(snapshot, "/name")).collect()
}

/// The snapshots of all such disks of a guest, that are to be taken, everything ready.
#[derive(Debug)]
pub struct Snapshot {
    client: Mutex<Client>,
    domid: u16,
    /// What QEMU is told to do, all of it or nothing.
    actions: Value,
    files: Vec<File>,
}

impl Snapshot {
    /// Connects to the QEMU that serves these disks, each with the name of its snapshot.
    ///
    /// # Errors
    /// There is none (any more).
    pub fn prepare(disks: &[(Disk, String)]) -> Result<Self> {
        let domid = disks.first().map_or(0, |(disk, _)| disk.domid);
        let open = |(disk, _): &(Disk, String)| {
            File::open(&disk.file).context(format!("opening {}", disk.file.display()))
        };
        let action = |(disk, name): &(Disk, String)| json!({"type": "blockdev-snapshot-internal-sync", "data": {"device": disk.node, "name": name}});
        Ok(Self {
            client: Mutex::new(connect(domid)?),
            domid,
            actions: disks.iter().map(action).collect(),
            files: disks.iter().map(open).collect::<Result<_>>()?,
        })
    }

    /// Writes out what the page cache has of the files: QEMU flushes them when it takes the snapshots.
    pub fn sync(&self) -> io::Result<()> {
        self.files.iter().try_for_each(File::sync_data)
    }

    /// Takes the snapshots. Requests under way are waited for, and new ones wait meanwhile.
    ///
    /// # Errors
    /// QEMU's words. Then there is none.
    pub fn take(&self) -> Result<()> {
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = client.run("transaction", json!({"actions": self.actions}), LONG);
        taken.map(drop).map_err(|e| told(self.domid, &e)).context("taking snapshots in qcow2 files")
    }

    /// Has them on the disk. QEMU has flushed them; the file's own size and place are the file system's.
    pub fn make_durable(&self) -> Result<()> {
        self.files.iter().try_for_each(File::sync_all).context("writing qcow2 files")
    }
}

/// Whether there is a snapshot of this name in a file.
///
/// # Errors
/// The file is there, and `qemu-img` can't read it.
pub fn exists(file: &Path, name: &str) -> Result<bool> {
    if !file.exists() {
        return Ok(false);
    }
    let report = run("qemu-img", &["info", "-U", "-f", "qcow2", "--output=json", &shown(file)?])?;
    let report: Value = serde_json::from_str(&report).context("reading what qemu-img says")?;
    Ok(snapshots(&report, "/snapshots").iter().any(|found| found == name))
}

/// A path as an argument. One with a colon would be something else to QEMU.
fn shown(file: &Path) -> Result<String> {
    let text = file.to_str().filter(|_| file.is_absolute());
    text.map(str::to_owned).ok_or_else(|| Error::new(format!("{} is no path for qemu-img", file.display())))
}

/// Removes a snapshot of ours, if it is there.
///
/// # Errors
/// It is still there: QEMU's words, or who has the file open.
pub(super) fn remove_snapshot(file: &Path, name: &str) -> Result<()> {
    if !name.starts_with(PREFIX) {
        return Err(Error::new(format!("{name} is no snapshot of Luthier's: it is left as it is")));
    }
    if !file.exists() {
        return Ok(());
    }
    let users = users::writers(Path::new("/proc"), file)?;
    match users.as_slice() {
        [] if exists(file, name)? => run("qemu-img", &["snapshot", "-d", name, &shown(file)?]).map(drop),
        [] => Ok(()),
        [users::User { domid: Some(domid), .. }] => remove_by_qemu(*domid, file, name),
        _ => Err(users::in_use(file, &users)),
    }
}

/// The same by the QEMU that has the file open.
fn remove_by_qemu(domid: u16, file: &Path, name: &str) -> Result<()> {
    let mut client = connect(domid)?;
    let node = find(&mut client, file)?.ok_or_else(|| {
        Error::new(format!("the QEMU of domain {domid} does not tell of {} as qcow2", file.display()))
    })?;
    if !snapshots(&node, "/image/snapshots").iter().any(|found| found == name) {
        return Ok(());
    }
    let what = json!({"device": text(&node, "/node-name"), "name": name});
    let removed = client.run("blockdev-snapshot-delete-internal-sync", what, LONG);
    removed.map(drop).map_err(|e| told(domid, &e)).context(format!("removing the snapshot {name}"))
}

/// Makes a new file with what a snapshot has, for a guest. No file is left when it fails.
///
/// # Errors
/// No room, or `qemu-img`'s words.
pub fn clone(file: &Path, name: &str, to: &Path) -> Result<()> {
    // For root only, as qemu-img would not make it.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let made = made.context(format!("making {}", to.display()))?;
    let fill = || {
        let snapshot = format!("snapshot.name={name}");
        let (from, to) = (shown(file)?, shown(to)?);
        run("qemu-img", &["convert", "-q", "-U", "-f", "qcow2", "-l", &snapshot, "-O", "qcow2", &from, &to])?;
        made.sync_all().context(format!("writing {to}"))
    };
    let folder = to.parent().unwrap_or(Path::new("/"));
    let sync = || File::open(folder).and_then(|folder| folder.sync_all()).context("writing a folder");
    let filled = fill().and_then(|()| sync());
    if filled.is_err() {
        let _ = fs::remove_file(to);
    }
    filled
}

#[cfg(test)]
pub(super) use header::tests::header as header_of;

#[cfg(test)]
mod tests;
