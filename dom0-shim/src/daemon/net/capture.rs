//! `luthier net capture`: copies of a network's frames, from the stub to a client.
//!
//! Nobody waits for a capture: what the link, this daemon or the client can't take in time is left
//! out and counted.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use handoff::{CaptureRecord, Direction, NetAnswer, NetOrder};
use serde_json::{Value, json};

use super::stats::switch_id;
use super::{Net, in_words};
use crate::api::{Event, Frame};
use crate::error::{Error, Result};

/// How soon the end of the client is noticed on a silent network.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a client wants.
#[derive(Clone, Copy, Debug)]
pub(in crate::daemon) struct Wish<'a> {
    /// The network's name.
    pub(in crate::daemon) name: &'a str,
    /// The most octets of each frame.
    pub(in crate::daemon) snaplen: u16,
    /// Frames until the end, if there is to be one.
    pub(in crate::daemon) count: Option<u64>,
}

impl Net {
    /// Captures until the count is reached, the client is gone or the stub is. `tell` says whether
    /// the client took it.
    pub(in crate::daemon) fn capture(
        &self,
        wish: Wish<'_>,
        gone: &AtomicBool,
        tell: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Value> {
        let network = self.keeper.load()?.find(wish.name)?.id;
        let order = |on| NetOrder::Capture { network, on, snaplen: wish.snaplen };
        let answers = self.switch.ask(order(true))?;
        let (mut clock, mut begun) = (None, false);
        let (mut told, mut missed_there, mut missed_here) = (0, 0, 0);
        let left = |told| wish.count.map_or(u64::MAX, |count| count.saturating_sub(told));
        while left(told) > 0 && !gone.load(Ordering::Relaxed) {
            let Some(answer) = answers.next(LOOK_EVERY)? else {
                // The stub has not refused: the client may begin its file.
                if clock.is_none() && !begun {
                    begun = tell(Event::Captured { frames: Vec::new(), missed: 0 });
                }
                continue;
            };
            let NetAnswer::Captured { count, missed, now_us } = answer.answer else {
                if let NetAnswer::Failed(why) = &answer.answer {
                    return Err(in_words(why));
                }
                return Err(Error::new(format!(
                    "another capture of {} took the place of this one",
                    wish.name
                ))
                .hint("One at a time: wait for its end"));
            };
            missed_there = missed;
            let clock = *clock.get_or_insert_with(|| Clock::new(now_us));
            let mut frames = parse(&answer.bulk, count, clock)?;
            frames.truncate(usize::try_from(left(told)).unwrap_or(usize::MAX));
            let n = frames.len() as u64;
            if tell(Event::Captured { frames, missed: missed_there + missed_here }) {
                told += n;
            } else {
                missed_here += n;
            }
        }
        drop(answers);
        // Nothing to do about a stub that is gone: so is the capture.
        let _ = self.order(order(false));
        Ok(json!({"captured": told, "missed": missed_there + missed_here}))
    }
}

/// From the stub's clock to ours, fixed at the first message so that times keep their order.
#[derive(Clone, Copy)]
struct Clock {
    stub_us: u64,
    here_us: u64,
}

impl Clock {
    fn new(stub_us: u64) -> Self {
        let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { stub_us, here_us: u64::try_from(here.as_micros()).unwrap_or(u64::MAX) }
    }

    fn time(self, stub_us: u64) -> u64 {
        self.here_us.saturating_add(stub_us).saturating_sub(self.stub_us)
    }
}

fn parse(mut bulk: &[u8], count: u16, clock: Clock) -> Result<Vec<Frame>> {
    let malformed = || Error::new("the stub domain sent malformed captured frames");
    let mut frames = Vec::new();
    for _ in 0..count {
        let (record, octets, rest) = CaptureRecord::take(bulk).map_err(|_| malformed())?;
        bulk = rest;
        let from = match record.direction {
            Direction::FromGuest => format!("{}/{}", record.source >> 16, record.source & 0xffff),
            Direction::FromPeer => switch_id(record.source),
        };
        let octets = octets.iter().map(|o| format!("{o:02x}")).collect();
        frames.push(Frame { time_us: clock.time(record.time_us), from, len: record.len, octets });
    }
    if bulk.is_empty() { Ok(frames) } else { Err(malformed()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_and_in_our_time() {
        let record =
            |time_us, direction, source| CaptureRecord { time_us, source, len: 9, caplen: 2, direction };
        let mut bulk = record(1_000, Direction::FromGuest, 5 << 16 | 1).emit().to_vec();
        bulk.extend([0xab, 0x01]);
        bulk.extend(record(900, Direction::FromPeer, 0xfeed).emit());
        bulk.extend([0xcd, 0xef]);
        let clock = Clock { stub_us: 1_000, here_us: 5_000_000 };
        let frames = parse(&bulk, 2, clock).unwrap();
        let seen: Vec<_> =
            frames.iter().map(|f| (f.time_us, f.from.as_str(), f.len, f.octets.as_str())).collect();
        assert_eq!(seen, [(5_000_000, "5/1", 9, "ab01"), (4_999_900, "000000000000feed", 9, "cdef")]);
        assert!(parse(&bulk, 1, clock).is_err());
        assert!(parse(&bulk, 3, clock).is_err());
    }
}
