//! A guest whose pages are numbers, a hypervisor's log-dirty, an image, and a driver that
//! advances virtual time. Deterministic from a seed.

#![allow(dead_code)]

mod driver;
mod guest;
mod rng;

pub use driver::{Asked, Driver, Fault, Mutant, Run, Speed, ask};
pub use guest::{Guest, Pattern, Writer};
pub use rng::Rng;

use livesave::{AnyPolicy, Config, LiveSave, PoolFit, XenSave};

/// One run with everything that shapes it.
#[derive(Debug, Clone)]
pub struct Scenario {
    pub config: Config,
    pub policy: AnyPolicy,
    pub writer: Writer,
    pub speed: Speed,
    /// One in so many pages is zero at the start, and one in so many writes writes zero.
    pub zero_one_in: u64,
    /// Pages that are ballooned out or back in, a second.
    pub balloon_rate: f64,
    /// Bytes of the dirty bitmap in a piece.
    pub chunk: usize,
    pub seed: u64,
}

impl Scenario {
    /// Anything goes: sizes, rates, patterns, pool, batch, pieces.
    pub fn random(seed: u64, policy: AnyPolicy) -> Self {
        let mut rng = Rng::new(seed);
        let pages = 1 + rng.below(if seed.is_multiple_of(16) { 1500 } else { 250 }) as u32;
        let speed = Speed { scan_us: rng.below(20_000), ..Speed::default() };
        let working_set = 1 + rng.below(pages.into()) as u32;
        let hot = 1 + rng.below(working_set.into()) as u32;
        Self {
            config: Config::new(
                pages,
                rng.below(u64::from(pages) * 5 / 4) as u32,
                [1, 7, 64, 256, 1024, 4096][rng.below(6) as usize],
            ),
            policy,
            writer: Writer {
                rate: speed.pages_per_second
                    * [0.0, 0.01, 0.1, 0.5, 1.0, 1.5, 5.0, 22.0][rng.below(8) as usize],
                working_set,
                pattern: if rng.below(2) == 0 {
                    Pattern::Uniform
                } else {
                    Pattern::Hot { pages: hot, percent: 90 }
                },
            },
            speed,
            zero_one_in: 1 + rng.below(20),
            balloon_rate: if rng.below(4) == 0 { 2000.0 } else { 0.0 },
            chunk: 1 + rng.below(50) as usize,
            seed,
        }
    }

    /// The guest of the reference table in the design notes, scaled by 1/`scale`: 1 GiB, half
    /// of it rewritten at random at `rate` times the copy rate; 20 ms for each fetch.
    pub fn reference(rate: f64, scale: u32) -> Self {
        let speed = Speed::default();
        Self {
            config: Config::new(262_144 / scale, 16_384, 1024),
            policy: live_save(),
            writer: Writer {
                rate: rate * speed.pages_per_second,
                working_set: 131_072 / scale,
                pattern: Pattern::Uniform,
            },
            speed,
            zero_one_in: u64::MAX,
            balloon_rate: 0.0,
            chunk: 4096,
            seed: 1,
        }
    }

    /// The driver with its guest, ready to run.
    pub fn driver(&self) -> Driver {
        Driver::new(self)
    }

    /// Runs it without faults.
    pub fn run(&self) -> Run {
        self.driver().run()
    }
}

pub fn live_save() -> AnyPolicy {
    AnyPolicy::LiveSave(LiveSave::default())
}

pub fn pool_fit() -> AnyPolicy {
    AnyPolicy::PoolFit(PoolFit::default())
}

pub fn xen_save() -> AnyPolicy {
    AnyPolicy::XenSave(XenSave)
}

/// Live Save that goes on to the last dirty page: more rounds on small guests.
pub fn stubborn_live_save() -> AnyPolicy {
    AnyPolicy::LiveSave(LiveSave { few_dirty: 1, max_factor: 20, ..LiveSave::default() })
}
