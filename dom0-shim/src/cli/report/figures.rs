//! What an image's manifest says of the snapshot that made it.
//!
//! A manifest's report is whatever its writer wrote, of any version: what is missing is left out,
//! what can't be is an error, and nothing is believed beyond its bounds.

use serde_json::{Value, json};
use store::Manifest;

use crate::error::{Error, Result};

/// The largest count of pages: 4 PiB of memory.
const MAX_PAGES: f64 = 1e12;
/// The longest time, in milliseconds: a year.
const MAX_MS: f64 = 366.0 * 86_400_000.0;

/// One round.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Round {
    /// From 1.
    pub(super) number: usize,
    /// Whether the guest ran.
    pub(super) live: bool,
    /// Pages to be sent at its begin.
    pub(super) asked: f64,
    /// Pages sent, zero pages among them.
    pub(super) sent: f64,
    /// Of these, zero pages.
    pub(super) zero: f64,
    /// Pages left for later because they were dirty again.
    pub(super) skipped: f64,
    /// Pages dirty at its end.
    pub(super) dirtied: f64,
    /// Its duration.
    pub(super) ms: f64,
}

impl Round {
    /// Of a count, how many in a second of this round; 0 of a round that took no time.
    pub(super) fn rate(&self, count: f64) -> f64 {
        if self.ms > 0.0 { count * 1000.0 / self.ms } else { 0.0 }
    }
}

/// One snapshot.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// The image's name.
    pub(super) image: String,
    /// The guest's.
    pub(super) guest: String,
    /// When it was taken, in UTC.
    pub(super) created: String,
    /// The policy's name.
    pub(super) policy: String,
    /// Why copying live stopped.
    pub(super) stop: Option<String>,
    /// The guest's populated pages.
    pub(super) pages: f64,
    /// The rounds, at least one.
    pub(super) rounds: Vec<Round>,
    /// Pages sent in all.
    pub(super) pages_sent: f64,
    /// How long the guest was suspended.
    pub(super) suspended_ms: Option<f64>,
    /// How long it took to freeze before that.
    pub(super) freeze_ms: Option<f64>,
    /// From the request to the image; the sum of the rounds in images that don't say it.
    pub(super) total_ms: f64,
}

impl Figures {
    /// Reads them.
    pub(super) fn read(manifest: &Manifest) -> Result<Self> {
        let wrong = |why: String| Error::new(format!("image {}: {why}", manifest.id));
        let report = &manifest.report;
        let none = Vec::new();
        let listed = match report.get("rounds") {
            Some(Value::Array(rounds)) => rounds,
            None => &none,
            Some(_) => return Err(wrong("the `rounds` of its report are not a list".into())),
        };
        let rounds = listed
            .iter()
            .enumerate()
            .map(|(i, round)| read_round(i + 1, round))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(wrong)?;
        if rounds.is_empty() {
            return Err(wrong("its manifest has no rounds to report of".into())
                .hint("Imported images have none; `luthier snapshot` records them"));
        }
        let count = |key| number(report, key, MAX_PAGES).map_err(wrong);
        let ms = |key| number(report, key, MAX_MS).map_err(wrong);
        let text = |key| report.get(key).and_then(Value::as_str).map(word);
        let policy = manifest.policy.as_str().or_else(|| manifest.policy.get("name")?.as_str());
        let in_rounds: f64 = rounds.iter().map(|r| r.ms).sum();
        Ok(Self {
            image: word(&manifest.id),
            guest: word(&manifest.guest),
            created: word(&manifest.created),
            policy: text("policy").or(policy.map(word)).unwrap_or_else(|| "unknown".into()),
            stop: text("stop"),
            pages: (manifest.pages as f64).min(MAX_PAGES),
            pages_sent: count("pages_sent")?.unwrap_or_else(|| rounds.iter().map(|r| r.sent).sum()),
            suspended_ms: ms("suspended_ms")?,
            freeze_ms: ms("freeze_ms")?,
            total_ms: ms("total_ms")?.unwrap_or(in_rounds),
            rounds,
        })
    }

    /// Pages that the guest made dirty in a second, over all live rounds.
    pub(super) fn dirty_frequency(&self) -> f64 {
        let live = || self.rounds.iter().filter(|r| r.live);
        let ms: f64 = live().map(|r| r.ms).sum();
        if ms > 0.0 { live().map(|r| r.dirtied).sum::<f64>() * 1000.0 / ms } else { 0.0 }
    }

