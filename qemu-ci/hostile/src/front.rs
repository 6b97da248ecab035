//! A netfront: enough of one to behave well, and every means not to.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use xen::event::Port;
use xen::grant::Access;
use xen::hostile::{GTF_PERMIT_ACCESS, Page};
use xen::page::PagePool;
use xen::ring::FrontRing;
use xen::time::{self, now};
use xen_sys::netif::{self, RX_SLOT, RxRequest, RxResponse, TX_SLOT, TxRequest, TxResponse};

use crate::Result;
use crate::vif::{Vif, state};

pub(crate) type TxSlot = [u8; TX_SLOT];

/// Pages for frames that are sent.
const TX_PAGES: usize = 64;
/// What a page for received frames holds before anybody writes to it.
const UNTOUCHED: u32 = 0xa5a5_a5a5;

/// What came back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    okay: u32,
    error: u32,
    dropped: u32,
    null: u32,
    pub(crate) received: u32,
    pub(crate) leaks: u32,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { okay, error, dropped, null, received, leaks } = self;
        write!(f, "okay {okay} error {error} dropped {dropped} null {null} received {received} leaks {leaks}")
    }
}

/// Everything that is granted, once and for good: each front end uses the same pages.
pub(crate) struct Pages {
    tx: Page,
    rx: Page,
    data: Vec<Page>,
    buffers: Vec<Page>,
}

impl Pages {
    pub(crate) fn new(vif: &Vif, pool: &'static PagePool) -> Result<&'static Pages> {
        let page = || -> Result<Page> {
            let page = pool.take_zeroed().ok_or("no page is left")?;
            Page::new(page, vif.dom, Access::ReadWrite).map_err(|e| format!("{e}"))
        };
        Ok(Box::leak(Box::new(Pages {
            tx: page()?,
            rx: page()?,
            data: (0..TX_PAGES).map(|_| page()).collect::<Result<_>>()?,
            buffers: (0..FrontRing::<&Page, RX_SLOT>::SIZE).map(|_| page()).collect::<Result<_>>()?,
        })))
    }
}

pub(crate) struct Front {
    pub(crate) tx: FrontRing<&'static Page, TX_SLOT>,
    pub(crate) rx: FrontRing<&'static Page, RX_SLOT>,
    pub(crate) port: Port,
    pub(crate) data: &'static [Page],
    /// Pages for received frames; a request's id is the index of its page.
    pub(crate) buffers: &'static [Page],
    pub(crate) counts: Counts,
    /// Whether leftovers in responses and pages are looked for.
    pub(crate) strict: bool,
    /// The next slot of the receive ring is an extra info.
    extra: bool,
}

impl Front {
    /// Empty rings and a port, of which xenstore does not know yet. What an earlier front end did
    /// to the pages' grants is undone.
    pub(crate) fn new(vif: &Vif, pages: &'static Pages) -> Result<Front> {
        let Pages { tx, rx, data, buffers } = pages;
        let all = [tx, rx].into_iter().chain(data).chain(buffers);
        all.for_each(|page| page.set_flags(GTF_PERMIT_ACCESS));
        Ok(Front {
            tx: FrontRing::new(tx),
            rx: FrontRing::new(rx),
            port: Port::alloc_unbound(vif.dom).map_err(|e| format!("{e}"))?,
            data,
            buffers,
            counts: Counts::default(),
            strict: false,
            extra: false,
        })
    }

    /// Connects as a good front end does.
    pub(crate) async fn connect(vif: &Vif, pages: &'static Pages) -> Result<Front> {
        let found = vif.await_backend(&[state::INIT_WAIT], Duration::from_secs(20)).await;
        if found != state::INIT_WAIT {
            return Err(format!("the back end is in state {found}, not in 2 (InitWait)"));
        }
        let front = Front::new(vif, pages)?;
        front.tell(vif).await?;
        vif.set_state(state::CONNECTED).await?;
        match vif.await_backend(&[state::CONNECTED], Duration::from_secs(10)).await {
            state::CONNECTED => Ok(front),
            other => Err(format!("the back end is in state {other}, not in 4 (Connected)")),
        }
    }

    /// Writes what the back end needs to know.
    pub(crate) async fn tell(&self, vif: &Vif) -> Result<()> {
        let number = |n: u32| format!("{n}");
        vif.write("tx-ring-ref", number(self.tx.page().gref().0)).await?;
        vif.write("rx-ring-ref", number(self.rx.page().gref().0)).await?;
        vif.write("event-channel", number(self.port.number())).await?;
        for feature in
            ["request-rx-copy", "feature-rx-notify", "feature-sg", "feature-gso-tcpv4", "feature-gso-tcpv6"]
        {
            vif.write(feature, "1").await?;
        }
        vif.write("feature-ipv6-csum-offload", "1").await
    }

