//! A network whose guests are being restored together: what they send waits in their rings until all
//! are there, and each is first given what was on its way to it at the cut.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use handoff::ChannelRecord;
use vif::back::gather::Checksum;
use violin::id::{Mac, NetworkId, PortId};
use violin::segment::Segments;
use xen::page::PagePool;

use super::state::State;
use super::{Net, now_ms};

/// How long a network stays frozen when nobody thaws it, in milliseconds.
const FROZEN_MS: u64 = 60_000;

/// Octets that wait for guests to come, at most.
const WAITING: usize = 4 << 20;

/// What belongs to a restore.
#[derive(Default)]
pub(super) struct Restoring {
    /// Networks that are frozen, and until when at most.
    frozen: heapless::Vec<(NetworkId, u64), 8>,
    /// When a guest connected last, in milliseconds.
    connected: u64,
    frames: VecDeque<(ChannelRecord, Vec<u8>)>,
    octets: usize,
}

impl Net {
    /// Freezes a network, or thaws it. `false`: too many are frozen.
    pub(super) fn freeze(&self, network: u32, on: bool) -> bool {
        self.state.borrow_mut().freeze(NetworkId(network), on, now_ms())
    }

    /// Takes frames for guests that are yet to connect. Returns how many found no room.
    pub(crate) fn inject(&self, mut bulk: &[u8], count: u16) -> u16 {
        let mut state = self.state.borrow_mut();
        let mut refused = 0;
        for _ in 0..count {
            let Ok((record, octets, rest)) = ChannelRecord::take(bulk) else { return refused.max(1) };
            bulk = rest;
            let restoring = &mut state.restoring;
            if restoring.octets + octets.len() > WAITING {
                refused += 1;
                continue;
            }
            restoring.octets += octets.len();
            restoring.frames.push_back((record, octets.into()));
        }
        refused
    }
}

impl State {
    fn freeze(&mut self, network: NetworkId, on: bool, now: u64) -> bool {
        let before = self.restoring.frozen.len();
        self.restoring.frozen.retain(|(frozen, _)| *frozen != network);
        if !on && self.restoring.frozen.len() < before {
            // A Linux guest drops what it sends to an address that nobody tells it within 3 s.
            let waited = now.saturating_sub(self.restoring.connected);
            log::info!("network {network} goes on, {waited} ms after a guest connected last");
        }
        let room = !on || self.restoring.frozen.push((network, now.saturating_add(FROZEN_MS))).is_ok();
        if !on {
            // Whom it was for has not come: nobody else may have it.
            self.restoring.frames.retain(|(record, _)| record.network != network.0);
            self.restoring.octets = self.restoring.frames.iter().map(|(_, octets)| octets.len()).sum();
        }
        self.apply_freezes();
        room
    }

    /// Thaws what was forgotten.
    pub(super) fn thaw_late(&mut self, now: u64) {
        while let Some((network, _)) = self.restoring.frozen.iter().find(|(_, until)| *until <= now).copied()
        {
            log::warn!("network {network} was frozen for a minute, and goes on");
            self.freeze(network, false, now);
        }
    }

    /// Has each port know whether its network is frozen.
    pub(super) fn apply_freezes(&mut self) {
        for index in 0..self.devices.len() as u16 {
            let port = self.device(index).and_then(|device| device.port);
            let network = port.and_then(|port| self.switch.network_of(port));
            let frozen =
                network.is_some_and(|network| self.restoring.frozen.iter().any(|(id, _)| *id == network));
            self.hub.freeze(index, frozen);
        }
    }

    /// A guest has connected: gives it what was on its way to it, before anything else.
    pub(super) fn give_injected(&mut self, pool: &'static PagePool, index: u16) {
        self.restoring.connected = now_ms();
        let Some(device) = self.device(index) else { return };
        let (Some(port), mac) = (device.port, device.mac) else { return };
        let Some(network) = self.switch.network_of(port) else { return };
        let mine = |record: &ChannelRecord| record.network == network.0 && Mac(record.mac) == mac;
        let all = core::mem::take(&mut self.restoring.frames);
        let (given, kept): (VecDeque<_>, VecDeque<_>) = all.into_iter().partition(|(record, _)| mine(record));
        self.restoring.frames = kept;
        for (record, mut octets) in given {
            self.restoring.octets = self.restoring.octets.saturating_sub(octets.len());
            if self.give(pool, port, &record, &mut octets).is_none() {
                log::warn!("a frame of {} octets could not be given to {mac}", octets.len());
            }
        }
    }

    fn give(
        &mut self,
        pool: &'static PagePool,
        port: PortId,
        record: &ChannelRecord,
        octets: &mut [u8],
    ) -> Option<()> {
        let now = now_ms();
        let checksum = match record.checksum {
            0 => Checksum::Unknown,
            1 => Checksum::Validated,
            _ => Checksum::Blank,
        };
        if record.gso == 0 {
            let mut page = pool.take()?;
            page.get_mut(..octets.len())?.copy_from_slice(octets);
            let frame = self.hub.own(page, 0, octets.len() as u16, checksum, now)?;
            self.enqueue(pool, frame, port, now);
            self.hub.release(frame);
            return Some(());
        }
        let mtu = self.switch.network_of(port).and_then(|id| self.switch.mtu(id))?;
        let longest = (usize::from(mtu) + violin::frame::HEADER_LEN).min(4096);
        let mut segments = Segments::new(octets, record.gso_size, record.gso == 6, longest).ok()?;
        for _ in 0..segments.count() {
            let mut page = pool.take()?;
            let len = segments.next_into(&mut page.0)?;
            let frame = self.hub.own(page, 0, len as u16, Checksum::Blank, now)?;
            self.enqueue(pool, frame, port, now);
            self.hub.release(frame);
        }
        Some(())
    }
}
