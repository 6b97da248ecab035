//! Faults that the scenarios of the lab provoke: at a named step the daemon kills itself, or
//! stands still until it is told to go on.
//!
//! Asleep unless `luthierd` was started with `LUTHIER_TEST_FAULTS=1` in its environment. Then a
//! file `test-fault` in its run folder, which only root can write, holds one line: `kill STEP` or
//! `hold STEP`. A held step has left the file `test-held`, and goes on when `test-fault` is gone or says
//! something else.
//!
//! Steps are the verbs as they have just been done, before the stub hears of it (`log-dirty-on`,
//! `clean`, `window`, `suspend`, `clean-last`, `state`, `resume`, `log-dirty-off`, `revoke`), and
//! `asked` (the request to suspend is written), `ended` (the stub has finished, nothing is undone
//! yet), `released` (the guest is as it was, the image is not) and `committed`.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use handoff::Verb;

/// The longest hold: a scenario that went wrong must not hold a guest for ever.
const LONGEST_HOLD: Duration = Duration::from_secs(120);

/// The run folder, when faults are wanted.
static RUN: OnceLock<PathBuf> = OnceLock::new();

/// Wakes this module if the environment says so.
pub(super) fn init(run: &std::path::Path) {
    if std::env::var_os("LUTHIER_TEST_FAULTS").is_some_and(|v| v == "1") {
        tracing::warn!("faults for tests are switched on (LUTHIER_TEST_FAULTS)");
        let _ = RUN.set(run.to_owned());
    }
}

/// A step that a scenario may have named.
pub(super) fn at(step: &str) {
    let Some(run) = RUN.get() else { return };
    let order = run.join("test-fault");
    let Ok(text) = fs::read_to_string(&order) else { return };
    match text.trim().split_once(' ') {
        Some(("kill", named)) if named == step => {
            tracing::warn!(step, "killed for a test");
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
        Some(("hold", named)) if named == step => {
            let _ = fs::write(run.join("test-held"), step);
            let until = Instant::now() + LONGEST_HOLD;
            while fs::read_to_string(&order).is_ok_and(|now| now == text) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = fs::remove_file(run.join("test-held"));
        }
        _ => {}
    }
}

/// The step that a verb is.
pub(super) fn step_of(verb: Verb) -> &'static str {
    match verb {
        Verb::LogDirty(true) => "log-dirty-on",
        Verb::LogDirty(false) => "log-dirty-off",
        Verb::Clean { last: false } => "clean",
        Verb::Clean { last: true } => "clean-last",
        Verb::Window { .. } => "window",
        Verb::Revoke => "revoke",
        Verb::Suspend => "suspend",
        Verb::State => "state",
        Verb::Resume => "resume",
        Verb::Prepare { .. } => "prepare",
        Verb::Throttle { .. } => "throttle",
    }
}
