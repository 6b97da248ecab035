//! Tasks: a fixed number of slots, polled when woken, all on the one virtual CPU.
//!
//! A waker sets a bit; the executor polls the tasks whose bits are set, then looks for events
//! and timers, and when nothing is left to do sleeps in Xen. A task that computes for long calls
//! [`yield_now`] now and then.

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::cell::{Cell, RefCell};
use core::fmt;
use core::future::Future;
use core::pin::Pin;
use core::sync::atomic::{AtomicU64, Ordering};
use core::task::{Context, Waker};
use core::time::Duration;

pub use embassy_futures::yield_now;

use crate::time::Instant;
use crate::{event, time};

/// Tasks that can live at a time: one bit of a word each.
pub const MAX_TASKS: usize = 64;

/// All [`MAX_TASKS`] slots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyTasks;

impl fmt::Display for TooManyTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "all {MAX_TASKS} task slots are taken")
    }
}

impl core::error::Error for TooManyTasks {}

/// What the executor did since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Times that a task was polled.
    pub polls: u64,
    /// Times that the domain went to sleep in Xen.
    pub idles: u64,
    /// Time asleep.
    pub idle_time: Duration,
    /// Events found.
    pub events: u64,
    /// Timers fired.
    pub timers: u64,
    /// Hypercalls of all kinds.
    pub hypercalls: u64,
    /// Tasks alive.
    pub tasks: usize,
}

/// Sets the task's bit.
struct TaskWaker {
    ready: Arc<AtomicU64>,
    bit: u64,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.fetch_or(self.bit, Ordering::Release);
    }
}

type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    name: &'static str,
    /// Taken out while it is polled, so that it may spawn.
    future: Option<TaskFuture>,
}

struct Inner {
    tasks: RefCell<[Option<Task>; MAX_TASKS]>,
    wakers: [Waker; MAX_TASKS],
    ready: Arc<AtomicU64>,
    stats: Cell<Stats>,
}

/// Runs tasks. The stub has one; tests have one each.
pub struct Executor {
    inner: Rc<Inner>,
}

/// Starts tasks. A cheap handle to the executor, for tasks too.
#[derive(Clone)]
pub struct Spawner {
    inner: Rc<Inner>,
}

impl Default for Executor {
    fn default() -> Self {
        Executor::new()
    }
}

impl Executor {
    /// An executor without tasks.
    pub fn new() -> Executor {
        let ready = Arc::new(AtomicU64::new(0));
        let wakers = core::array::from_fn(|index| {
            Waker::from(Arc::new(TaskWaker { ready: ready.clone(), bit: 1 << index }))
        });
        Executor {
            inner: Rc::new(Inner {
                tasks: RefCell::new([const { None }; MAX_TASKS]),
                wakers,
                ready,
                stats: Cell::new(Stats::default()),
            }),
        }
    }

    /// A handle that starts tasks.
    pub fn spawner(&self) -> Spawner {
        Spawner { inner: self.inner.clone() }
    }

    /// Polls each task that is ready once. Returns whether there was one.
    pub(crate) fn poll_ready(&self) -> bool {
        self.inner.poll_ready()
    }

    /// Runs until no task can go on without an event or the passing of time: for tests on the
    /// host, where there is no Xen to sleep in.
    pub fn run_until_stalled(&self) {
        time::fire_due(time::now());
        while self.poll_ready() {}
    }

    /// Runs for ever. Sleeps in Xen when there is nothing to do.
    pub fn run(self) -> ! {
        loop {
            let now = time::now();
            let timers = time::fire_due(now);
            let events = event::scan();
            self.inner.count(|stats| {
                stats.timers += timers;
                stats.events += events;
            });
            if !self.poll_ready() {
                self.inner.idle(now);
            }
        }
    }
}

