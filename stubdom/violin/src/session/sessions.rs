//! All peers of one switch: adding, sealing, timers.

use alloc::vec::Vec;
use core::net::SocketAddr;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroize;

use super::counters::{Counters, Reason};
use super::handshake::{self, INITIATION_LEN, RESPONSE_LEN, Said, Stamp};
use super::limit::Bucket;
use super::noise::{self, KEY_LEN};
use super::peer::Peer;
use super::what::{AddError, NotSealed, What};
use super::{HANDSHAKES_PER_SECOND, RETRY_MOST_MS, switch_id};
use crate::id::{PeerId, SwitchId};
use crate::wire::{Body, HEADER_LEN, OVERHEAD, Repr, TAG_LEN};

/// The least octets that a buffer for [`Sessions::poll_transmit`] must have.
pub const TRANSMIT_LEN: usize = INITIATION_LEN;

/// All peers of one switch and the sessions with them.
pub struct Sessions {
    pub(super) secret: StaticSecret,
    pub(super) public: [u8; KEY_LEN],
    pub(super) id: SwitchId,
    pub(super) mac_key: [u8; KEY_LEN],
    pub(super) rng: ChaCha20Rng,
    /// When our last handshake message was made.
    stamp: Stamp,
    /// The latest time that we were told.
    now: u64,
    peers: Vec<Option<Peer>>,
    /// The peers by id.
    order: Vec<(SwitchId, PeerId)>,
    capacity: usize,
    pub(super) answers: Bucket,
    attempts: Bucket,
    /// No timer ends before.
    next_at: u64,
    /// The peer that `poll_transmit` goes on with.
    cursor: usize,
    /// Drops that belong to no peer.
    pub(super) stray: Counters,
    /// What peers counted that were removed.
    removed: Counters,
}

impl Sessions {
    /// No peers yet; never more than `capacity` (at most 65,536), which is when memory is taken.
    ///
    /// `secret` is the switch's static key, 32 random octets. `seed` is for random numbers and must
    /// not be known to others; `secret` and `incarnation` are mixed in, so that a seed that comes
    /// twice does no harm. `incarnation` must be higher at each start of the switch with this key:
    /// wall-clock time will do.
    pub fn new(mut secret: [u8; 32], mut seed: [u8; 32], capacity: usize, incarnation: u64) -> Self {
        let capacity = capacity.min(1 << 16);
        let mut mixed = noise::hash(&[b"luthier violin 1 seed", &seed, &secret, &incarnation.to_be_bytes()]);
        let rng = ChaCha20Rng::from_seed(mixed);
        let own = StaticSecret::from(secret);
        secret.zeroize();
        seed.zeroize();
        mixed.zeroize();
        let public = PublicKey::from(&own).to_bytes();
        Self {
            secret: own,
            public,
            id: switch_id(&public),
            mac_key: handshake::mac_key(&public),
            rng,
            stamp: Stamp { incarnation, number: 0 },
            now: 0,
            peers: Vec::with_capacity(capacity),
            order: Vec::with_capacity(capacity),
            capacity,
            answers: Bucket::new(HANDSHAKES_PER_SECOND),
            attempts: Bucket::new(HANDSHAKES_PER_SECOND),
            next_at: u64::MAX,
            cursor: 0,
            stray: Counters::default(),
            removed: Counters::default(),
        }
    }

    /// This switch.
    pub fn id(&self) -> SwitchId {
        self.id
    }

    /// The public key that peers must know.
    pub fn public_key(&self) -> [u8; 32] {
        self.public
    }

