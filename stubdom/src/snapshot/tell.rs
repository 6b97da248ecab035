//! What the shim is told while a snapshot goes on: how far it is, and what its rounds were.

use handoff::ToShim;
use livesave::{AnyPolicy, Precopy};
use xen::time::now;

use super::{Driver, PROGRESS_EVERY};

impl Driver<'_> {
    /// Tells the shim how far it is, now and then, and of rounds that have ended. What is not
    /// heard is no harm.
    pub(super) async fn tell(&mut self, engine: &Precopy<AnyPolicy>) {
        self.tell_rounds(engine, false).await;
        if self.told.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.told = now();
        let p = engine.progress();
        let small = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let progress = handoff::Progress {
            round: p.round as u16,
            remaining: p.left,
            sent: p.copied,
            dirty_rate: small(p.dirty_rate),
            copy_rate: small(p.copy_rate),
        };
        let _ = self.link.send(&ToShim::Progress { job: self.mailbox.job, progress }, &[]).await;
    }

    /// A round is told when the next has begun: only then is known what was dirtied in it.
    pub(super) async fn tell_rounds(&mut self, engine: &Precopy<AnyPolicy>, all: bool) {
        let rounds = engine.report().rounds;
        let ended = if all { rounds.len() } else { rounds.len().saturating_sub(1) };
        for r in rounds.get(self.rounds_told..ended).unwrap_or_default() {
            let round = handoff::Round {
                round: r.number as u16,
                live: !r.last,
                asked: r.asked,
                sent: r.copied(),
                zero: r.zero,
                skipped: r.skipped,
                dirtied: r.dirtied,
                micros: r.time_us,
            };
            let _ = self.link.send(&ToShim::Round { job: self.mailbox.job, round }, &[]).await;
        }
        self.rounds_told = self.rounds_told.max(ended);
    }
}
