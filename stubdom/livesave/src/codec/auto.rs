//! Which codec is worth its time: measured, for pages that are sent first and for pages that are
//! sent again, each on its own.
//!
//! A codec is worth it if sending the bytes that it saved would have taken longer than it took
//! itself. The driver says what sending takes; until it does, a codec must save an eighth.
//!
//! Each codec begins with a trial of a number of pages. At the end of the trial it is kept or
//! left out. One that is kept is judged again after as many pages, for ever; one that is left out
//! has its next trial after a pause that is 64 times as long (16 times for blocks, which are
//! found only in what was learnt). So where nothing is gained nearly every page is sent raw, at
//! no cost but the trials, and a guest that changes its mind is noticed.

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
    /// Pages of a trial, and of the pause after one that failed.
    const fn window(self) -> (u32, u32) {
        match self {
            Self::Lz4 | Self::Delta => (64, 4096),
            Self::Blocks => (1024, 16 << 10),
        }
    }
}

/// A trial that has not come to an end after this many times its pages ends: the codec finds
/// nothing to work on.
const PATIENCE: u32 = 128;

/// How one codec does for one class.
#[derive(Clone, Copy, Debug, Default)]
struct Gauge {
    /// Pages of the pause that are left; 0: in use.
    pause: u32,
    /// Pages of this trial that were seen, and those that the codec could work on.
    seen: u32,
    tried: u32,
    /// Bytes saved and ticks spent in this trial.
    saved: u64,
    ticks: u64,
}

/// Everything that is decided.
#[derive(Clone, Debug)]
pub(super) struct Auto {
    /// Without: whatever is there is used.
    on: bool,
    /// Ticks to send a byte, in units of 2^-16. `None`: not known yet.
    sink: Option<u64>,
    gauges: [[Gauge; 2]; 3],
}

impl Auto {
    pub(super) fn new(on: bool) -> Self {
        Self { on, sink: None, gauges: Default::default() }
    }

    /// Whether time needs to be measured.
    pub(super) fn measures(&self) -> bool {
        self.on
    }

    /// Sending so many bytes took so many ticks. An average over about eight reports.
    pub(super) fn sink(&mut self, bytes: u64, ticks: u64) {
        let Some(now) = (ticks << 16).checked_div(bytes) else { return };
        self.sink = Some(self.sink.map_or(now, |before| before - before / 8 + now / 8));
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
        let (pages, pause) = codec.window();
        let sink = self.sink;
        let gauge = self.gauge(codec, class);
        gauge.seen += 1;
        gauge.tried += u32::from(saved.is_some());
        gauge.saved += saved.unwrap_or(0) as u64;
        gauge.ticks = gauge.ticks.saturating_add(ticks);
        if gauge.tried < pages && gauge.seen < pages * PATIENCE {
            return;
        }
        let worth = match sink {
            Some(sink) => u128::from(gauge.saved) * u128::from(sink) > u128::from(gauge.ticks) << 16,
            None => gauge.saved * 8 > u64::from(gauge.tried) * PAGE_SIZE as u64,
        };
        *gauge = Gauge { pause: if worth { 0 } else { pause }, ..Gauge::default() };
    }
}
