//! Time and timers.
//!
//! The clock is Xen's system time: nanoseconds since the host booted, the same clock in which
//! `SCHEDOP_poll` takes its deadline. It never runs backwards here, even where the host's TSCs
//! disagree a little.

use core::fmt;
use core::future::Future;
use core::ops::{Add, Sub};
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use embassy_futures::select::{Either, select};
use spin::Mutex;
use xen_sys::shared_info::VcpuTimeInfo;

/// Timers that can run at a time. One more is not refused: its task polls instead of sleeping.
pub const MAX_TIMERS: usize = 64;

/// A moment of Xen's system time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant(u64);

impl Instant {
    /// Now.
    pub fn now() -> Instant {
        now()
    }

    /// The moment `nanos` ns of system time.
    pub const fn from_nanos(nanos: u64) -> Instant {
        Instant(nanos)
    }

    /// Nanoseconds of system time.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Microseconds of system time.
    pub const fn as_micros(self) -> u64 {
        self.0 / 1000
    }

    /// Time since then; zero if that is yet to come.
    pub fn elapsed(self) -> Duration {
        now() - self
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(nanos))
    }
}

impl Sub for Instant {
    type Output = Duration;
    /// Time from `earlier` to `self`; zero if it is the other way round.
    fn sub(self, earlier: Instant) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

static LATEST: AtomicU64 = AtomicU64::new(0);

/// System time now. Monotonic. 0 before [`crate::init()`].
pub fn now() -> Instant {
    let nanos = read_clock();
    // Two virtual CPUs never run this at once, so no more than the maximum is needed.
    Instant(LATEST.fetch_max(nanos, Ordering::Relaxed).max(nanos))
}

/// Wall-clock time since 1970, as Xen knows it. `None` before [`crate::init()`].
pub fn wall_clock() -> Option<Duration> {
    let shared = crate::init::shared_info()?;
    loop {
        // SAFETY: the page is mapped for good; Xen writes to it, hence the volatile reads.
        let (before, secs, nanos, secs_hi, after) = unsafe {
            let before = (&raw const (*shared).wc_version).read_volatile();
            let secs = (&raw const (*shared).wc_sec).read_volatile();
            let nanos = (&raw const (*shared).wc_nsec).read_volatile();
            let secs_hi = (&raw const (*shared).wc_sec_hi).read_volatile();
            let after = (&raw const (*shared).wc_version).read_volatile();
            (before, secs, nanos, secs_hi, after)
        };
        if before == after && before & 1 == 0 {
            let boot = Duration::from_secs(u64::from(secs_hi) << 32 | u64::from(secs))
                + Duration::from_nanos(u64::from(nanos));
            return Some(boot + Duration::from_nanos(now().0));
        }
        core::hint::spin_loop();
    }
}

#[cfg(not(test))]
fn read_clock() -> u64 {
    let Some(shared) = crate::init::shared_info() else {
        return 0;
    };
    // SAFETY: the page is mapped for good. Only raw pointers into it are made.
    let info = unsafe { &raw const (*shared).vcpu_info[0].time };
    loop {
        // SAFETY: as above; Xen writes here while another of its CPUs may run us, hence volatile,
        // and a fence so that the TSC is not read before the rest.
        let (snapshot, tsc, version) = unsafe {
            let snapshot = info.read_volatile();
            core::arch::x86_64::_mm_lfence();
            let tsc = core::arch::x86_64::_rdtsc();
            let version = (&raw const (*info).version).read_volatile();
            (snapshot, tsc, version)
        };
        if snapshot.version == version && version & 1 == 0 {
            return system_time(&snapshot, tsc);
        }
        core::hint::spin_loop();
    }
}

/// In tests the clock stands still until it is moved.
#[cfg(test)]
static TEST_CLOCK: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
fn read_clock() -> u64 {
    TEST_CLOCK.load(Ordering::Relaxed)
}

/// System time at `tsc`, by the rule in `xen.h`.
#[cfg_attr(test, allow(dead_code))]
fn system_time(info: &VcpuTimeInfo, tsc: u64) -> u64 {
    let delta = tsc.wrapping_sub(info.tsc_timestamp);
    let shift = u32::from(info.tsc_shift.unsigned_abs());
    let delta = if info.tsc_shift < 0 {
        delta.checked_shr(shift).unwrap_or(0)
    } else {
        delta.checked_shl(shift).unwrap_or(0)
    };
    let nanos = (u128::from(delta) * u128::from(info.tsc_to_system_mul)) >> 32;
    info.system_time.wrapping_add(nanos as u64)
}

struct Timer {
    deadline: u64,
    key: u64,
    waker: Waker,
}

struct Timers {
    slots: [Option<Timer>; MAX_TIMERS],
    next_key: u64,
    overflows: u64,
}

static TIMERS: Mutex<Timers> =
    Mutex::new(Timers { slots: [const { None }; MAX_TIMERS], next_key: 1, overflows: 0 });

/// Wakes the tasks whose time has come. Returns how many there were.
pub(crate) fn fire_due(now: Instant) -> u64 {
    let mut timers = TIMERS.lock();
    let mut fired = 0;
    for slot in &mut timers.slots {
        if let Some(timer) = slot.take_if(|timer| timer.deadline <= now.0) {
            timer.waker.wake();
            fired += 1;
        }
    }
    fired
}

/// The earliest deadline there is.
pub(crate) fn next_deadline() -> Option<Instant> {
    let timers = TIMERS.lock();
    let deadlines = timers.slots.iter().flatten().map(|timer| timer.deadline);
    deadlines.min().map(Instant)
}

/// How often a timer found no place and its task polled instead.
pub fn timer_overflows() -> u64 {
    TIMERS.lock().overflows
}

/// Waits for `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(now() + duration)
}

