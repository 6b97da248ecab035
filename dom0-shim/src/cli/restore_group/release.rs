//! Whether the `luthier` of another host understands what a restore of a group asks of it, and the other way
//! round: each says in the first question or answer which version it speaks.
//!
//! What this must never do: let one host begin what another one would do in another way.

use serde_json::{Value, json};

use crate::error::{Error, Result};

/// The version of `luthier restore-member`: what it is asked, and what it answers. It changes with whatever a
/// `luthier` of the version before would not understand, or would do in another way.
pub(super) const VERSION: u64 = 3;

/// The field that tells it.
const FIELD: &str = "restore_version";

/// What says nothing is of before versions were told.
const UNTOLD: u64 = 1;

/// The same question or answer, with the version.
pub(super) fn told(mut what: Value) -> Value {
    if let Value::Object(fields) = &mut what {
        fields.insert(FIELD.into(), json!(VERSION));
    }
    what
}

/// Refuses what comes from another version; `who` it is from, and who `here` is.
///
/// # Errors
/// It is; names both, their versions, and what to do.
pub(super) fn check(said: &Value, who: &str, here: &str) -> Result<()> {
    let theirs = said.get(FIELD).map_or(Some(UNTOLD), Value::as_u64);
    if theirs == Some(VERSION) {
        return Ok(());
    }
    let theirs = theirs.map_or_else(|| "an unknown version".to_owned(), |n| format!("version {n}"));
    Err(Error::new(format!(
        "luthier on {who} speaks {theirs} of group restores, on {here} version {VERSION}"
    ))
    .hint("Install one release of Luthier on all hosts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_version_is_refused_by_both_numbers() {
        check(&told(json!({"images": []})), "right", "this host").unwrap();
        for (said, theirs) in [
            (json!({"images": []}), "version 1"),
            (json!({FIELD: VERSION + 1}), &*format!("version {}", VERSION + 1)),
            (json!({FIELD: "two"}), "an unknown version"),
            (Value::Null, "version 1"),
        ] {
            let error = check(&said, "right", "this host").unwrap_err();
            let wanted =
                format!("luthier on right speaks {theirs} of group restores, on this host version {VERSION}");
            assert_eq!(error.message, wanted);
            assert!(error.hint.is_some());
        }
    }
}
