//! A connected vif: its two rings and its events. It moves slots and counts; where frames go and
//! how their octets get there is not known here.

use core::fmt;
use core::task::{Context, Poll};

use xen::DomId;
use xen::event::{self, PortError};
use xen::grant::{Gref, MapError, MappedPage};
use xen::ring::{BackRing, BadIndex, RingPage};
use xen_sys::netif::{self, RX_SLOT, RxRequest, RxResponse, TX_SLOT, TxResponse};

use super::gather::{TxFrame, Violation, gather};
use super::given::{Given, Part, Untaken};
use super::node::{Channels, FrontNodes, Takes};

/// Why a port could not be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// A ring can't be mapped.
    Map(MapError),
    /// A ring's indices can't be.
    Ring(BadIndex),
    /// An event channel can't be bound.
    Event(PortError),
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(e) => e.fmt(f),
            Self::Ring(e) => e.fmt(f),
            Self::Event(e) => e.fmt(f),
        }
    }
}

impl core::error::Error for ConnectError {}

/// Why a port must be closed: its front end broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// An index of a ring.
    Ring(BadIndex),
    /// The requests of a frame.
    Frame(Violation),
    /// Grants that don't grant, too often.
    Grants,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(e) => e.fmt(f),
            Self::Frame(e) => e.fmt(f),
            Self::Grants => f.write_str("too many grants that grant nothing"),
        }
    }
}

impl From<BadIndex> for Broken {
    fn from(e: BadIndex) -> Self {
        Self::Ring(e)
    }
}

/// Slots that are answered before a guest is notified though there is more to do: a quarter.
const TX_NOTIFY_SLOTS: u32 = 64;

/// The rings, as they are used. Generic, so that tests have them without Xen.
pub struct Rings<P> {
    tx: BackRing<P, TX_SLOT>,
    rx: BackRing<P, RX_SLOT>,
    given: Given,
    /// Slots of frames that were taken and not yet answered.
    open: u32,
    /// Slots that were answered since somebody asked.
    answered: u32,
}

/// Which end of the front end is to be notified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// Of what it sent.
    pub tx: bool,
    /// Of what it received.
    pub rx: bool,
}

impl<P: RingPage> Rings<P> {
    /// Attaches to both.
    ///
    /// # Errors
    /// [`BadIndex`].
    pub fn attach(tx: P, rx: P) -> Result<Self, BadIndex> {
        let (tx, rx) = (BackRing::attach(tx)?, BackRing::attach(rx)?);
        Ok(Self { tx, rx, given: Given::default(), open: 0, answered: 0 })
    }

    /// The next frame that the guest sends.
    ///
    /// # Errors
    /// [`Broken`]: close the port.
    pub fn next_frame(&mut self) -> Result<Option<TxFrame>, Broken> {
        let pending = self.tx.pending()?;
        if pending == 0 {
            return Ok(None);
        }
        let (frame, taken) = gather(pending, || self.tx.take()).map_err(Broken::Frame)?;
        self.open += taken;
        Ok(Some(frame))
    }

    /// Whether the guest has sent something that was not taken yet.
    pub fn has_sent(&self) -> bool {
        self.tx.pending().is_ok_and(|pending| pending > 0)
    }

    /// The frames that the guest was given and may not have taken, in their order.
    pub fn untaken(&self) -> impl Iterator<Item = Untaken> + '_ {
        self.given.last(self.rx.untaken())
    }

    /// Answers a frame's requests: its pages are the guest's again. Once for each frame.
    pub fn complete(&mut self, frame: &TxFrame, status: i16) {
        for fragment in &frame.fragments {
            self.tx.respond(TxResponse { id: fragment.id, status }.to_slot());
        }
        for _ in 0..frame.extras {
            self.tx.respond(TxResponse { id: 0, status: netif::NETIF_RSP_NULL }.to_slot());
        }
        let slots = frame.fragments.len() as u32 + u32::from(frame.extras);
        self.open = self.open.saturating_sub(slots);
        self.answered += slots;
    }

    /// Slots that were answered since the last call.
    pub fn take_answered(&mut self) -> u32 {
        core::mem::take(&mut self.answered)
    }

    /// Slots not answered yet.
    pub fn open_slots(&self) -> u32 {
        self.open
    }

    /// Buffers that the guest has posted.
    ///
    /// # Errors
    /// [`Broken`]: close the port.
    pub fn buffers(&self) -> Result<u32, Broken> {
        Ok(self.rx.pending()?)
    }

    /// Takes a buffer. Only as many as [`Rings::buffers`] said; each wants a
    /// [`Rings::received`] in the same order.
    pub fn take_buffer(&mut self) -> RxRequest {
        let request = RxRequest::from_slot(self.rx.take());
        self.given.take(request.gref);
        request
    }

    /// Tells what is in the buffer that was taken first of those not told yet.
    pub fn received(&mut self, response: RxResponse, part: Part) {
        self.given.tell(part);
        self.rx.respond(response.to_slot());
    }

    /// As [`Rings::received`], for a slot that is an extra info.
    pub fn received_extra(&mut self, slot: [u8; RX_SLOT]) {
        self.given.tell(Part::None);
        self.rx.respond(slot);
    }

    /// Makes all answers visible.
    pub fn publish(&mut self) -> Notify {
        Notify { tx: self.tx.publish(), rx: self.rx.publish() }
    }

    /// Asks for an event at the next frame and, if `buffers` are wanted, when there are so many.
    /// Returns whether there is something to do already.
    ///
    /// # Errors
    /// [`Broken`]: close the port.
    pub fn ask_for_events(&self, buffers: Option<u32>) -> Result<bool, Broken> {
        let sent = self.tx.ask_for_event(0)?;
        let room = match buffers {
            Some(wanted) => self.rx.ask_for_event(wanted.saturating_sub(1))?,
            None => false,
        };
        Ok(sent || room)
    }
}

