//! The data path. A turn takes what guests have sent, asks the switch where it goes, and delivers
//! it: two hypercalls for up to 64 frames, and one notification for each guest that wants one.

use alloc::rc::Rc;
use core::future::{Future, poll_fn};
use core::task::Poll;
use core::time::Duration;

use handoff::Direction;
use log::warn;
use vif::back::hub::{Arrived, Lost, TURN};
use violin::cut::{Arrival, Channel};
use violin::frame::{HEADER_LEN_MAX, Header};
use violin::id::PortId;
use violin::switch::{DropReason, From, Target};
use xen::executor::yield_now;
use xen::page::PagePool;
use xen::select::select;
use xen::time::sleep;

use super::carry::Ports;
use super::state::{State, count, reason};
use super::{Net, now_ms};

/// How often is looked for frames that have waited too long, while there are any.
const TICK: Duration = Duration::from_millis(100);

/// How often a part of the MAC table is looked through for what is too old.
const AGE_EVERY_MS: u64 = 250;

/// Runs the data path for ever.
///
/// A wake-up costs as much as many frames, here and in the guests. So after a turn in which frames
/// came it does not ask for notifications at once: it lets the guests run, which may have more to
/// send by then, and looks again. On a host with a processor to spare that is a short time of
/// looking; on a busy one it makes turns larger.
pub(super) async fn run(net: Rc<Net>) {
    loop {
        let came = net.state.borrow_mut().turn(net.pool);
        if net.state.borrow().captures.waits() {
            net.captured.signal(());
        }
        if net.state.borrow().has_group_event() {
            net.grouped.signal(());
        }
        net.tell_broken();
        if came > 0 {
            xen::give_way();
            yield_now().await;
            continue;
        }
        if net.state.borrow_mut().hub.ask_for_events() {
            continue;
        }
        net.state.borrow_mut().hub.settle();
        let due = net.state.borrow().due_in();
        let event = poll_fn(|cx| {
            let hub = net.state.borrow_mut().hub.poll_event(cx);
            let wake = core::pin::pin!(net.wake.wait()).as_mut().poll(cx);
            let uplink = match net.state.borrow().far {
                Some(_) => net.uplink.poll_wait(cx),
                // Nobody would take what comes.
                None => Poll::Pending,
            };
            if hub.is_ready() || wake.is_ready() || uplink.is_ready() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        });
        match due {
            Some(due) => {
                select(event, sleep(due)).await;
            }
            None => event.await,
        }
        net.state.borrow_mut().wakeups += 1;
        // However often there is an event, others get their turn.
        yield_now().await;
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
    /// Whether peers have said something of groups, or went.
    fn has_group_event(&self) -> bool {
        self.far.as_ref().is_some_and(|far| !far.told.is_empty() || !far.lost.is_empty())
    }

    /// How long at most until the next turn.
    fn due_in(&self) -> Option<Duration> {
        let far = self.far.as_ref();
        let waits = self.hub.waits() || far.is_some_and(|far| far.blocked);
        let due = far.and_then(|far| far.due_in(now_ms()));
        let held = self.gate.cut.poll_at().map(|at| Duration::from_millis(at.saturating_sub(now_ms())));
        waits.then_some(TICK).into_iter().chain(due).chain(held).min()
    }

    /// One turn. Returns how many frames came.
    pub(super) fn turn(&mut self, pool: &'static PagePool) -> usize {
        let now = now_ms();
        let mut arrived = heapless::Vec::<Arrived, TURN>::new();
        self.hub.collect(HEADER_LEN_MAX as u16, now, &mut arrived);
        for frame in &arrived {
            self.forward(pool, now, *frame);
        }
        let Self { hub, switch, gate, devices, far, device_of, staging, captures, .. } = self;
        let mut came = arrived.len();
        if let Some(far) = far {
            let into = &mut Ports { hub, switch, gate, devices, device_of, staging, pool, now_ms: now };
            came += far.receive(into, &mut |switch, network, frame| {
                captures.add(network, Direction::FromPeer, switch.0, frame, frame.len());
            });
        }
        self.let_go(pool, now);
        let Self { hub, switch, devices, far, staging, .. } = self;
        hub.deliver(now, &mut |at, outcome| count(switch, devices, at, outcome));
        if let Some(far) = far {
            far.send(hub, switch, staging, now);
            far.control(switch, now);
        }
        for frame in &arrived {
            hub.release(frame.frame);
        }
        hub.flush();
        if now >= self.aged_ms + AGE_EVERY_MS {
            self.aged_ms = now;
            switch.tick(now);
        }
        self.thaw_late(now);
        came
    }

    /// Sends a frame on its way.
    fn forward(&mut self, pool: &'static PagePool, now: u64, arrived: Arrived) {
        let device = self.devices.get(usize::from(arrived.port)).and_then(Option::as_ref);
        // Not plugged in.
        let Some(port) = device.and_then(|device| device.port) else { return };
        let from = From::Port(port);
        let Some(frame) = self.hub.frame(arrived.frame) else { return };
        let (len, large) = (frame.len.into(), frame.gso.is_some());
        if frame.gso.is_some_and(|gso| usize::from(gso.size) < violin::segment::MIN_PAYLOAD) {
            // Cut like that, one frame would be a thousand.
            self.switch.count_refused(from, DropReason::Unsupported);
            return;
        }
        let Ok(header) = Header::parse(frame.head()) else {
            self.switch.count_refused(from, DropReason::Runt);
            return;
        };
        let Some(network) = self.switch.network_of(port) else { return };
        let epoch = self.gate.cut.epoch(port).unwrap_or_default();
        self.capture(network, arrived.port, arrived.frame);
        let to = match self.switch.forward(now, from, &header, len, large).targets() {
            Ok(to) => to,
            Err(DropReason::TooBig) => return self.answer_too_big(pool, arrived.frame, port, now),
            Err(_) => return,
        };
        let arrival = Arrival { at_ms: now, epoch, from: Channel::Local, octets: len as u32 };
        for to in to.ports.iter() {
            self.send(pool, arrived.frame, PortId(to), arrival);
        }
        if !to.peers.is_empty()
            && let Some(far) = &mut self.far
        {
            far.enqueue(&mut self.hub, &mut self.switch, arrived.frame, (network, epoch), to.peers, now);
        }
    }

    /// Puts a frame into a local port's queue, or keeps it until that port's cut.
    fn send(&mut self, pool: &'static PagePool, frame: u16, to: PortId, arrival: Arrival) {
        let Some(at) = self.device_at(to) else { return };
        let Self { hub, switch, gate, devices, staging, .. } = self;
        let device = devices.get(usize::from(at)).and_then(Option::as_ref);
        let (Some(device), Some(network)) = (device, switch.network_of(to)) else { return };
        match gate.pass(hub, staging, frame, (to, network, device.mac), arrival) {
            Ok(true) => self.enqueue(pool, frame, to, arrival.at_ms),
            Ok(false) => {}
            Err(reason) => switch.count_drop(Target::Port(to), reason),
        }
    }

    /// Puts a frame into a local port's queue.
    pub(super) fn enqueue(&mut self, pool: &'static PagePool, frame: u16, to: PortId, now: u64) {
        let Some(device) = self.device_at(to) else { return };
        match self.hub.enqueue(frame, device) {
            Ok(()) => {}
            Err(Lost::Unsupported) => self.convert(pool, frame, to, now),
            Err(lost) => self.switch.count_drop(Target::Port(to), reason(lost)),
        }
    }
}
