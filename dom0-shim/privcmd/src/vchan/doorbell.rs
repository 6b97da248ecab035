//! One event channel, two threads that wait for it.
//!
//! An event is taken off the device by one read, but it may concern the reader and the writer
//! alike. So one of those who wait reads the device and tells the other.

use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Error;
use crate::evtchn::EventChannel;

/// Something that rings at both ends: an event channel, or a model of one in tests.
pub(super) trait Bell: Send + Sync {
    /// Waits for a ring, at most this long; whether there was one.
    fn wait(&self, timeout: Duration) -> io::Result<bool>;
    /// Rings at the other end.
    fn notify(&self) -> io::Result<()>;
}

impl Bell for EventChannel {
    fn wait(&self, timeout: Duration) -> io::Result<bool> {
        EventChannel::wait(self, timeout)
    }

    fn notify(&self) -> io::Result<()> {
        EventChannel::notify(self)
    }
}

#[derive(Debug, Default)]
struct State {
    /// How many times it rang.
    rings: u64,
    /// Someone waits at the device.
    watched: bool,
}

pub(super) struct Doorbell {
    bell: Box<dyn Bell>,
    state: Mutex<State>,
    rang: Condvar,
}

impl Doorbell {
    pub(super) fn new(bell: impl Bell + 'static) -> Doorbell {
        Doorbell { bell: Box::new(bell), state: Mutex::default(), rang: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many times it rang so far. Ask before looking at the ring, then [`Doorbell::wait`].
    pub(super) fn rings(&self) -> u64 {
        self.lock().rings
    }

    /// Rings at the other end.
    pub(super) fn notify(&self) -> Result<(), Error> {
        self.bell.notify().map_err(Error::Event)
    }

    /// Wakes all who wait here.
    pub(super) fn ring(&self) {
        self.lock().rings += 1;
        self.rang.notify_all();
    }

    /// Waits until it has rung more than `seen` times, or until the time is over.
    pub(super) fn wait(&self, seen: u64, timeout: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.rings != seen || left.is_zero() {
                return Ok(());
            }
            if state.watched {
                let waited = self.rang.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            state.watched = true;
            drop(state);
            let result = self.bell.wait(left);
            state = self.lock();
            state.watched = false;
            if matches!(result, Ok(true)) {
                state.rings += 1;
            }
            // Also when nothing rang: another who waits may have to take over.
            self.rang.notify_all();
            result.map_err(Error::Event)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};
    use std::thread;

    struct Model(Mutex<mpsc::Receiver<()>>);

    impl Bell for Model {
        fn wait(&self, timeout: Duration) -> io::Result<bool> {
            Ok(self.0.lock().unwrap().recv_timeout(timeout).is_ok())
        }

        fn notify(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn doorbell() -> (mpsc::Sender<()>, Arc<Doorbell>) {
        let (sender, receiver) = mpsc::channel();
        (sender, Arc::new(Doorbell::new(Model(Mutex::new(receiver)))))
    }

    #[test]
    fn one_event_wakes_both_who_wait() {
        let (sender, doorbell) = doorbell();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let doorbell = doorbell.clone();
                thread::spawn(move || {
                    let start = Instant::now();
                    doorbell.wait(0, Duration::from_secs(30)).unwrap();
                    start.elapsed()
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(50));
        sender.send(()).unwrap();
        for waiter in waiters {
            assert!(waiter.join().unwrap() < Duration::from_secs(20));
        }
    }

    #[test]
    fn a_ring_before_the_wait_is_not_missed() {
        let (_sender, doorbell) = doorbell();
        let seen = doorbell.rings();
        doorbell.ring();
        doorbell.wait(seen, Duration::from_secs(30)).unwrap();
    }

    #[test]
    fn a_wait_ends_with_its_time_though_another_watches_longer() {
        let (sender, doorbell) = doorbell();
        let long = {
            let doorbell = doorbell.clone();
            thread::spawn(move || doorbell.wait(0, Duration::from_secs(30)))
        };
        thread::sleep(Duration::from_millis(50));
        let start = Instant::now();
        doorbell.wait(0, Duration::from_millis(50)).unwrap();
        assert!(start.elapsed() < Duration::from_secs(20));
        sender.send(()).unwrap();
        long.join().unwrap().unwrap();
    }
}