    /// The average duration of a round, in milliseconds: from the second to the one before the
    /// last, as in the Live Save paper (4.2.3), because the first sends everything and in the
    /// last the guest is suspended. `None`: too few rounds.
    pub(super) fn average_round_ms(&self) -> Option<f64> {
        let inner = self.rounds.get(1..self.rounds.len().saturating_sub(1)).unwrap_or_default();
        average(inner.iter().map(|r| r.ms).collect())
    }

    /// The average of pages dirty after a live round. `None`: no round was live.
    pub(super) fn average_dirty(&self) -> Option<f64> {
        average(self.rounds.iter().filter(|r| r.live).map(|r| r.dirtied).collect())
    }

    /// The columns of the Live Save paper, by the names that a snapshot's own report has. Rates
    /// are pages a second, a page is 4 KiB.
    pub(super) fn json(&self) -> Value {
        let round = |r: &Round| {
            json!({
                "round": r.number, "live": r.live, "asked": count(r.asked), "sent": count(r.sent),
                "zero": count(r.zero), "skipped": count(r.skipped), "dirtied": count(r.dirtied), "ms": tidy(r.ms),
            })
        };
        json!({
            "image": self.image,
            "guest": self.guest,
            "created": self.created,
            "policy": self.policy,
            "stop": self.stop,
            "pages": count(self.pages),
            "dirty_frequency": tidy(self.dirty_frequency()),
            "dirty_pages": self.average_dirty().map(tidy),
            "round_ms": self.average_round_ms().map(tidy),
            "iterations": self.rounds.len(),
            "suspended_ms": self.suspended_ms.map(tidy),
            "freeze_ms": self.freeze_ms.map(tidy),
            "total_ms": tidy(self.total_ms),
            "pages_sent": count(self.pages_sent),
            "rounds": self.rounds.iter().map(round).collect::<Vec<_>>(),
        })
    }
}

/// The same rounds as at most `most`: neighbours become one. Returns how many became one.
pub(super) fn merged(rounds: &[Round], most: usize) -> (Vec<Round>, usize) {
    let group = rounds.len().div_ceil(most.max(1)).max(1);
    let merge = |group: &[Round]| {
        let first = group.first().cloned().unwrap_or_default();
        group.iter().skip(1).fold(first, |one, r| Round {
            number: one.number,
            // The suspended one is the last, and counts.
            live: one.live && r.live,
            asked: one.asked,
            sent: one.sent + r.sent,
            zero: one.zero + r.zero,
            skipped: one.skipped + r.skipped,
            dirtied: r.dirtied,
            ms: one.ms + r.ms,
        })
    };
    (rounds.chunks(group).map(merge).collect(), group)
}

fn read_round(number: usize, round: &Value) -> std::result::Result<Round, String> {
    let wrong = |why| format!("round {number}: {why}");
    let pages = |key| self::number(round, key, MAX_PAGES).map_err(wrong);
    let needed = |key: &str, value: Option<f64>| value.ok_or_else(|| wrong(format!("`{key}` is missing")));
    let sent = needed("sent", pages("sent")?)?;
    let skipped = pages("skipped")?.unwrap_or(0.0);
    Ok(Round {
        number,
        live: round.get("live").and_then(Value::as_bool).unwrap_or(true),
        asked: pages("asked")?.unwrap_or(sent + skipped),
        sent,
        zero: pages("zero")?.unwrap_or(0.0).min(sent),
        skipped,
        dirtied: pages("dirtied")?.unwrap_or(0.0),
        ms: needed("ms", self::number(round, "ms", MAX_MS).map_err(wrong)?)?,
    })
}

/// A number from 0 to `max`. `None`: there is none of this name.
fn number(value: &Value, key: &str, max: f64) -> std::result::Result<Option<f64>, String> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(found) => match found.as_f64() {
            Some(n) if (0.0..=max).contains(&n) => Ok(Some(n)),
            _ => Err(format!("`{key}` is not a number from 0 to {max:e}")),
        },
    }
}

/// Text of a length that fits a picture, in characters that any terminal and XML can have.
fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c > '\u{d7ff}' { '?' } else { c }).take(80).collect()
}

fn average(of: Vec<f64>) -> Option<f64> {
    let n = of.len();
    (n > 0).then(|| of.iter().sum::<f64>() / n as f64)
}

/// A count as JSON has it.
fn count(n: f64) -> u64 {
    n as u64
}

/// Three digits after the point are enough for milliseconds and rates.
fn tidy(n: f64) -> f64 {
    (n * 1000.0).round() / 1000.0
}
