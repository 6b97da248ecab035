//! `/etc/luthier/switch.key`: who this host's switch is.
//!
//! The key leaves this file for the stub only. It must never be logged, told to a client, or be
//! readable by anybody but root.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use handoff::SecretKey;
use rustix::rand::{GetRandomFlags, getrandom};
use x25519_dalek::{PublicKey as Point, StaticSecret};
use zeroize::Zeroizing;

use super::place::{PublicKey, from_hex};
use crate::error::{Context, Error, Result};

/// Digits, and the end of the line.
const FILE_LEN: usize = 65;

/// The key; made if there is none.
pub(super) fn load_or_make(path: &Path) -> Result<SecretKey> {
    match load(path)? {
        Some(key) => Ok(key),
        None => {
            make(path)?;
            load(path)?.ok_or_else(|| Error::new(format!("{} vanished", path.display())))
        }
    }
}

/// Reads the key. `None`: there is none yet.
pub(super) fn load(path: &Path) -> Result<Option<SecretKey>> {
    let reading = || format!("reading {}", path.display());
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e).context(reading()),
    };
    let meta = file.metadata().context(reading())?;
    let me = rustix::process::geteuid().as_raw();
    if meta.mode() & 0o077 != 0 || meta.uid() != me {
        return Err(Error::new(format!(
            "{} can be read by others (mode {:04o}, owner {}): whoever read it can pass for this host",
            path.display(),
            meta.mode() & 0o7777,
            meta.uid()
        ))
        .hint(format!(
            "If nobody did: chown root {0} && chmod 600 {0}. Else remove it: the next `luthier net key` makes a new one, for the other hosts to take",
            path.display()
        )));
    }
    let mut text = Zeroizing::new([0; FILE_LEN + 1]);
    let mut len = 0;
    while let Some(room) = text.get_mut(len..).filter(|r| !r.is_empty()) {
        match file.read(room).context(reading())? {
            0 => break,
            n => len += n,
        }
    }
    let digits = text.get(..len).and_then(|t| std::str::from_utf8(t).ok()).map(str::trim_end);
    match digits.and_then(from_hex) {
        Some(key) => Ok(Some(SecretKey(key))),
        None => Err(Error::new(format!("{} is not a switch's key", path.display()))
            .hint("It has 64 hexadecimal digits. Bring it back from a copy, or remove it: `luthier net key` makes a new one")),
    }
}

fn make(path: &Path) -> Result<()> {
    let making = || format!("making {}", path.display());
    let mut key = Zeroizing::new([0; 32]);
    let mut filled = 0;
    while let Some(room) = key.get_mut(filled..).filter(|r| !r.is_empty()) {
        filled += getrandom(room, GetRandomFlags::empty()).context(making())?;
    }
    let mut text = Zeroizing::new(String::with_capacity(FILE_LEN));
    for octet in key.iter() {
        for digit in [octet >> 4, octet & 15] {
            text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
        }
    }
    text.push('\n');
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).context(making())?;
    // Written aside and linked: there is never half a key, and none is ever written over.
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).context(making())?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).context(making())?;
    let linked = fs::hard_link(&new, path);
    let _ = fs::remove_file(&new);
    match linked {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e).context(making()),
        _ => File::open(folder).and_then(|f| f.sync_all()).context(making()),
    }
}

/// What others know this switch by.
pub(super) fn public(key: &SecretKey) -> PublicKey {
    PublicKey(Point::from(&StaticSecret::from(key.0)).to_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_for_root_only_and_refused_when_others_can_read_it() {
        let dir = std::env::temp_dir().join(format!("luthier-key-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join("switch.key");
        assert!(load(&path).unwrap().is_none());
        let key = load_or_make(&path).unwrap();
        assert_ne!(key.0, [0; 32]);
        assert_eq!(load_or_make(&path).unwrap(), key);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        for mode in [0o640, 0o604, 0o620] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = load(&path).unwrap_err();
            assert!(error.message.contains("can be read by others"), "{error}");
            assert!(error.hint.unwrap().contains("chmod 600"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "not a key").unwrap();
        assert!(load(&path).unwrap_err().message.contains("not a switch's key"));
        fs::write(&path, "00".repeat(40)).unwrap();
        assert!(load(&path).is_err());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn the_public_key_is_that_of_rfc_7748() {
        // Section 5.2: X25519(9, 9), after one iteration.
        let mut nine = [0; 32];
        nine[0] = 9;
        assert_eq!(
            public(&SecretKey(nine)).to_string(),
            "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
        );
    }
}
