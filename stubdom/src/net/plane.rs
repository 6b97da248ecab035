//! The data path. A turn takes what guests have sent, asks the switch where it goes, and delivers
//! it: two hypercalls for up to 64 frames, and one notification for each guest that wants one.

use alloc::rc::Rc;
use core::future::{Future, poll_fn};
use core::task::Poll;
use core::time::Duration;

use log::warn;
use vif::back::hub::{Arrived, TURN};
use violin::frame::{HEADER_LEN_MAX, Header};
use violin::switch::{DropReason, Forward, From, Target};
use xen::executor::yield_now;
use xen::select::select;
use xen::time::sleep;

use super::state::{State, count, reason};
use super::{Net, now_ms};

/// How often is looked for frames that have waited too long, while there are any.
const TICK: Duration = Duration::from_millis(100);

/// Runs the data path for ever.
pub(super) async fn run(net: Rc<Net>) {
    loop {
        if net.state.borrow_mut().turn() {
            // More may have come meanwhile; others want their turn too.
            yield_now().await;
            continue;
        }
        net.tell_broken();
        if net.state.borrow_mut().hub.ask_for_events() {
            continue;
        }
        let waits = net.state.borrow().hub.waits();
        let event = poll_fn(|cx| {
            let hub = net.state.borrow_mut().hub.poll_event(cx);
            let wake = core::pin::pin!(net.wake.wait()).as_mut().poll(cx);
            if hub.is_ready() || wake.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        });
        match waits {
            true => {
                select(event, sleep(TICK)).await;
            }
            false => event.await,
        }
        net.state.borrow_mut().wakeups += 1;
    }
}

impl Net {
    /// Has the tasks of ports whose front ends broke the protocol close them.
    fn tell_broken(&self) {
        let mut state = self.state.borrow_mut();
        let broken: heapless::Vec<_, { super::state::MAX_VIFS }> = state.hub.broken().collect();
        for (index, why) in broken {
            if let Some(device) = state.device(index)
                && device.broken.is_none()
            {
                warn!("vif {}.{}: closed: {why}", device.dom, device.devid);
                device.broken = Some(why);
                device.look.signal(());
            }
        }
    }
}

impl State {
    /// One turn. Returns whether anything came.
    pub(super) fn turn(&mut self) -> bool {
        let now = now_ms();
        let mut arrived = heapless::Vec::<Arrived, TURN>::new();
        self.hub.collect(HEADER_LEN_MAX as u16, now, &mut arrived);
        for frame in &arrived {
            self.forward(now, *frame);
        }
        let Self { hub, switch, devices, .. } = self;
        hub.deliver(now, &mut |at, outcome| count(switch, devices, at, outcome));
        for frame in &arrived {
            hub.release(frame.frame);
        }
        hub.flush();
        !arrived.is_empty()
    }

    /// Sends a frame on its way.
    fn forward(&mut self, now: u64, arrived: Arrived) {
        let device = self.devices.get(usize::from(arrived.port)).and_then(Option::as_ref);
        // Not plugged in.
        let Some(port) = device.and_then(|device| device.port) else { return };
        let Some(frame) = self.hub.frame(arrived.frame) else { return };
        let from = From::Port(port);
        let Ok(header) = Header::parse(frame.head()) else {
            self.switch.count_refused(from, DropReason::Runt);
            return;
        };
        match self.switch.forward(now, from, &header, frame.len.into(), frame.gso.is_some()) {
            Forward::Drop(_) => {}
            Forward::One(target) => self.send(arrived.frame, target),
            Forward::Flood(flood) => {
                for target in flood.targets() {
                    self.send(arrived.frame, target);
                }
            }
        }
    }

    /// Puts a frame where it goes.
    fn send(&mut self, frame: u16, target: Target) {
        match target {
            Target::Port(port) => {
                let Some(device) = self.device_at(port) else { return };
                if let Err(lost) = self.hub.enqueue(frame, device) {
                    self.switch.count_drop(target, reason(lost));
                }
            }
            // There is no way to other hosts yet.
            Target::Peer(_) => self.switch.count_drop(target, DropReason::Closed),
        }
    }
}
