//! Which processes may write to a file, and which of them is a guest's QEMU.
//!
//! libxl's QEMU takes no lock on a disk, so a lock says nothing: `/proc` does.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Context, Error, Result};

/// Flags of an open file that say how it was opened, and those that let it write.
const ACCESS: u32 = 0o3;

/// A process that has a file open for writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    /// Its number.
    pub(super) pid: u32,
    /// Its program's name.
    pub(super) name: String,
    /// The guest that it serves, if it is a QEMU of libxl's.
    pub(super) domid: Option<u16>,
}

/// Who has `file` open for writing, but us. `proc` is `/proc`.
///
/// # Errors
/// The file is not there, or `/proc` can't be read.
pub(super) fn writers(proc: &Path, file: &Path) -> Result<Vec<User>> {
    let own = fs::metadata(file).context(format!("looking at {}", file.display()))?;
    let mut found = Vec::new();
    for entry in fs::read_dir(proc).context(format!("reading {}", proc.display()))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile has nothing open any more.
        let Ok(fds) = fs::read_dir(entry.path().join("fd")) else { continue };
        let is_it = |fd: &fs::DirEntry| {
            fs::metadata(fd.path()).is_ok_and(|m| (m.dev(), m.ino()) == (own.dev(), own.ino()))
        };
        let writes = |fd: &fs::DirEntry| may_write(&entry.path().join("fdinfo").join(fd.file_name()));
        if pid != std::process::id() && fds.flatten().any(|fd| is_it(&fd) && writes(&fd)) {
            let text = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let words: Vec<_> = text.split(|&c| c == 0).map(String::from_utf8_lossy).collect();
            let name = words.first().map_or("", |word| word.rsplit('/').next().unwrap_or_default());
            let mut after = words.iter().skip_while(|word| *word != "-xen-domid").skip(1);
            let domid = after.next().and_then(|word| word.parse().ok());
            found.push(User { pid, name: name.to_owned(), domid });
        }
    }
    Ok(found)
}

/// Whether an open file can be written to, of what `fdinfo` has of it. If in doubt it can.
fn may_write(fdinfo: &Path) -> bool {
    let Ok(text) = fs::read_to_string(fdinfo) else { return true };
    let flags = text.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_none_or(|flags| flags & ACCESS != 0)
}

/// The error that names those who have a file open.
pub(super) fn in_use(file: &Path, users: &[User]) -> Error {
    let names: Vec<String> = users.iter().map(|u| format!("{} ({})", u.name, u.pid)).collect();
    Error::new(format!("{} is open in {}, and only one may change it", file.display(), names.join(" and ")))
        .hint("Stop that, then start luthierd again: it tries once more")
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn who_writes_to_a_file_is_found_and_who_reads_is_not() {
        let file = std::env::temp_dir().join(format!("luthier-users-{}.qcow2", std::process::id()));
        fs::write(&file, "").unwrap();
        let writers = || writers(Path::new("/proc"), &file).unwrap();
        let open = |write| OpenOptions::new().read(true).write(write).open(&file).unwrap();
        // Our own are no others'.
        let own: File = open(true);
        assert_eq!(writers(), []);
        drop(own);
        let spawn = |file: File| {
            let mut sleeper = Command::new("sh");
            // Named as libxl has it.
            sleeper.args(["-c", "read line", "-xen-domid", "7"]).stdin(Stdio::piped()).stdout(file);
            sleeper.spawn().unwrap()
        };
        let mut reader = spawn(open(false));
        assert_eq!(writers(), []);
        let mut writer = spawn(open(true));
        let found = writers();
        let expected = User { pid: writer.id(), name: "sh".into(), domid: Some(7) };
        assert_eq!(found, [expected]);
        let error = in_use(&file, &found);
        assert!(error.message.contains(&format!("open in sh ({})", writer.id())), "{error}");
        for child in [&mut reader, &mut writer] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(writers(), []);
        fs::remove_file(file).unwrap();
    }
}
