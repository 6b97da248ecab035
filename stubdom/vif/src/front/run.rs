//! Connects the uplink and connects it again, for as long as there is one.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::future::poll_fn;
use core::time::Duration;

use log::{info, warn};
use xen::event::{Port, PortError};
use xen::grant::{Access, GrantError, GrantedPage, InPage, OutPage};
use xen::select::select3;
use xen::time::{sleep, timeout};
use xen::xenstore::XsError;
use xen::{DomId, Errno};

use super::state::{Ours, Step, step};
use super::{BUFFERS, Front, Parts, Rx, Tx};
use crate::back::xenbus::State;

/// How long to wait for an event before looking again, while the link is not up, and at least
/// how long a connection takes: one that breaks at once is not made anew without end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why the uplink can't be had.
enum UplinkError {
    Store(XsError),
    /// A node of the toolstack's has no sensible value.
    Node(&'static str, String),
    /// The pool is empty: more memory for the stub.
    NoPages,
    Grant(GrantError),
    Event(PortError),
}

impl fmt::Display for UplinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(e) => e.fmt(f),
            Self::Node(name, value) => write!(f, "the toolstack's node {name} is {value:?}"),
            Self::NoPages => f.write_str("not enough pages are free: give this domain more memory"),
            Self::Grant(e) => e.fmt(f),
            Self::Event(e) => e.fmt(f),
        }
    }
}

impl From<XsError> for UplinkError {
    fn from(e: XsError) -> Self {
        Self::Store(e)
    }
}

impl From<GrantError> for UplinkError {
    fn from(e: GrantError) -> Self {
        Self::Grant(e)
    }
}

impl Front {
    /// Keeps the uplink connected, for ever: spawn it. Where there is no vif it waits for one.
    pub async fn run(&self) {
        let mut told = String::new();
        loop {
            let outcome = self.attend().await;
            self.disconnect();
            let news = match outcome {
                Ok(()) => format!("{} is gone", self.device),
                Err(e) => e.to_string(),
            };
            // What stays as it is, is told once.
            if news != told {
                warn!("uplink: {news}");
                told = news;
            }
            sleep(PATIENCE).await;
        }
    }

    /// Waits for the device and attends to it until it is gone.
    async fn attend(&self) -> Result<(), UplinkError> {
        let node = format!("{}/backend", self.device);
        let mut device = self.store.watch(&node).await?;
        let back = loop {
            device.next().await?;
            if let Some(back) = self.read(&node).await? {
                break back;
            }
        };
        self.identify().await?;
        let mut back_state = self.store.watch(&format!("{back}/state")).await?;
        let mut ours = Ours::Initialising;
        self.say(State::Initialising).await?;
        loop {
            let theirs = self.read(&format!("{back}/state")).await?;
            if self.read(&node).await?.as_ref() != Some(&back) {
                return Ok(());
            }
            let theirs = theirs.and_then(|value| State::parse(value.as_bytes()));
            let broken = self.broken.take();
            if let Some(broken) = broken {
                warn!("uplink: the back end broke the protocol: {broken}");
                self.counters.broken.one();
            }
            match step(ours, theirs, broken.is_some()) {
                Step::Stay => {
                    let events = select3(device.next(), back_state.next(), poll_fn(|cx| self.broke.poll(cx)));
                    // An event may be lost where the device is made anew: look again.
                    match ours {
                        Ours::Live => drop(events.await),
                        _ => drop(timeout(PATIENCE, events).await),
                    }
                }
                Step::Begin => {
                    self.say(State::Initialising).await?;
                    ours = Ours::Initialising;
                }
                Step::Offer => {
                    self.offer().await?;
                    ours = Ours::Offered;
                }
                Step::GoLive => {
                    ours = Ours::Live;
                    self.go_live();
                }
                Step::Close(state) => {
                    self.disconnect();
                    if broken.is_some() {
                        sleep(PATIENCE).await;
                    }
                    self.say(state).await?;
                    ours = if state == State::Closing { Ours::Closing } else { Ours::Closed };
                }
            }
        }
    }

