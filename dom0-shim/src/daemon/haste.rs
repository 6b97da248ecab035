//! Threads that a guest waits for while it stands still come before everything else in Dom0.
//!
//! These are its snapshot's own, which does the verbs, and the one that reads the stub's ring. When a guest
//! shuts down or suspends, xenstored tells everybody (`@releaseDomain`), and on a Dom0 with one CPU xenconsoled
//! and others took several milliseconds of each suspended time before these two had their turn.
//!
//! Only while a guest stands still: the rest of a snapshot has time.

use std::sync::{Arc, Mutex};

use rustix::process::{Pid, getpriority_process, setpriority_process};
use rustix::thread::gettid;

use super::lock;

/// The niceness of a thread that is waited for: the least there is (`setpriority(2)`).
const FIRST: i32 = -20;

/// A thread, and how many guests wait for it.
pub(super) struct Runner {
    thread: Pid,
    usual: i32,
    waiting: Mutex<u32>,
}

impl Runner {
    /// The calling thread.
    pub(super) fn this() -> Arc<Self> {
        // For Linux a thread's number is as good as a process's here.
        let usual = getpriority_process(None).unwrap_or(0);
        Arc::new(Self { thread: gettid(), usual, waiting: Mutex::new(0) })
    }

    /// Has it run before others, until what is returned is dropped. Whoever may not do that goes on without.
    pub(super) fn hasten(self: &Arc<Self>) -> Haste {
        let mut waiting = lock(&self.waiting);
        if *waiting == 0 {
            self.set(FIRST);
        }
        *waiting += 1;
        drop(waiting);
        Haste(Arc::clone(self))
    }

    fn set(&self, nice: i32) {
        if let Err(e) = setpriority_process(Some(self.thread), nice) {
            tracing::debug!(nice, error = %e, "setting a thread's priority");
        }
    }
}

/// A guest waits for a thread.
pub(super) struct Haste(Arc<Runner>);

impl Drop for Haste {
    fn drop(&mut self) {
        let mut waiting = lock(&self.0.waiting);
        *waiting -= 1;
        if *waiting == 0 {
            self.0.set(self.0.usual);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_comes_first_until_the_last_guest_goes_on() {
        let runner = Runner::this();
        let nice = || getpriority_process(Some(runner.thread)).unwrap();
        let usual = nice();
        let first = runner.hasten();
        if nice() == usual {
            // No privilege here: nothing is to be seen.
            return;
        }
        assert_eq!(nice(), FIRST);
        let second = runner.hasten();
        drop(first);
        assert_eq!(nice(), FIRST);
        drop(second);
        assert_eq!(nice(), usual);
    }
}
