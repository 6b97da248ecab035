//! T3 and T4: the reference table of the design notes, at full size: 1 GiB, half of it rewritten
//! at random at so many times the pace of the sink, nothing kept in memory. Rounds +-2, pages
//! +-10 %. What our own policy makes of the same guest is held against it.

use std::collections::HashMap;

use livesave::{AnyPolicy, Stop};

use crate::model::{Run, Scenario, downtime, live_save};

/// Rounds, the last one included, and pages.
type Cell = (usize, u64);

const RATES: [f64; 6] = [0.03, 0.35, 0.7, 1.4, 5.59, 22.3];

fn run(policy: AnyPolicy, rate: f64, pool_pages: u32, throttle: bool) -> Run {
    let mut scenario = Scenario { policy, ..Scenario::reference(rate, 1) };
    scenario.config.pool_pages = pool_pages;
    scenario.config.throttle = throttle;
    let run = scenario.run();
    assert_eq!(run.difference(), None);
    run
}

fn pages(run: &Run) -> u64 {
    run.report().sent + run.report().zero
}

fn assert_row(name: &str, cells: [Cell; 6], give_or_take: usize) {
    for (rate, (rounds, expected)) in RATES.into_iter().zip(cells) {
        let run = run(name.parse().unwrap(), rate, 0, false);
        let (found, sent) = (run.rounds().len(), pages(&run));
        println!("{name} {rate}: {found} rounds, {sent} pages, {:?}", run.report().stop);
        assert!(found.abs_diff(rounds) <= give_or_take, "{name} {rate}: {found} rounds");
        assert!(sent.abs_diff(expected) <= expected / 10, "{name} {rate}: {sent} pages");
    }
}

#[test]
fn t3_live_save() {
    let row = [(5, 271_000), (30, 360_000), (30, 482_000), (15, 831_000), (15, 902_000), (30, 897_000)];
    assert_row("live-save", row, 2);
    // The same loop, another sink.
    assert_row("xen-migrate-4.5", row, 2);
}

#[test]
fn t3_improved_live_save() {
    let row = [(5, 271_000), (30, 360_000), (30, 482_000), (15, 830_000), (15, 901_000), (17, 661_000)];
    assert_row("improved-live-save", row, 2);
}

/// Where rounds leave about the same (0.35 and 0.7), chance decides which is a local minimum.
#[test]
fn t3_smart_stop() {
    let row = [(4, 271_000), (17, 356_000), (25, 476_000), (4, 454_000), (4, 456_000), (4, 425_000)];
    assert_row("smart-stop", row, 4);
}

#[test]
fn t3_xen_as_of_today() {
    let row = [(4, 271_000), (6, 361_000), (6, 484_000), (6, 717_000), (6, 916_000), (6, 918_000)];
    assert_row("xen-migrate", row, 2);
}

#[test]
fn t4_a_saturating_writer_gets_17_rounds_of_improved_live_save_30_of_live_save_and_6_of_xen() {
    let rounds = |name: &str| {
        let mut scenario = Scenario { policy: name.parse().unwrap(), ..Scenario::reference(22.3, 16) };
        scenario.config.pool_pages /= 16;
        let run = scenario.run();
        assert_eq!(run.report().stop, Some(Stop::TooManyRounds), "{name}");
        run.rounds().len()
    };
    assert_eq!(["improved-live-save", "live-save", "xen-migrate"].map(rounds), [17, 30, 6]);
}

/// The table's Target300+stall and Target300+throttle: rounds / thousands of pages / ms.
///
/// Ours differs on purpose. It leaves out what is dirty again from the first round on, so it
/// sends fewer pages in every row. A sample adds a short round, and where the target can't be
/// met it stops at once when rounds would take away less than a quarter of the copying: at
/// 1.4 that is 2.05 s instead of 1.39 s, for 404 thousand pages instead of 732.
#[test]
fn t3_our_policy_sends_fewer_pages_than_the_table_has_for_the_same_target() {
    let stall = [(271, 11), (349, 235), (440, 261), (732, 1390), (537, 3780), (443, 4390)];
    let throttle = [(271, 11), (349, 235), (418, 172), (527, 131), (730, 45), (655, 130)];
    for (rate, (stall, throttle)) in RATES.into_iter().zip(stall.into_iter().zip(throttle)) {
        let ours = run(downtime(300), rate, 0, false);
        let report = ours.report();
        println!(
            "{rate}: {} rounds, {} pages, {} us",
            report.rounds.len(),
            pages(&ours),
            report.suspended_us
        );
        assert!(pages(&ours) <= stall.0 * 1000, "{rate}");
        if stall.1 <= 300 {
            assert_eq!(report.stop, Some(Stop::TargetMet), "{rate}");
            assert!(report.suspended_us <= 310_000, "{rate}");
        } else {
            assert_eq!(report.stop, Some(Stop::TargetMissed), "{rate}");
            assert!(report.rounds.len() <= 6, "{rate}");
            assert!(report.suspended_us <= stall.1 * 1000 * 3 / 2, "{rate}");
        }

        let slowed = run(downtime(300), rate, 0, true);
        assert!(pages(&slowed) <= throttle.0 * 1000, "{rate}");
        assert_eq!(slowed.report().stop, Some(Stop::TargetMet), "{rate}");
        assert!(slowed.report().suspended_us <= 310_000, "{rate}");
    }
}

