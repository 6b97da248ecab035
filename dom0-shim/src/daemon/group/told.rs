//! The options of a group's snapshots, as they travel to the other hosts' shims: what differs from
//! the usual, in at most 512 octets.

use heapless::Vec;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::api::SnapshotOptions;
use crate::error::{Context, Error, Result};

/// The version of these words: it changes with the meaning of an option.
const VERSION: u16 = 1;

#[derive(Serialize, Deserialize)]
struct Told {
    version: u16,
    options: Map<String, Value>,
    /// How many groups of a schedule stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep: Option<u16>,
}

fn fields(options: &SnapshotOptions) -> Result<Map<String, Value>> {
    match serde_json::to_value(options).context("the options")? {
        Value::Object(fields) => Ok(fields),
        _ => Err(Error::new("the options are no object")),
    }
}

/// Options as they travel.
pub(super) fn encode(options: &SnapshotOptions, keep: Option<u16>) -> Result<Vec<u8, 512>> {
    let usual = fields(&SnapshotOptions::default())?;
    let mut differing = fields(options)?;
    differing.retain(|name, value| usual.get(name) != Some(value));
    let text =
        serde_json::to_vec(&Told { version: VERSION, options: differing, keep }).context("the options")?;
    Vec::from_slice(&text).map_err(|_| {
        Error::new("these options are too long for the other hosts").hint("Name fewer disks with --no-disk")
    })
}

/// What another host's shim told.
///
/// # Errors
/// It is of another release, or the options can't be.
pub(super) fn decode(bytes: &[u8]) -> Result<(SnapshotOptions, Option<u16>)> {
    let other = || {
        Error::new("the coordinator runs another release of Luthier").hint("Install one release on all hosts")
    };
    let told: Told = serde_json::from_slice(bytes).map_err(|_| other())?;
    let mut all = fields(&SnapshotOptions::default())?;
    if told.version != VERSION || told.options.keys().any(|name| !all.contains_key(name)) {
        return Err(other());
    }
    all.extend(told.options);
    let options: SnapshotOptions = serde_json::from_value(Value::Object(all)).map_err(|_| other())?;
    options.check()?;
    Ok((options, told.keep))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PolicyName;

    #[test]
    fn options_arrive_as_they_were_sent_and_the_usual_ones_take_no_room() {
        assert!(encode(&SnapshotOptions::default(), None).unwrap().len() < 40);
        let options = SnapshotOptions {
            policy: PolicyName::PoolFit,
            downtime_us: 12_345,
            pool: std::num::NonZeroU32::new(7),
            throttle: true,
            defer_hot: true,
            copy_batch: 8,
            suspend_timeout: 99,
            ..SnapshotOptions::default()
        };
        assert_eq!(decode(&encode(&options, Some(12)).unwrap()).unwrap(), (options, Some(12)));
    }

    #[test]
    fn what_another_release_says_is_refused_and_not_guessed_at() {
        for text in [
            r#"{"version":2,"options":{}}"#,
            r#"{"version":1,"options":{"colour":"red"}}"#,
            r#"{"version":1,"options":{"policy":"psychic"}}"#,
            "",
            "{",
        ] {
            let error = decode(text.as_bytes()).unwrap_err();
            assert!(error.message.contains("another release"), "{text}: {error}");
        }
        assert!(decode(br#"{"version":1,"options":{"copy_batch":0}}"#).is_err());
    }
}
