//! smoltcp's interface, for all that is not a datagram of ours: it answers ARP and pings.

use core::net::Ipv4Addr;

use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, Ipv4Cidr};

use super::super::MAX_FRAME;
use super::{Slot, Wire};

/// The interface. It has no sockets.
pub(super) struct Stack {
    interface: Interface,
    sockets: SocketSet<'static>,
}

impl Stack {
    pub(super) fn new(wire: &impl Wire, network: Ipv4Cidr, gateway: Option<Ipv4Addr>) -> Self {
        let config = Config::new(HardwareAddress::Ethernet(EthernetAddress([0; 6])));
        let mut interface = Interface::new(config, &mut Once { wire, frame: None }, Instant::ZERO);
        // There is room for more than one of each.
        interface.update_ip_addrs(|addresses| {
            let _ = addresses.push(network.into());
        });
        if let Some(gateway) = gateway {
            let _ = interface.routes_mut().add_default_ipv4_route(gateway);
        }
        Self { interface, sockets: SocketSet::new(&mut [][..]) }
    }

    /// `mac` is the address of a station.
    pub(super) fn set_mac(&mut self, mac: EthernetAddress) {
        if mac.is_unicast() {
            self.interface.set_hardware_addr(HardwareAddress::Ethernet(mac));
        }
    }

    /// Handles one frame, and sends the answer if there is one.
    pub(super) fn handle(&mut self, wire: &impl Wire, frame: &[u8], now_ms: u64) {
        let now = Instant::from_millis(i64::try_from(now_ms).unwrap_or(i64::MAX / 1000));
        let mut device = Once { wire, frame: Some(frame) };
        self.interface.poll_ingress_single(now, &mut device, &mut self.sockets);
    }
}

/// A device that receives one frame.
struct Once<'w, W: Wire> {
    wire: &'w W,
    frame: Option<&'w [u8]>,
}

impl<'w, W: Wire> Device for Once<'w, W> {
    type RxToken<'a>
        = Received<'w>
    where
        Self: 'a;
    type TxToken<'a>
        = Transmit<'w, W>
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Received<'w>, Transmit<'w, W>)> {
        Some((Received(self.frame.take()?), Transmit(self.wire)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Transmit<'w, W>> {
        Some(Transmit(self.wire))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME;
        capabilities
    }
}

struct Received<'w>(&'w [u8]);

impl phy::RxToken for Received<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

struct Transmit<'w, W: Wire>(&'w W);

impl<W: Wire> phy::TxToken for Transmit<'_, W> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut slot = self.0.tx_buffer();
        if let Some(mut slot) = slot.take_if(|slot| slot.len() >= len)
            && let Some(frame) = slot.get_mut(..len)
        {
            let result = f(frame);
            slot.commit(len);
            return result;
        }
        // No buffer: smoltcp must write somewhere, and the answer is lost. (A frame is never
        // longer than the device's.)
        let mut nowhere = [0; MAX_FRAME];
        f(nowhere.get_mut(..len).unwrap_or_default())
    }
}
