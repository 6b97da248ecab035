//! Which codec is worth its time: measured, for pages that are sent first and for pages that are
//! sent again, each on its own.
//!
//! A codec is worth it if sending the bytes that it saved would have taken longer than it took
//! itself. The driver says what sending takes; until it does, a codec must save an eighth.
//!
//! Each codec begins with a trial of a number of pages. At the end of the trial it is kept or
//! left out. One that is kept is judged again after as many pages, for ever. One that is left out
//! has its next trial after a pause, so long that trials take a fiftieth of the time in which the
//! pages are sent. So where nothing is gained pages are sent raw at next to no cost, a trial that
//! cost nothing is soon repeated, and a guest that changes its ways is noticed.

use super::Class;
use crate::PAGE_SIZE;

/// A codec that may be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Lz4,
    Delta,
    Blocks,
}

impl Codec {
    /// Pages of a trial. Blocks are found only among what was learnt, so that has to grow.
    const fn trial(self) -> u32 {
        match self {
            Self::Lz4 | Self::Delta => 64,
            Self::Blocks => 512,
        }
    }
}

/// Trials that fail take at most one part in so many of the time in which pages are sent.
const TRIAL_SHARE: u128 = 50;

/// The longest pause, in trials.
const LONGEST_PAUSE: u32 = 256;

/// How one codec does for one class.
#[derive(Clone, Copy, Debug, Default)]
struct Gauge {
    /// Pages of the pause that are left; 0: in use.
    pause: u32,
    /// Pages of this trial that were seen, and those that the codec could work on.
    seen: u32,
    tried: u32,
    /// Bytes saved and ticks spent in this trial, and the most of them for one page.
    saved: u64,
    ticks: u64,
    most: u64,
}

/// Everything that is decided.
#[derive(Clone, Debug)]
pub(super) struct Auto {
    /// Without: whatever is there is used.
    on: bool,
    /// A trial of so many pages ends even if the codec found few that it could work on. Twice the
    /// guest's: a base of a page is there only after the page was sent, in an earlier round.
    patience: u32,
    /// Bytes that were sent and the ticks that it took, the last ones counting most.
    sink: [u64; 2],
    gauges: [[Gauge; 2]; 3],
}

impl Auto {
    /// For a guest of so many pages.
    pub(super) fn new(on: bool, pages: u32) -> Self {
        Self { on, patience: pages.saturating_mul(2).max(8192), sink: [0; 2], gauges: Default::default() }
    }

    /// Whether time needs to be measured.
    pub(super) fn measures(&self) -> bool {
        self.on
    }

    /// Sending so many bytes took so many ticks. What was said eight times ago counts for a third.
    pub(super) fn sink(&mut self, bytes: u64, ticks: u64) {
        let fade = |sum: u64, new| (sum - sum / 8).saturating_add(new);
        let [sent, taken] = self.sink;
        self.sink = [fade(sent, bytes), fade(taken, ticks)];
    }

    fn gauge(&mut self, codec: Codec, class: Class) -> &mut Gauge {
        &mut self.gauges[codec as usize][class as usize]
    }

    /// Whether the codec is in use for the class.
    pub(super) fn uses(&self, codec: Codec, class: Class) -> bool {
        !self.on || self.gauges[codec as usize][class as usize].pause == 0
    }

    /// Whether the codec is to be used for the next page of the class.
    pub(super) fn wants(&mut self, codec: Codec, class: Class) -> bool {
        if !self.uses(codec, class) {
            self.gauge(codec, class).pause -= 1;
            return false;
        }
        true
    }

    /// The codec was used: what it saved, if the page was one that it could work on, and ticks.
    pub(super) fn note(&mut self, codec: Codec, class: Class, saved: Option<usize>, ticks: u64) {
        if !self.on {
            return;
        }
        let pages = codec.trial();
        let (sink, patience) = (self.sink, self.patience);
        let gauge = self.gauge(codec, class);
        gauge.seen += 1;
        gauge.tried += u32::from(saved.is_some());
        gauge.saved += saved.unwrap_or(0) as u64;
        gauge.ticks = gauge.ticks.saturating_add(ticks);
        gauge.most = gauge.most.max(ticks);
        if gauge.tried < pages && gauge.seen < patience {
            return;
        }
        // The longest does not count: our CPU may have been taken away meanwhile.
        let ticks = gauge.ticks - gauge.most;
        let (worth, pause) = match sink.map(u128::from) {
            [0, _] => (gauge.saved * 8 > u64::from(gauge.tried) * PAGE_SIZE as u64, 16 * pages),
            [bytes, sending] => {
                let ticks = u128::from(ticks) * bytes;
                let pause = (ticks * TRIAL_SHARE).checked_div(sending * PAGE_SIZE as u128);
                let longest = pages * LONGEST_PAUSE;
                let pause = pause.map_or(longest, |pause| pause.clamp(pages.into(), longest.into()) as u32);
                (u128::from(gauge.saved) * sending > ticks, pause)
            }
        };
        *gauge = Gauge { pause: if worth { 0 } else { pause }, ..Gauge::default() };
    }
}
