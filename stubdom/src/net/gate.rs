//! What stands between the switch and a port's queue: the colours of a cut.
//!
//! The rules are [`violin::cut`]'s; here are the frames that are held for them, and the copies of
//! those that belong into a group's image. A held frame waits where it is, in its sender's pages or
//! in ours.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use handoff::{CHANNEL_BULK, CHANNEL_RECORD_LEN, ChannelRecord};
use vif::back::gather::Checksum;
use vif::back::given::Kind;
use vif::back::hub::Hub;
use violin::cut::{Arrival, Cut, Limits, Verdict};
use violin::id::{Mac, NetworkId, PortId};
use violin::switch::DropReason;
use xen::time::{Instant, now};

use super::state::MAX_VIFS;

/// Frames held at a time, for all ports.
const HELD: usize = 2048;

/// Messages of recorded frames that wait for the link, at most.
const WAITING: usize = 16;

/// A frame that waits for its port's cut.
pub(super) struct Held {
    /// Its place in the hub, held.
    pub(super) frame: u16,
    pub(super) port: PortId,
    pub(super) arrival: Arrival,
}

/// The colours, and what is kept because of them.
pub(super) struct Gate {
    pub(super) cut: Cut,
    held: VecDeque<Held>,
    pub(super) log: Option<ChannelLog>,
}

impl Gate {
    pub(super) fn new() -> Self {
        let limits = Limits { ports: MAX_VIFS, ..Limits::default() };
        Self { cut: Cut::new(limits), held: VecDeque::with_capacity(HELD), log: None }
    }

    /// Whether a frame goes into a port's queue now. If not, it is held.
    ///
    /// # Errors
    /// Why it is dropped.
    pub(super) fn pass(
        &mut self,
        hub: &mut Hub,
        staging: &mut [u8],
        frame: u16,
        to: (PortId, NetworkId, Mac),
        arrival: Arrival,
    ) -> Result<bool, DropReason> {
        match self.cut.judge(to.0, &arrival) {
            Verdict::Deliver => Ok(true),
            Verdict::Record => {
                self.record(hub, staging, frame, to);
                Ok(true)
            }
            Verdict::Hold if self.held.len() == HELD => {
                self.cut.forget(to.0, &arrival);
                Err(DropReason::HeldFull)
            }
            Verdict::Hold => {
                self.hold(hub, Held { frame, port: to.0, arrival });
                Ok(false)
            }
            Verdict::Drop(reason) => Err(reason),
        }
    }

    /// Keeps a frame; it is held in the hub once more.
    pub(super) fn hold(&mut self, hub: &mut Hub, held: Held) {
        hub.hold(held.frame);
        self.held.push_back(held);
    }

    /// Takes the frames out that are held for a port, in their order.
    pub(super) fn take(&mut self, port: PortId) -> Vec<Held> {
        let (taken, kept) = self.held.drain(..).partition::<Vec<_>, _>(|held| held.port == port);
        self.held.extend(kept);
        taken
    }

    /// A port is gone, and what was held for it.
    pub(super) fn close(&mut self, hub: &mut Hub, port: PortId) {
        for held in self.take(port) {
            hub.release(held.frame);
        }
        self.cut.close_port(port);
    }

    /// Copies a frame into the image of the cut that runs.
    pub(super) fn record(
        &mut self,
        hub: &mut Hub,
        staging: &mut [u8],
        frame: u16,
        (_, network, mac): (PortId, NetworkId, Mac),
    ) {
        let Some(log) = &mut self.log else { return };
        hub.read(&[frame], staging, |_, frame, octets| {
            let kind = Kind { checksum: frame.checksum, gso: frame.gso };
            log.add(network, mac, kind, octets.as_deref());
        });
    }

    /// Copies what the guest at a device was given and has not taken into the image of the cut that runs: its
    /// driver drops it when it is restored.
    pub(super) fn record_untaken(
        &mut self,
        hub: &mut Hub,
        staging: &mut [u8],
        device: u16,
        (_, network, mac): (PortId, NetworkId, Mac),
    ) {
        let Some(log) = &mut self.log else { return };
        hub.read_untaken(device, staging, |kind, octets| log.add(network, mac, kind, octets));
    }
}

/// Frames that were on their way at a cut, on their way to the shim.
pub(super) struct ChannelLog {
    began: Instant,
    bulk: Vec<u8>,
    count: u16,
    full: VecDeque<(u16, Vec<u8>)>,
    pub(super) recorded: u64,
    pub(super) missed: u64,
}

impl ChannelLog {
    pub(super) fn new() -> Self {
        Self { began: now(), bulk: Vec::new(), count: 0, full: VecDeque::new(), recorded: 0, missed: 0 }
    }

    /// A frame; it is counted as missed if its octets could not be read.
    fn add(&mut self, network: NetworkId, mac: Mac, kind: Kind, octets: Option<&[u8]>) {
        let Some(octets) = octets else {
            self.missed += 1;
            return;
        };
        if self.bulk.len() + CHANNEL_RECORD_LEN + octets.len() > CHANNEL_BULK {
            self.full.push_back((self.count, core::mem::take(&mut self.bulk)));
            self.count = 0;
        }
        if self.full.len() > WAITING {
            self.missed += 1;
            return;
        }
        let record = ChannelRecord {
            time_us: self.began.elapsed().as_micros() as u64,
            network: network.0,
            mac: mac.0,
            checksum: match kind.checksum {
                Checksum::Unknown => 0,
                Checksum::Validated => 1,
                Checksum::Blank => 2,
            },
            gso: kind.gso.map_or(0, |gso| if gso.v6 { 6 } else { 4 }),
            gso_size: kind.gso.map_or(0, |gso| gso.size),
            len: octets.len() as u32,
        };
        self.bulk.extend_from_slice(&record.emit());
        self.bulk.extend_from_slice(octets);
        self.count += 1;
        self.recorded += 1;
    }

    /// The next message for the shim: how many records, and their octets.
    pub(super) fn take(&mut self) -> Option<(u16, Vec<u8>)> {
        if let Some(full) = self.full.pop_front() {
            return Some(full);
        }
        let count = core::mem::take(&mut self.count);
        (count > 0).then(|| (count, core::mem::take(&mut self.bulk)))
    }
}