/// A connected vif.
pub struct Port {
    /// The rings.
    pub rings: Rings<MappedPage>,
    /// Whose it is.
    pub dom: DomId,
    /// What it takes.
    pub takes: Takes,
    /// Notifications sent.
    pub notified: u64,
    /// The guest wants to be notified of what it sent, and has not been yet.
    tx_due: bool,
    /// Slots answered since it was.
    tx_answered: u32,
    tx_event: event::Port,
    /// `None`: the same.
    rx_event: Option<event::Port>,
}

impl Port {
    /// Maps the rings and binds the event channels.
    ///
    /// # Errors
    /// See [`ConnectError`]; nothing is left mapped or bound.
    pub fn connect(dom: DomId, nodes: &FrontNodes) -> Result<Self, ConnectError> {
        let map = |gref: Gref| MappedPage::new(dom, gref).map_err(ConnectError::Map);
        let rings = Rings::attach(map(nodes.tx_ring)?, map(nodes.rx_ring)?).map_err(ConnectError::Ring)?;
        let bind = |port| event::Port::bind_interdomain(dom, port).map_err(ConnectError::Event);
        let (tx_event, rx_event) = match nodes.channels {
            Channels::Common(port) => (bind(port)?, None),
            Channels::Split { tx, rx } => (bind(tx)?, Some(bind(rx)?)),
        };
        Ok(Self {
            rings,
            dom,
            takes: nodes.takes,
            notified: 0,
            tx_due: false,
            tx_answered: 0,
            tx_event,
            rx_event,
        })
    }

    /// Ready when the guest has notified since the last time: that it has sent or, if `buffers`
    /// are waited for, that it has posted some.
    pub fn poll_event(&self, cx: &mut Context<'_>, buffers: bool) -> Poll<()> {
        let tx = self.tx_event.poll_wait(cx);
        let rx = self.rx_event.as_ref().filter(|_| buffers);
        let rx = rx.map_or(Poll::Pending, |event| event.poll_wait(cx));
        if tx.is_ready() || rx.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Makes all answers visible, and notifies the guest of what it received if it asked for that.
    ///
    /// Of what it sent it is notified later, by [`Port::settle`], or when a quarter of its ring was
    /// answered: front ends look for answers whenever they send, and an interrupt of its own for
    /// each turn costs a guest more than its frames do.
    pub fn flush(&mut self) {
        let notify = self.rings.publish();
        self.tx_answered += self.rings.take_answered();
        self.tx_due |= notify.tx;
        let tx =
            self.tx_due && (self.tx_answered >= TX_NOTIFY_SLOTS || (notify.rx && self.rx_event.is_none()));
        self.notify(tx, notify.rx);
    }

    /// Notifies the guest of what it sent, if it waits for that: before a rest.
    pub fn settle(&mut self) {
        self.notify(self.tx_due, false);
    }

    fn notify(&mut self, tx: bool, rx: bool) {
        if tx {
            (self.tx_due, self.tx_answered) = (false, 0);
        }
        let (tx, rx) = if self.rx_event.is_some() { (tx, rx) } else { (tx || rx, false) };
        for (event, wanted) in [(Some(&self.tx_event), tx), (self.rx_event.as_ref(), rx)] {
            if let (Some(event), true) = (event, wanted) {
                self.notified += 1;
                // A guest that is gone is noticed by its xenstore nodes.
                let _ = event.notify();
            }
        }
    }

    /// Notifies both ends, wanted or not: a front end that waited for the back end looks again.
    pub fn kick(&mut self) {
        for event in [Some(&self.tx_event), self.rx_event.as_ref()].into_iter().flatten() {
            self.notified += 1;
            let _ = event.notify();
        }
    }
}
