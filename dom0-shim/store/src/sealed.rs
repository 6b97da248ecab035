//! JSON files that notice a flipped bit: manifests of images and of groups.
//!
//! The last field is the SHA-256 of every octet before it, in a fixed form, so the file remains plain
//! JSON that a person can read.

use serde::Serialize;
use sha2::{Digest, Sha256};

/// What comes before the checksum's hexadecimal digits, and what after them.
const TAIL_HEAD: &str = ",\n  \"checksum\": \"sha256:";
const TAIL_END: &str = "\"\n}\n";
const HEX: usize = 64;

/// An object as a file's contents, checksum included.
pub(crate) fn seal(value: &impl Serialize) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(value)?;
    // The pretty form of an object ends so; the checksum goes in between.
    text.truncate(text.strip_suffix("\n}").map_or(text.len(), str::len));
    let sum = hex(&Sha256::digest(text.as_bytes()));
    text.push_str(TAIL_HEAD);
    text.push_str(&sum);
    text.push_str(TAIL_END);
    Ok(text.into_bytes())
}

/// Checks a file's contents against its checksum; what is wrong, in words that follow its name.
pub(crate) fn check(file: &[u8]) -> Result<(), &'static str> {
    let tail = TAIL_HEAD.len() + HEX + TAIL_END.len();
    let at = file.len().checked_sub(tail).ok_or("is truncated")?;
    let (body, tail) = file.split_at_checked(at).ok_or("is truncated")?;
    let sum = hex(&Sha256::digest(body));
    if tail != [TAIL_HEAD, &sum, TAIL_END].concat().as_bytes() {
        return Err("does not match the checksum at its end");
    }
    Ok(())
}

/// Octets as lower-case hexadecimal digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|b| format!("{b:02x}")).collect()
}