    /// Introduces a peer: it is configured, or a member that has proved itself has named it. One that
    /// is known already keeps its place, address and session.
    ///
    /// # Errors
    /// [`AddError`].
    pub fn add_peer(&mut self, key: [u8; 32], address: SocketAddr) -> Result<PeerId, AddError> {
        let id = switch_id(&key);
        if key == self.public {
            return Err(AddError::OwnKey);
        }
        let at = match self.order.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(at) => {
                let known = self.order.get(at).map(|(_, peer)| *peer).ok_or(AddError::IdTaken)?;
                let same = self.slot(known).is_some_and(|peer| peer.key == key);
                return if same { Ok(known) } else { Err(AddError::IdTaken) };
            }
            Err(at) => at,
        };
        if id == self.id {
            return Err(AddError::IdTaken);
        }
        let place = match self.peers.iter().position(Option::is_none) {
            Some(place) => place,
            None if self.peers.len() < self.capacity => {
                self.peers.push(None);
                self.peers.len() - 1
            }
            None => return Err(AddError::Full),
        };
        let peer = PeerId(u16::try_from(place).map_err(|_| AddError::Full)?);
        if let Some(slot) = self.peers.get_mut(place) {
            *slot = Some(Peer::new(id, key, address));
        }
        self.order.insert(at, (id, peer));
        Ok(peer)
    }

    /// Forgets a peer and wipes its keys. Its id may be given to another.
    pub fn remove_peer(&mut self, peer: PeerId) {
        if let Some(gone) = self.peers.get_mut(usize::from(peer.0)).and_then(Option::take) {
            self.order.retain(|(_, other)| *other != peer);
            self.removed.add(&gone.counters);
        }
    }

    /// The peer that is this switch.
    pub fn peer(&self, id: SwitchId) -> Option<PeerId> {
        let at = self.order.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.order.get(at).map(|(_, peer)| *peer)
    }

    /// All peers, by id.
    pub fn peers(&self) -> impl Iterator<Item = (SwitchId, PeerId)> + '_ {
        self.order.iter().copied()
    }

    /// The switch that this peer is.
    pub fn switch(&self, peer: PeerId) -> Option<SwitchId> {
        Some(self.slot(peer)?.id)
    }

    /// The peer's public key, to introduce it to others.
    pub fn key_of(&self, peer: PeerId) -> Option<[u8; 32]> {
        Some(self.slot(peer)?.key)
    }

    /// Where the peer was last seen, or is configured to be.
    pub fn address(&self, peer: PeerId) -> Option<SocketAddr> {
        Some(self.slot(peer)?.address)
    }

    /// Tells where the peer is. Its next genuine datagram tells again: an address follows the newest
    /// datagram that was opened under the newest key (see the module for what that allows).
    pub fn set_address(&mut self, peer: PeerId, address: SocketAddr) {
        if let Some(peer) = self.slot_mut(peer) {
            peer.address = address;
        }
    }

    /// Whether there is a session to seal with.
    pub fn is_established(&self, peer: PeerId) -> bool {
        self.slot(peer).and_then(|peer| peer.current.as_ref()).is_some_and(|key| key.is_usable(self.now))
    }

    /// Begins a handshake, when there is no session and none was begun.
    pub fn connect(&mut self, now_ms: u64, peer: PeerId) {
        let now = self.at(now_ms);
        if !self.is_established(peer) {
            self.with(peer, |peer| peer.want_handshake(now));
        }
    }

    /// Seals what is in `buf`: [`HEADER_LEN`] octets of room, `payload_len` octets of payload,
    /// [`TAG_LEN`] octets of room. Returns the datagram's length and where to send it.
    ///
    /// # Errors
    /// [`NotSealed`]; `buf` is then as it was.
    pub fn seal(
        &mut self,
        now_ms: u64,
        peer: PeerId,
        what: What,
        buf: &mut [u8],
        payload_len: usize,
    ) -> Result<(usize, SocketAddr), NotSealed> {
        let now = self.at(now_ms);
        let own = self.id;
        let slot = self.slot_mut(peer).ok_or(NotSealed::UnknownPeer)?;
        let len = payload_len.checked_add(OVERHEAD).ok_or(NotSealed::TooLong)?;
        let datagram = buf.get_mut(..len).ok_or(NotSealed::TooLong)?;
        let Some(key) = slot.current.as_mut().filter(|key| key.is_usable(now)) else {
            slot.counters.unsealed_no_session += 1;
            self.with(peer, |peer| peer.want_handshake(now));
            return Err(NotSealed::NoSession);
        };
        let (head, rest) = datagram.split_first_chunk_mut::<HEADER_LEN>().ok_or(NotSealed::TooLong)?;
        let (payload, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(NotSealed::TooLong)?;
        let body = match what {
            What::Frame { network, epoch, flags } => {
                Body::Frame { key: key.remote, counter: key.next(), network, epoch, flags }
            }
            What::Control => Body::Control { key: key.remote, counter: key.next() },
            What::Group => Body::Group { key: key.remote, counter: key.next() },
        };
        Repr { source: own, destination: slot.id, body }.emit(head);
        *tag = key.seal(head, payload).ok_or(NotSealed::TooLong)?;
        let worn = key.is_worn(now);
        let address = slot.address;
        slot.counters.sealed += 1;
        slot.counters.sealed_octets += payload_len as u64;
        // An empty datagram says that we are there, and asks for nothing.
        let began = (payload_len > 0 && slot.said(now)) | (worn && slot.want_handshake(now));
        if began {
            let due = slot.due();
            self.next_at = self.next_at.min(due);
        }
        Ok((len, address))
    }

    /// Writes the next datagram that must go out of itself (handshakes and what confirms them) into
    /// `buf`, of [`TRANSMIT_LEN`] octets or more; returns its length and where to send it. To be called
    /// until `None` after whatever was opened or not sealed, and at [`poll_at`](Self::poll_at).
    pub fn poll_transmit(&mut self, now_ms: u64, buf: &mut [u8]) -> Option<(usize, SocketAddr)> {
        let now = self.at(now_ms);
        if now < self.next_at {
            return None;
        }
        let buf = buf.first_chunk_mut::<TRANSMIT_LEN>()?;
        while self.cursor < self.peers.len() {
            if let Some(sent) = self.transmit(now, self.cursor, buf) {
                return Some(sent);
            }
            self.cursor += 1;
        }
        self.cursor = 0;
        self.next_at = self.peers.iter().flatten().map(Peer::due).min().unwrap_or(u64::MAX);
        None
    }

    /// When [`poll_transmit`](Self::poll_transmit) is to be called next, in milliseconds.
    pub fn poll_at(&self) -> Option<u64> {
        (self.next_at != u64::MAX).then_some(self.next_at)
    }

    /// What was counted for a peer.
    pub fn peer_counters(&self, peer: PeerId) -> Option<&Counters> {
        Some(&self.slot(peer)?.counters)
    }

    /// What was counted in all: for each peer, for those removed, and for nobody known.
    pub fn counters(&self) -> Counters {
        let mut sum = self.stray.clone();
        sum.add(&self.removed);
        for peer in self.peers.iter().flatten() {
            sum.add(&peer.counters);
        }
        sum
    }

    /// What one peer has to send now.
    fn transmit(
        &mut self,
        now: u64,
        place: usize,
        buf: &mut [u8; TRANSMIT_LEN],
    ) -> Option<(usize, SocketAddr)> {
        let id = PeerId(u16::try_from(place).ok()?);
        let peer = self.peers.get_mut(place)?.as_mut()?;
        peer.tick(now);
        if let Some(answer) = peer.answer.take() {
            buf.first_chunk_mut::<RESPONSE_LEN>()?.copy_from_slice(&answer.datagram);
            peer.counters.responses += 1;
            return Some((RESPONSE_LEN, answer.to));
        }
        if peer.confirm_due(now) {
            return self.seal(now, id, What::Control, buf, 0).ok();
        }
        if peer.attempt.as_ref().is_none_or(|attempt| now < attempt.next_at) {
            return None;
        }
        if !self.attempts.take(now) {
            peer.attempt.as_mut()?.next_at = now.saturating_add(1000 / u64::from(HANDSHAKES_PER_SECOND));
            return None;
        }
        let (said, ephemeral) = self.say();
        let header = Repr { source: self.id, destination: self.slot(id)?.id, body: Body::Initiation };
        let key = self.slot(id)?.key;
        let written = handshake::initiate(&self.secret, ephemeral, &key, header, said, buf);
        let random = self.rng.next_u32();
        let peer = self.slot_mut(id)?;
        let attempt = peer.attempt.as_mut()?;
        let Ok(initiator) = written else {
            // A key that nobody can hold: it is tried in vain until it is given up.
            attempt.next_at = now.saturating_add(RETRY_MOST_MS);
            return None;
        };
        attempt.sent(now, initiator, said.index, random);
        peer.counters.initiations += 1;
        Some((INITIATION_LEN, peer.address))
    }

    /// What our next handshake message says, and an ephemeral key.
    pub(super) fn say(&mut self) -> (Said, [u8; KEY_LEN]) {
        self.stamp.number += 1;
        let mut ephemeral = [0; KEY_LEN];
        self.rng.fill_bytes(&mut ephemeral);
        (Said { index: self.rng.next_u32(), stamp: self.stamp }, ephemeral)
    }

    /// Time does not go back.
    pub(super) fn at(&mut self, now_ms: u64) -> u64 {
        self.now = self.now.max(now_ms);
        self.now
    }

    pub(super) fn slot(&self, peer: PeerId) -> Option<&Peer> {
        self.peers.get(usize::from(peer.0))?.as_ref()
    }

    pub(super) fn slot_mut(&mut self, peer: PeerId) -> Option<&mut Peer> {
        self.peers.get_mut(usize::from(peer.0))?.as_mut()
    }

    /// Changes a peer and looks at its timers afterwards.
    pub(super) fn with<T>(&mut self, peer: PeerId, change: impl FnOnce(&mut Peer) -> T) -> Option<T> {
        let slot = self.peers.get_mut(usize::from(peer.0))?.as_mut()?;
        let result = change(slot);
        self.next_at = self.next_at.min(slot.due());
        Some(result)
    }

    /// Counts a drop, for the peer if there is one.
    pub(super) fn count(&mut self, peer: Option<PeerId>, reason: Reason) -> Reason {
        match peer.and_then(|peer| self.slot_mut(peer)) {
            Some(peer) => peer.counters.drop(reason),
            None => self.stray.drop(reason),
        }
        reason
    }
}
