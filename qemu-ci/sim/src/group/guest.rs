//! A simulated guest: it sends numbered frames now and then, takes what its ring gets, and can be
//! suspended. Its memory is what the oracle knows of it: frames sent and received.

use std::collections::VecDeque;

use violin::cut::Arrival;
use violin::id::PortId;

use super::oracle::{FrameNo, Vif};
use crate::rng::Rng;

/// A frame on its way to a vif.
#[derive(Clone, Copy, Debug)]
pub struct Queued {
    /// The frame.
    pub frame: FrameNo,
    /// What the cut needs to know of it.
    pub arrival: Arrival,
}

/// A vif, with the stub's queue for it.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its number in the world.
    pub vif: Vif,
    /// Its place in its switch.
    pub id: PortId,
    /// Its network.
    pub network: u32,
    /// What the guest has put into its ring and the stub has not taken yet.
    pub tx: VecDeque<FrameNo>,
    /// Given to the guest, which has not taken it yet: in its ring.
    pub given: VecDeque<FrameNo>,
    /// Accepted for the guest, not yet in its memory: the hub's queue.
    pub queue: VecDeque<Queued>,
    /// Frames from after the cut: they wait.
    pub held: VecDeque<Queued>,
}

/// A guest.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its number in the world.
    pub number: u32,
    /// Its vifs.
    pub ports: Vec<Port>,
    /// Since when it has been suspended.
    pub suspended: Option<u64>,
    /// When it sends next; never: `u64::MAX`.
    pub send_at: u64,
    /// When its rings are looked at next, if there is anything in them.
    pub rings_at: u64,
}

impl Guest {
    /// A guest with these vifs.
    pub fn new(number: u32, vifs: &[(Vif, PortId, u32)], now_ms: u64) -> Self {
        let port = |&(vif, id, network)| Port {
            vif,
            id,
            network,
            tx: VecDeque::new(),
            given: VecDeque::new(),
            queue: VecDeque::new(),
            held: VecDeque::new(),
        };
        let ports = vifs.iter().map(port).collect();
        Self { number, ports, suspended: None, send_at: now_ms, rings_at: u64::MAX }
    }

    /// Whether it is suspended.
    pub fn is_suspended(&self) -> bool {
        self.suspended.is_some()
    }

    /// Has the rings looked at soon.
    pub fn wake(&mut self, now_ms: u64, rng: &mut Rng) {
        self.rings_at = self.rings_at.min(now_ms + rng.below(3));
    }

    /// When something happens in it of itself.
    pub fn next(&self) -> u64 {
        if self.is_suspended() { u64::MAX } else { self.send_at.min(self.rings_at) }
    }
}