    /// A node's value, if it is there and is text.
    async fn read(&self, path: &str) -> Result<Option<String>, UplinkError> {
        match self.store.read(path).await {
            Ok(value) => Ok(Some(value)),
            Err(XsError::Refused(Errno::ENOENT | Errno::EACCES) | XsError::NotText) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Reads what the toolstack says of the device.
    async fn identify(&self) -> Result<(), UplinkError> {
        let mac = self.read(&format!("{}/mac", self.device)).await?.unwrap_or_default();
        self.mac.set(parse_mac(&mac).ok_or(UplinkError::Node("mac", mac))?);
        // It is there only if it was configured.
        let mtu = self.read(&format!("{}/mtu", self.device)).await?;
        let mtu = mtu.and_then(|mtu| mtu.parse().ok()).unwrap_or(1500u16);
        self.mtu.set(mtu.clamp(576, 1500));
        Ok(())
    }

    async fn say(&self, state: State) -> Result<(), UplinkError> {
        Ok(self.store.write(&format!("{}/state", self.device), state.value()).await?)
    }

    /// Makes rings and tells where they are.
    async fn offer(&self) -> Result<(), UplinkError> {
        let id = self.read(&format!("{}/backend-id", self.device)).await?.unwrap_or_default();
        let dom: DomId = id.parse().map_err(|_| UplinkError::Node("backend-id", id))?;
        self.disconnect();
        let parts = match self.parts.take() {
            Some((owner, parts)) if owner == dom => parts,
            _ => self.make_parts(dom)?,
        };
        let port = Port::alloc_unbound(dom).map_err(UplinkError::Event);
        let port = match port {
            Ok(port) => port,
            Err(e) => {
                self.parts.set(Some((dom, parts)));
                return Err(e);
            }
        };
        let tx = Tx::new(parts.tx_ring, parts.tx);
        let rx = Rx::new(parts.rx_ring, parts.rx);
        let nodes = [
            ("tx-ring-ref", tx.page().gref().0),
            ("rx-ring-ref", rx.page().gref().0),
            ("event-channel", port.number()),
            ("request-rx-copy", 1),
            ("feature-rx-notify", 1),
            // Frames come in one slot; their checksums may be blank when they come from this host.
            ("feature-sg", 0),
            ("feature-no-csum-offload", 0),
        ];
        self.owner.set(dom);
        self.tx.replace(Some(tx));
        self.rx.replace(Some(rx));
        self.port.replace(Some(port));
        for (name, value) in nodes {
            self.store.write(&format!("{}/{name}", self.device), value.to_string()).await?;
        }
        self.say(State::Connected).await
    }

    /// Pages for the rings and buffers, which `dom` may use from now on.
    fn make_parts(&self, dom: DomId) -> Result<Parts, UplinkError> {
        let take = || self.pool.take_zeroed().ok_or(UplinkError::NoPages);
        let ring = || Ok::<_, UplinkError>(GrantedPage::new(take()?, dom, Access::ReadWrite)?);
        let (tx_ring, rx_ring) = (ring()?, ring()?);
        let tx = (0..BUFFERS).map(|_| Ok(OutPage::new(take()?, dom)?));
        let rx = (0..BUFFERS).map(|_| Ok(InPage::new(take()?, dom)?));
        let (tx, rx) = (tx.collect::<Result<_, UplinkError>>()?, rx.collect::<Result<_, UplinkError>>()?);
        Ok(Parts { tx_ring, rx_ring, tx, rx })
    }

    fn go_live(&self) {
        self.live.set(true);
        self.counters.connects.one();
        // It may have looked at the rings before there was anything in them.
        self.notify();
        self.changed.set();
        let mac = self.mac.get();
        info!("uplink: connected, {}, MTU {}", ShowMac(mac), self.mtu.get());
    }

    /// Stops using the rings, and keeps their pages for the next connection.
    fn disconnect(&self) {
        self.live.set(false);
        self.port.take();
        let (tx, rx) = (self.tx.take(), self.rx.take());
        if let (Some(tx), Some(rx)) = (tx, rx) {
            let ((tx_ring, tx), (rx_ring, rx)) = (tx.into_parts(), rx.into_parts());
            self.parts.set(Some((self.owner.get(), Parts { tx_ring, rx_ring, tx, rx })));
            self.counters.disconnects.one();
            info!("uplink: disconnected");
        }
        self.changed.set();
    }
}

/// Shows an address as usual.
struct ShowMac([u8; 6]);

impl fmt::Display for ShowMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A unicast address, six pairs of digits with colons.
fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
        *octet = u8::from_str_radix(part?, 16).ok()?;
    }
    let unicast = mac != [0; 6] && mac[0] & 1 == 0;
    (unicast && parts.next().is_none()).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unicast_address_is_read_and_nothing_else() {
        assert_eq!(parse_mac("00:16:3e:0a:FF:01"), Some([0, 0x16, 0x3e, 0x0a, 0xff, 1]));
        for bad in ["", "00:16:3e:0a:ff", "00:16:3e:0a:ff:01:02", "01:16:3e:0a:ff:01", "+0:16:3e:0a:ff:01"] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
        assert_eq!(parse_mac("00:00:00:00:00:00"), None);
        assert_eq!(parse_mac("0:16:3e:0a:ff:1"), None);
    }
}
