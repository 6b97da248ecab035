//! Work on several hosts at the same time.
//!
//! What this must never do: go on to the next step while one host is still at the last one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::hosts::Host;
use crate::error::{Error, Result};

/// Hosts that are worked with at the same time, at most: each is a remote shell.
const WORKERS: usize = 16;

/// Does `work` for each host, for all of them at once, one thing at a time on each. Comes back when it
/// has ended everywhere, in failure too; the results are in the order of the hosts.
///
/// # Errors
/// The first that came: others may have ended because of it.
pub(super) fn at_once<T: Send>(hosts: &[Host], work: impl Fn(&Host) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<T>)>> = Mutex::default();
    thread::scope(|scope| {
        for _ in 0..hosts.len().min(WORKERS) {
            scope.spawn(|| {
                while let Some((n, host)) = take(hosts, &next) {
                    let result = work(host);
                    done.lock().unwrap_or_else(|e| e.into_inner()).push((n, result));
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    let mut done = done.into_iter().map(|(n, result)| Ok((n, result?))).collect::<Result<Vec<_>>>()?;
    if done.len() < hosts.len() {
        return Err(Error::new("a part of the restore ended without a word"));
    }
    done.sort_by_key(|(n, _)| *n);
    Ok(done.into_iter().map(|(_, result)| result).collect())
}

fn take<'a>(hosts: &'a [Host], next: &AtomicUsize) -> Option<(usize, &'a Host)> {
    let n = next.fetch_add(1, Ordering::Relaxed);
    hosts.get(n).map(|host| (n, host))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn hosts(n: usize) -> Vec<Host> {
        (0..n).map(|n| Host::There(n.to_string())).collect()
    }

    #[test]
    fn hosts_work_at_the_same_time() {
        // Nobody goes on before all are there, or for ever.
        let (there, late) = (AtomicUsize::new(0), Instant::now() + Duration::from_secs(20));
        let names = at_once(&hosts(4), |host| {
            there.fetch_add(1, Ordering::Relaxed);
            while there.load(Ordering::Relaxed) < 4 {
                if Instant::now() > late {
                    return Err(Error::new(format!("{host} is alone")));
                }
                thread::sleep(Duration::from_millis(1));
            }
            Ok(host.to_string())
        });
        assert_eq!(names.unwrap(), ["0", "1", "2", "3"]);
    }

    #[test]
    fn more_hosts_than_workers_all_have_their_turn() {
        assert_eq!(at_once(&hosts(100), |_| Ok(())).unwrap().len(), 100);
        assert!(at_once(&[], |_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn one_that_fails_does_not_keep_the_others_from_their_end() {
        let (ended, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let error = at_once(&hosts(20), |host| {
            ended.fetch_add(1, Ordering::Relaxed);
            match host.to_string().as_str() {
                "9" => {
                    failed.store(1, Ordering::Relaxed);
                    Err(Error::new("no 9"))
                }
                // Fails because that one did.
                "2" => {
                    while failed.load(Ordering::Relaxed) == 0 {
                        thread::sleep(Duration::from_millis(1));
                    }
                    thread::sleep(Duration::from_millis(50));
                    Err(Error::new("2 was stopped"))
                }
                _ => Ok(()),
            }
        });
        assert_eq!(error.unwrap_err().message, "no 9");
        assert_eq!(ended.into_inner(), 20);
    }
}
