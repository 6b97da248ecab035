//! From the shim's plan to the engine's configuration, and from the engine's figures to the report.

use handoff::{Base, Failure, Policy, Skip, Tally};
use livesave::{
    AnyPolicy, Config, Downtime, ImprovedLiveSave, LiveSave, PoolFit, SmartStop, XenMigrate, XenMigrate451,
    XenSave,
};

use super::{Driver, Start};

/// What the engine is made with. `pool` is what the pool has.
pub(super) fn config(start: &Start, pool: usize) -> Config {
    let plan = start.plan;
    let pool = saturate(pool as u64);
    Config {
        pages: start.pages,
        pool_pages: if plan.pool_pages == 0 { pool } else { plan.pool_pages.min(pool) },
        batch: batch(plan.policy, plan.skip),
        base: match plan.base {
            Base::Everything => livesave::Base::Everything,
            Base::Log => livesave::Base::Log,
        },
        keep_log: plan.keep_log,
        skip: match plan.skip {
            Skip::Policy => livesave::Skip::Policy,
            Skip::Never => livesave::Skip::Never,
            Skip::Always => livesave::Skip::Always,
        },
        defer_hot: plan.defer_hot,
        prepare: plan.prepare,
        throttle: plan.throttle,
        barrier: plan.barrier,
        fixed_us: plan.fixed_us,
        prepared_ns: plan.prepared_ns,
    }
}

/// Pages in a batch, for each of which one PEEK says what is dirty again. The papers' policies have
/// as many as Xen (`MAX_BATCH_SIZE`, `tools/libs/guest/xg_save_restore.h`; the same in 4.5.1): were
/// all that a small guest writes to one batch, hardly anything would be skipped, and its dirty rate
/// never seem beyond the sink's. Whoever skips in the first round already, or never, has a window's
/// worth: a batch costs the shim a verb, and most of that round is clean.
fn batch(name: Policy, skip: Skip) -> u32 {
    let policy = policy(name);
    let skips = |round| match skip {
        Skip::Policy => livesave::Policy::skip(&policy, round),
        Skip::Never => false,
        Skip::Always => true,
    };
    if skips(2) && !skips(1) { 1024 } else { handoff::WINDOW_SLOTS as u32 }
}

/// The policy by its name.
pub(super) fn policy(policy: Policy) -> AnyPolicy {
    match policy {
        Policy::LiveSave => AnyPolicy::LiveSave(LiveSave::default()),
        Policy::ImprovedLiveSave => AnyPolicy::ImprovedLiveSave(ImprovedLiveSave::default()),
        Policy::XenMigrate451 => AnyPolicy::XenMigrate451(XenMigrate451::default()),
        Policy::XenMigrate => AnyPolicy::XenMigrate(XenMigrate::default()),
        Policy::SmartStop => AnyPolicy::SmartStop(SmartStop::default()),
        Policy::PoolFit => AnyPolicy::PoolFit(PoolFit::default()),
        Policy::XenSave => AnyPolicy::XenSave(XenSave),
        Policy::Downtime { target_us, strict } => AnyPolicy::Downtime(Downtime::new(target_us, strict)),
    }
}

/// What the shim is told at the end.
pub(super) fn report(engine: &livesave::Report<'_>, driver: &Driver<'_>) -> Result<handoff::Report, Failure> {
    use handoff::Stop as Told;
    use livesave::Stop;
    let stop = match engine.stop {
        Some(Stop::NotLive) => Told::NotLive,
        Some(Stop::FewDirty) => Told::FewDirty,
        Some(Stop::TooManyRounds | Stop::RoundBound) => Told::TooManyRounds,
        Some(Stop::TooMuchSent) => Told::TooMuchSent,
        Some(Stop::FitsPool) => Told::FitsPool,
        Some(Stop::NotShrinking) => Told::NotShrinking,
        Some(Stop::LocalMinimum) => Told::LocalMinimum,
        Some(Stop::TargetMet) => Told::TargetMet,
        Some(Stop::TargetMissed) => Told::TargetMissed,
        // A reason that the handoff has no word for yet.
        Some(_) | None => return Err(Failure::Protocol),
    };
    let stats = driver.sender.stats();
    let tally = |t: livesave::codec::Tally| Tally { pages: t.pages, bytes: t.bytes };
    Ok(handoff::Report {
        rounds: engine.rounds.len() as u16,
        stop,
        sent: engine.sent + engine.zero,
        zero: engine.zero,
        skipped: engine.skipped,
        kept: engine.kept,
        overflow: engine.overflow.saturating_add(driver.spilled),
        prepared: driver.prepared,
        prepared_us: saturate(driver.prepared_us),
        estimate_us: saturate(engine.estimate_us),
        fixed_us: saturate(engine.fixed_us),
        throttle: engine.throttle_percent,
        copy_hypercalls: driver.source.hypercalls(),
        copy_micros: driver.source.micros,
        codec_micros: driver.sender.codec_micros,
        raw: tally(stats.raw),
        lz4: tally(stats.lz4),
        delta: tally(stats.delta),
        blocks: tally(stats.blocks),
    })
}

/// As much of a number as 32 bits hold.
pub(super) fn saturate(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