    /// Offers pages for frames, up to `count` of those that are not offered yet.
    pub(crate) fn offer(&mut self, from: usize, count: usize) {
        for id in (from..).take(count) {
            let Some(page) = self.buffers.get(id) else { break };
            if self.strict {
                (0..1024).for_each(|word| page.poke(word, UNTOUCHED));
            }
            if self.rx.free() > 0 {
                self.rx.request(RxRequest { id: id as u16, gref: page.gref().0 }.to_slot());
            }
        }
        if self.rx.publish() {
            self.kick();
        }
    }

    pub(crate) fn kick(&self) {
        let _ = self.port.notify();
    }

    /// Puts slots into the transmit ring, as they are, as far as there is room.
    pub(crate) fn put(&mut self, slots: &[TxSlot]) {
        for slot in slots.iter().take(self.tx.free() as usize) {
            self.tx.request(*slot);
        }
        self.tx.publish();
    }

    /// The same, and rings.
    pub(crate) fn send(&mut self, slots: &[TxSlot]) {
        self.put(slots);
        self.kick();
    }

    /// A good request for a frame of at most a page, which is written to data page `index`.
    pub(crate) fn request(&self, index: usize, frame: &[u8]) -> TxSlot {
        let index = index % TX_PAGES;
        let Some(page) = self.data.get(index) else { return [0; TX_SLOT] };
        page.fill(0, frame);
        let size = frame.len().min(4096) as u16;
        TxRequest { gref: page.gref().0, offset: 0, flags: 0, id: index as u16, size }.to_slot()
    }

    /// Sends a good frame.
    pub(crate) fn send_frame(&mut self, index: usize, frame: &[u8]) {
        let slot = self.request(index, frame);
        self.send(&[slot]);
    }

    /// Takes the responses that are there, and hands received frames to `each`; their pages are
    /// offered again if `again`.
    pub(crate) fn reap(&mut self, again: bool, mut each: impl FnMut(&[u8])) -> Result<()> {
        for _ in 0..self.tx.pending().map_err(|e| format!("TX ring: {e}"))? {
            let (_, slot) = self.tx.take();
            match TxResponse::from_slot(slot).status {
                netif::NETIF_RSP_OKAY => self.counts.okay += 1,
                netif::NETIF_RSP_DROPPED => self.counts.dropped += 1,
                netif::NETIF_RSP_NULL => self.counts.null += 1,
                _ => self.counts.error += 1,
            }
            if self.strict && slot[4..] != [0; 8] {
                self.leak(format_args!("TX response {slot:?}"));
            }
        }
        for _ in 0..self.rx.pending().map_err(|e| format!("RX ring: {e}"))? {
            let (place, slot) = self.rx.take();
            let response = RxResponse::from_slot(slot);
            if core::mem::take(&mut self.extra) {
                self.extra = slot[1] & netif::EXTRA_FLAG_MORE != 0;
                if self.strict && slot[5..] != [0; 3] {
                    self.leak(format_args!("extra info {slot:?}"));
                }
                // It took the place of a page, which is as unused as before.
                if again {
                    self.offer(place as usize, 1);
                }
                continue;
            }
            self.extra = response.flags & netif::NETRXF_EXTRA_INFO != 0;
            let (id, start) = (usize::from(response.id), usize::from(response.offset));
            let Some(page) = self.buffers.get(id) else { continue };
            if response.status > 0 {
                let end = start + response.status as usize;
                let octets: Vec<u8> = (0..1024).flat_map(|word| page.peek(word).to_le_bytes()).collect();
                self.counts.received += 1;
                each(octets.get(start..end).unwrap_or_default());
                let rest = octets.iter().enumerate().filter(|(i, _)| !(start..end).contains(i));
                let written = rest.filter(|&(_, &octet)| octet != UNTOUCHED as u8).count();
                if self.strict && written > 0 {
                    self.leak(format_args!("{written} octets around a frame of {}", response.status));
                }
            }
            if again {
                self.offer(id, 1);
            }
        }
        Ok(())
    }

    fn leak(&mut self, what: fmt::Arguments<'_>) {
        self.counts.leaks += 1;
        if self.counts.leaks < 10 {
            xen::println!("hostile: LEAK: {what}");
        }
    }

    /// Takes responses until all requests of the transmit ring have theirs, or the time is over.
    /// Whether they have.
    pub(crate) async fn settle(&mut self, limit: Duration) -> Result<bool> {
        let start = now();
        loop {
            let listen = self.port.listen();
            let _ = self.tx.ask_for_event(0);
            self.reap(true, |_| {})?;
            if self.tx.free() == FrontRing::<&Page, TX_SLOT>::SIZE {
                return Ok(true);
            }
            if start.elapsed() > limit {
                return Ok(false);
            }
            let _ = time::timeout(Duration::from_millis(20), listen).await;
        }
    }

    /// Takes what comes for a while.
    pub(crate) async fn linger(&mut self, time: Duration) -> Result<()> {
        let start = now();
        while start.elapsed() < time {
            self.reap(true, |_| {})?;
            time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// What to say at the end.
    pub(crate) fn told(&self) -> String {
        format!("{}", self.counts)
    }
}
