//! A guest whose pages are numbers, a hypervisor's log-dirty, an image, and a driver that
//! advances virtual time. Deterministic from a seed.

#![allow(dead_code)]

mod driver;
mod fault;
mod guest;
mod rng;
mod run;
mod verbs;

pub use driver::{Driver, Speed};
pub use fault::{Asked, Fault, Mutant, ask};
pub use guest::{Guest, Pattern, Writer};
pub use rng::Rng;
pub use run::Run;

use livesave::{AnyPolicy, Config, Downtime, LiveSave, Policy, PoolFit, Skip, XenSave};

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
    /// Whether the driver says how long copying took.
    pub report_copying: bool,
    /// Seconds that others take to get ready after this one is.
    pub others_take: f64,
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
            report_copying: true,
            others_take: 0.0,
            seed,
        }
    }

    /// The same with everything that may be asked for besides: some of it in each.
    pub fn with_extras(seed: u64, policy: AnyPolicy) -> Self {
        let mut scenario = Self::random(seed, policy);
        let mut rng = Rng::new(seed ^ 0x5eed);
        let config = &mut scenario.config;
        config.skip = [Skip::Policy, Skip::Never, Skip::Always][rng.below(3) as usize];
        config.defer_hot = rng.below(2) == 0;
        config.throttle = rng.below(2) == 0;
        config.prepare = [0, 3, 50, 10_000][rng.below(4) as usize];
        config.fixed_us = rng.below(500) as u32;
        config.pool_pages /= 4;
        config.barrier = rng.below(3) == 0;
        scenario.others_take = rng.below(15) as f64 / 10.0;
        scenario.speed.scan_us /= 8;
        scenario
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
            report_copying: true,
            others_take: 0.0,
            seed: 1,
        }
    }

    /// The driver with its guest, ready to run.
    pub fn driver(&self) -> Driver {
        Driver::new(self, self.policy)
    }

    /// The same with a policy of the test's own.
    pub fn driver_with<P: Policy>(&self, policy: P) -> Driver<P> {
        Driver::new(self, policy)
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

/// A target for the suspended time, best effort.
pub fn downtime(target_ms: u32) -> AnyPolicy {
    AnyPolicy::Downtime(Downtime::new(target_ms * 1000, false))
}

/// Each of the policies, and some with other limits.
pub fn policies() -> Vec<AnyPolicy> {
    let named = AnyPolicy::NAMES.iter().map(|name| name.parse().unwrap());
    named.chain([stubborn_live_save(), downtime(2), downtime(300)]).collect()
}
