//! A network that is kept frozen on all hosts while its members are made.

use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::crew::at_once;
use super::hosts::{Host, Hosts};
use crate::error::{Error, Result};

/// How often the freeze is renewed: the stub thaws what was forgotten after a minute.
const REFREEZE: Duration = Duration::from_secs(15);

/// Freezes a network on a host, or thaws it.
pub(super) fn freeze(hosts: &dyn Hosts, host: &Host, network: &str, on: bool) -> Result<()> {
    hosts.ask(host, &["restore-member", if on { "freeze" } else { "thaw" }, network], &[]).map(drop)
}

/// Whether the network was frozen without a gap so far.
#[derive(Debug, Default)]
pub(super) struct Frozen(OnceLock<Error>);

impl Frozen {
    /// # Errors
    /// A host could not be told in time to stay frozen.
    pub(super) fn check(&self) -> Result<()> {
        self.0.get().map_or(Ok(()), |e| Err(e.clone()))
    }
}

/// Does `work` while the freeze of `network`, which was begun, is renewed beside it.
pub(super) fn while_frozen<T>(
    hosts: &dyn Hosts,
    all: &[Host],
    network: &str,
    work: impl FnOnce(&Frozen) -> Result<T>,
) -> Result<T> {
    while_renewed(&|| at_once(all, |host| freeze(hosts, host, network, true)).map(drop), REFREEZE, work)
}

fn while_renewed<T>(
    renew: &(dyn Fn() -> Result<()> + Sync),
    every: Duration,
    work: impl FnOnce(&Frozen) -> Result<T>,
) -> Result<T> {
    let frozen = Frozen::default();
    let (working, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let told = &frozen;
        scope.spawn(move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                if let Err(e) = renew() {
                    let _ = told.0.set(e);
                    return;
                }
            }
        });
        let result = work(&frozen);
        // The last renewal is over before anybody thaws: the scope waits for it.
        drop(working);
        result
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    const SHORT: Duration = Duration::from_millis(1);

    fn until(condition: impl Fn() -> bool) {
        let late = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < late, "it did not come");
            thread::sleep(SHORT);
        }
    }

    #[test]
    fn the_freeze_is_renewed_as_long_as_the_work_takes() {
        let renewed = AtomicUsize::new(0);
        let renew = || {
            renewed.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        while_renewed(&renew, SHORT, |frozen| {
            until(|| renewed.load(Ordering::Relaxed) >= 3);
            frozen.check()
        })
        .unwrap();
        let after = renewed.load(Ordering::Relaxed);
        thread::sleep(SHORT * 20);
        assert_eq!(renewed.load(Ordering::Relaxed), after);
    }

    #[test]
    fn work_that_asks_is_told_that_a_host_was_not_renewed() {
        let renew = || Err(Error::new("right does not answer"));
        let error = while_renewed(&renew, SHORT, |frozen| {
            until(|| frozen.check().is_err());
            frozen.check()
        });
        assert_eq!(error.unwrap_err().message, "right does not answer");
    }
}