/// LS16, and the figures of the documentation of [`livesave::Downtime`].
#[test]
fn ls16_orderings_with_a_pool_of_half_the_guest() {
    let half = 131_072;
    for rate in [0.0, 0.03, 0.35, 0.7, 1.4, 5.59, 22.3] {
        let all: HashMap<&str, Run> = AnyPolicy::NAMES
            .iter()
            .map(|name| (*name, run(name.parse().unwrap(), rate, half, false)))
            .collect();
        let suspended = |name: &str| all[name].report().suspended_us;
        let total = |name: &str| all[name].report().total_us;
        // Save: fewest pages, longest suspended.
        assert!(all.values().all(|run| pages(run) >= pages(&all["xen-save"])));
        assert!(all.values().all(|run| run.report().suspended_us <= suspended("xen-save")));
        // Ours: never more pages than Live Save, nor longer than it or Xen's migration in all.
        for name in ["downtime", "pool-fit"] {
            for peer in ["live-save", "improved-live-save", "xen-migrate", "xen-migrate-4.5"] {
                assert!(pages(&all[name]) <= pages(&all[peer]), "{name} {peer} {rate}");
                assert!(total(name) <= total(peer), "{name} {peer} {rate}");
            }
        }
        // Suspended for less than Xen's migration of today, or as long as the 30 ms ask for.
        assert!(suspended("downtime") <= suspended("xen-migrate").max(31_000), "{rate}");
        let parts = if rate < 0.03 {
            50
        } else if rate < 1.0 {
            30
        } else {
            8
        };
        assert!(suspended("downtime") * parts <= suspended("xen-save"), "{rate}");
        if rate > 20.0 {
            let saved = pages(&all["live-save"]) - pages(&all["improved-live-save"]);
            assert!(saved > 200_000, "{saved}");
            assert!(pages(&all["downtime"]) * 3 < pages(&all["live-save"]));
        }
    }
}

/// Slowed down until it writes at 3/4 of the sink's pace, the rounds soon get there; at the very
/// pace they would take far longer.
#[test]
fn a_guest_that_is_slowed_down_is_slowed_down_enough() {
    for (rate, most) in [(1.4, 400_000), (5.59, 320_000), (22.3, 310_000)] {
        let run = run(downtime(30), rate, 131_072, true);
        println!("{rate}: {} rounds, {} pages", run.rounds().len(), pages(&run));
        assert_eq!(run.report().stop, Some(Stop::TargetMet), "{rate}");
        assert!(pages(&run) <= most && run.rounds().len() <= 16, "{rate}: {}", pages(&run));
    }
}

#[test]
fn ls13_the_limit_of_improved_live_save_is_the_pace_of_the_sink() {
    let runs = |faster: f64| {
        ["improved-live-save", "live-save"].map(|name| {
            let mut scenario = Scenario { policy: name.parse().unwrap(), ..Scenario::reference(22.3, 16) };
            scenario.speed.pages_per_second *= faster;
            scenario.run().rounds().len()
        })
    };
    assert_eq!(runs(1.0), [17, 30]);
    let [improved, plain] = runs(32.0);
    assert_eq!(improved, plain);
}

#[test]
fn ls11_improved_live_save_is_live_save_for_an_idle_guest() {
    for rate in [0.0, 0.03, 0.35] {
        let run = |policy| Scenario { policy, ..Scenario::reference(rate, 16) }.run();
        let (improved, plain) = (run("improved-live-save".parse().unwrap()), run(live_save()));
        assert_eq!(improved.trace, plain.trace);
    }
}
