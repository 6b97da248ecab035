//! What a snapshot is reported by: the columns of the Live Save paper's tables, and what the stub
//! says of its own work.

use std::time::Duration;

use handoff::Report;
use serde_json::{Map, Value, json};

use crate::api::Round;

/// What the shim itself has seen.
pub(super) struct Seen<'a> {
    pub(super) rounds: &'a [Round],
    pub(super) pages: u32,
    /// How long the guest took to suspend once asked.
    pub(super) freeze: Duration,
    /// How long it then stood still.
    pub(super) suspended: Duration,
    /// Since the request.
    pub(super) total: Duration,
}

/// Milliseconds, to the microsecond.
pub(super) fn ms(d: Duration) -> f64 {
    (d.as_secs_f64() * 1e6).round() / 1e3
}

fn us_as_ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// The report of a snapshot for its manifest and for the client.
pub(super) fn figures(report: &Report, seen: &Seen<'_>) -> Map<String, Value> {
    let estimate = Some(us_as_ms(report.estimate_us.into())).filter(|ms| *ms > 0.0);
    let Paper { dirty_frequency, dirty_pages, round_ms } = Paper::of(seen.rounds);
    let ways = [report.raw, report.lz4, report.delta, report.blocks];
    let bytes_sent: u64 = ways.iter().map(|t| t.bytes).sum();
    let all = json!({
        "stop": report.stop.as_str(),
        "rounds": seen.rounds,
        "iterations": seen.rounds.len(),
        "dirty_frequency": dirty_frequency,
        "dirty_pages": dirty_pages,
        "round_ms": round_ms,
        "pages": seen.pages,
        "pages_sent": report.sent,
        "pages_zero": report.zero,
        "pages_skipped": report.skipped,
        "pages_kept": report.kept,
        "pages_overflow": report.overflow,
        "pages_prepared": report.prepared,
        "prepared_ms": us_as_ms(report.prepared_us.into()),
        "throttle": report.throttle,
        "copy_hypercalls": report.copy_hypercalls,
        "copy_ms": us_as_ms(report.copy_micros),
        "codec_ms": us_as_ms(report.codec_micros),
        "raw_pages": report.raw.pages,
        "raw_bytes": report.raw.bytes,
        "lz4_pages": report.lz4.pages,
        "lz4_bytes": report.lz4.bytes,
        "delta_pages": report.delta.pages,
        "delta_bytes": report.delta.bytes,
        "blocks_pages": report.blocks.pages,
        "blocks_bytes": report.blocks.bytes,
        "bytes_sent": bytes_sent,
        "freeze_ms": ms(seen.freeze),
        "estimate_ms": estimate,
        "fixed_ms": us_as_ms(report.fixed_us.into()),
        "suspended_ms": ms(seen.suspended),
        "total_ms": ms(seen.total),
    });
    match all {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Columns of the paper that are averages over live rounds; `None` where there were none.
#[derive(Debug, PartialEq)]
struct Paper {
    /// Pages dirtied a second.
    dirty_frequency: Option<f64>,
    /// Pages dirtied in a round.
    dirty_pages: Option<f64>,
    /// How long a round took: from the second to the last but one, as in the paper.
    round_ms: Option<f64>,
}

impl Paper {
    fn of(rounds: &[Round]) -> Self {
        let live: Vec<&Round> = rounds.iter().filter(|r| r.live).collect();
        let average =
            |sum: f64, n: f64| Some(sum / n).filter(|v| v.is_finite()).map(|v| (v * 1e3).round() / 1e3);
        let count = live.len() as f64;
        let dirtied: f64 = live.iter().map(|r| f64::from(r.dirtied)).sum();
        let seconds: f64 = live.iter().map(|r| r.ms / 1e3).sum();
        let later = live.get(1..).unwrap_or_default();
        Self {
            dirty_frequency: average(dirtied, seconds),
            dirty_pages: average(dirtied, count),
            round_ms: average(later.iter().map(|r| r.ms).sum(), later.len() as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(number: u16, live: bool, dirtied: u32, ms: f64) -> Round {
        Round { round: number, live, asked: 0, sent: 0, zero: 0, skipped: 0, dirtied, ms }
    }

    #[test]
    fn averages_are_those_of_the_paper() {
        let rounds = [
            round(1, true, 300, 1000.0),
            round(2, true, 100, 300.0),
            round(3, true, 50, 200.0),
            round(4, false, 0, 9.0),
        ];
        let want = Paper { dirty_frequency: Some(300.0), dirty_pages: Some(150.0), round_ms: Some(250.0) };
        assert_eq!(Paper::of(&rounds), want);
    }

    #[test]
    fn a_snapshot_without_live_rounds_has_no_averages() {
        let none = Paper { dirty_frequency: None, dirty_pages: None, round_ms: None };
        assert_eq!(Paper::of(&[round(1, false, 0, 9.0)]), none);
        assert_eq!(Paper::of(&[]), none);
        assert_eq!(Paper::of(&[round(1, true, 0, 0.0)]).dirty_frequency, None);
    }
}
