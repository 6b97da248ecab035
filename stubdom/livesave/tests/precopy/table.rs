use crate::model::{Run, Scenario};
use livesave::{AnyPolicy, Downtime, Skip};

fn line(name: &str, run: &Run) {
    let r = run.report();
    println!(
        "{name:32} {:2}+1 {:7} pages  susp {:8.1} ms (est {:8.1})  total {:6.2} s  kept {:6} over {:6} steps {} {:?}",
        r.rounds.len() - 1,
        r.sent + r.zero,
        r.suspended_us as f64 / 1e3,
        r.estimate_us as f64 / 1e3,
        r.total_us as f64 / 1e6,
        r.kept,
        r.overflow,
        r.throttle_steps,
        r.stop.unwrap()
    );
}

#[test]
#[ignore]
fn explore() {
    for pool in [0, 16_384, 131_072] {
        for rate in [0.0, 0.03, 0.35, 0.7, 1.4, 5.59, 22.3] {
            println!("== pool {pool} rate {rate}");
            for name in ["live-save", "smart-stop", "pool-fit"] {
                let mut s = Scenario::reference(rate, 1);
                s.config.pool_pages = pool;
                s.config.defer_hot = true;
                s.policy = name.parse().unwrap();
                line(&format!("{name} defer"), &s.run());
            }
            for name in AnyPolicy::NAMES {
                let mut s = Scenario::reference(rate, 1);
                s.config.pool_pages = pool;
                s.policy = name.parse().unwrap();
                line(name, &s.run());
            }
            for (target, skip, defer, throttle) in [
                (300_000, Skip::Policy, false, false),
                (300_000, Skip::Never, false, false),
                (300_000, Skip::Policy, true, false),
                (300_000, Skip::Policy, false, true),
                (30_000, Skip::Policy, true, false),
                (30_000, Skip::Policy, false, true),
            ] {
                let mut s = Scenario::reference(rate, 1);
                s.config.pool_pages = pool;
                s.policy = AnyPolicy::Downtime(Downtime::new(target, false));
                s.config.skip = skip;
                s.config.defer_hot = defer;
                s.config.throttle = throttle;
                line(
                    &format!(
                        "down {} {skip:?} {}{}",
                        target / 1000,
                        if defer { "defer " } else { "" },
                        if throttle { "thr" } else { "" }
                    ),
                    &s.run(),
                );
            }
        }
    }
}