impl Inner {
    fn count(&self, change: impl FnOnce(&mut Stats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    fn idle(&self, now: Instant) {
        let deadline = time::next_deadline();
        if deadline.is_some_and(|at| at <= now) {
            return;
        }
        if event::idle(deadline).is_err() {
            // Can't be, with ports of our own. Rather use CPU than hang.
            xen_sys::sched::yield_now();
        }
        let slept = time::now() - now;
        self.count(|stats| {
            stats.idles += 1;
            stats.idle_time += slept;
        });
    }

    fn poll_ready(&self) -> bool {
        let mut ready = self.ready.swap(0, Ordering::Acquire);
        if ready == 0 {
            return false;
        }
        while ready != 0 {
            let index = ready.trailing_zeros() as usize;
            ready &= ready - 1;
            self.poll_task(index);
        }
        true
    }

    fn poll_task(&self, index: usize) {
        let future = self.tasks.borrow_mut()[index].as_mut().and_then(|task| task.future.take());
        // A waker may outlive its task, and wake an empty slot or its next tenant: no harm.
        let Some(mut future) = future else {
            return;
        };
        self.count(|stats| stats.polls += 1);
        let mut context = Context::from_waker(&self.wakers[index]);
        let finished = future.as_mut().poll(&mut context).is_ready();
        let mut tasks = self.tasks.borrow_mut();
        if finished {
            let task = tasks[index].take();
            // What the task owned may have business with the executor when it is dropped.
            drop(tasks);
            drop((task, future));
        } else if let Some(task) = tasks[index].as_mut() {
            task.future = Some(future);
        }
    }
}

impl Spawner {
    /// Starts a task. It is polled when the executor comes round to it, not before.
    ///
    /// # Errors
    /// All slots are taken; the future is dropped.
    pub fn spawn(
        &self,
        name: &'static str,
        future: impl Future<Output = ()> + 'static,
    ) -> Result<(), TooManyTasks> {
        let mut tasks = self.inner.tasks.borrow_mut();
        let (index, slot) =
            (tasks.iter_mut().enumerate()).find(|(_, slot)| slot.is_none()).ok_or(TooManyTasks)?;
        *slot = Some(Task { name, future: Some(Box::pin(future)) });
        self.inner.ready.fetch_or(1 << index, Ordering::Release);
        Ok(())
    }

    /// What the executor did since boot.
    pub fn stats(&self) -> Stats {
        let tasks = self.inner.tasks.borrow();
        Stats {
            hypercalls: xen_sys::hypercall::count(),
            tasks: tasks.iter().flatten().count(),
            ..self.inner.stats.get()
        }
    }

    /// Calls `each` with the name of every task alive.
    pub fn task_names(&self, each: impl FnMut(&'static str)) {
        let tasks = self.inner.tasks.borrow();
        tasks.iter().flatten().map(|task| task.name).for_each(each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn tasks_take_turns_when_they_yield() {
        let executor = Executor::new();
        let order = Rc::new(RefCell::new(Vec::new()));
        for name in ["a", "b"] {
            let order = order.clone();
            let task = async move {
                for _ in 0..2 {
                    order.borrow_mut().push(name);
                    yield_now().await;
                }
            };
            executor.spawner().spawn(name, task).unwrap();
        }
        executor.run_until_stalled();
        assert_eq!(*order.borrow(), ["a", "b", "a", "b"]);
        assert_eq!(executor.spawner().stats().tasks, 0);
    }

    #[test]
    fn a_task_may_spawn_another() {
        let executor = Executor::new();
        let spawner = executor.spawner();
        let done = Rc::new(Cell::new(false));
        let flag = done.clone();
        let parent = async move {
            spawner.spawn("child", async move { flag.set(true) }).unwrap();
        };
        executor.spawner().spawn("parent", parent).unwrap();
        executor.run_until_stalled();
        assert!(done.get());
    }

    #[test]
    fn the_number_of_tasks_is_bounded_and_slots_are_used_again() {
        let executor = Executor::new();
        let spawner = executor.spawner();
        for _ in 0..MAX_TASKS {
            spawner.spawn("idle", async {}).unwrap();
        }
        assert_eq!(spawner.spawn("one more", async {}), Err(TooManyTasks));
        executor.run_until_stalled();
        assert_eq!(spawner.spawn("again", async {}), Ok(()));
    }
}