/// Waits until `deadline`.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, key: 0 }
}

/// The future of [`sleep`].
#[derive(Debug)]
#[must_use = "does nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    /// Its entry among the timers; 0: none yet.
    key: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if now() >= self.deadline {
            return Poll::Ready(());
        }
        let mut timers = TIMERS.lock();
        let timers = &mut *timers;
        let own = (timers.slots.iter_mut().flatten()).find(|timer| timer.key == self.key);
        if let Some(timer) = own {
            timer.waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        match timers.slots.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => {
                self.key = timers.next_key;
                timers.next_key += 1;
                *slot = Some(Timer { deadline: self.deadline.0, key: self.key, waker: cx.waker().clone() });
            }
            None => {
                timers.overflows += 1;
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if self.key != 0 {
            for slot in &mut TIMERS.lock().slots {
                let _ = slot.take_if(|timer| timer.key == self.key);
            }
        }
    }
}

/// The time was over before the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut;

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("timed out")
    }
}

impl core::error::Error for TimedOut {}

/// Runs `future`, but no longer than `duration`; then it is dropped.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, TimedOut> {
    match select(future, sleep(duration)).await {
        Either::First(output) => Ok(output),
        Either::Second(()) => Err(TimedOut),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::executor::Executor;
    use alloc::rc::Rc;
    use core::cell::Cell;

    /// Held by tests that move the clock, which is one for all.
    pub(crate) static CLOCK_OWNER: std::sync::Mutex<()> = std::sync::Mutex::new(());

    pub(crate) fn advance(duration: Duration) {
        TEST_CLOCK.fetch_add(duration.as_nanos() as u64, Ordering::Relaxed);
    }

    #[test]
    fn ticks_become_nanoseconds_by_multiplier_and_shift() {
        let mut info = VcpuTimeInfo::default();
        info.tsc_timestamp = 1000;
        info.system_time = 5_000;
        info.tsc_to_system_mul = 1 << 31;
        assert_eq!(system_time(&info, 3000), 6_000);
        info.tsc_shift = 1;
        assert_eq!(system_time(&info, 3000), 7_000);
        info.tsc_shift = -1;
        assert_eq!(system_time(&info, 3000), 5_500);
    }

    #[test]
    fn years_of_ticks_do_not_overflow() {
        let mut info = VcpuTimeInfo::default();
        info.tsc_to_system_mul = 1 << 31;
        assert_eq!(system_time(&info, 1 << 60), 1 << 59);
        info.tsc_shift = i8::MAX;
        assert_eq!(system_time(&info, 1), 0);
    }

    #[test]
    fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let _owner = CLOCK_OWNER.lock().unwrap_or_else(|e| e.into_inner());
        let executor = Executor::new();
        let done = Rc::new(Cell::new(false));
        let flag = done.clone();
        executor
            .spawner()
            .spawn("sleeper", async move {
                sleep(Duration::from_millis(5)).await;
                flag.set(true);
            })
            .unwrap();
        executor.run_until_stalled();
        advance(Duration::from_millis(4));
        executor.run_until_stalled();
        assert!(!done.get());
        advance(Duration::from_millis(1));
        executor.run_until_stalled();
        assert!(done.get());
    }

    #[test]
    fn a_timeout_ends_work_that_does_not_end() {
        let _owner = CLOCK_OWNER.lock().unwrap_or_else(|e| e.into_inner());
        let executor = Executor::new();
        let result = Rc::new(Cell::new(None));
        let slot = result.clone();
        executor
            .spawner()
            .spawn("impatient", async move {
                let never = core::future::pending::<()>();
                slot.set(Some(timeout(Duration::from_secs(1), never).await));
            })
            .unwrap();
        executor.run_until_stalled();
        assert_eq!(result.get(), None);
        advance(Duration::from_secs(1));
        executor.run_until_stalled();
        assert_eq!(result.get(), Some(Err(TimedOut)));
    }
}
