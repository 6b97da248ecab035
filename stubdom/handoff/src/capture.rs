//! The bulk of a `Captured` answer: for each frame a record, then its octets.

use crate::wire::WireError;

/// The longest bulk of one `Captured`, in octets.
pub const CAPTURE_BULK: usize = 64 * 1024;

/// Octets of a [`CaptureRecord`] on the wire.
pub const CAPTURE_RECORD_LEN: usize = 24;

/// Where a captured frame entered the switch. Each frame is captured once, there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A guest of this host sent it.
    FromGuest,
    /// A peer sent it.
    FromPeer,
}

/// What is said of a frame:
/// `time_us: u64, source: u64, len: u32, caplen: u16, direction: u8, reserved: u8 (zero)`, little
/// endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureRecord {
    /// When it entered, by the stub's clock, in microseconds.
    pub time_us: u64,
    /// Who sent it: domid << 16 | devid of a port, or a peer's id.
    pub source: u64,
    /// Its length. More than the MTU for a frame that carries several segments (GSO).
    pub len: u32,
    /// Octets of it that follow; at most `len` and the capture's snaplen.
    pub caplen: u16,
    /// Where it entered.
    pub direction: Direction,
}

impl CaptureRecord {
    /// The record as octets.
    pub fn emit(&self) -> [u8; CAPTURE_RECORD_LEN] {
        let mut bytes = [0; CAPTURE_RECORD_LEN];
        bytes[..8].copy_from_slice(&self.time_us.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.source.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.len.to_le_bytes());
        bytes[20..22].copy_from_slice(&self.caplen.to_le_bytes());
        bytes[22] = match self.direction {
            Direction::FromGuest => 0,
            Direction::FromPeer => 1,
        };
        bytes
    }

    /// Takes the first record and its octets off a bulk; returns what is left.
    ///
    /// # Errors
    /// [`WireError::BadBulk`] if the bulk ends early, or the record makes no sense.
    pub fn take(bulk: &[u8]) -> Result<(Self, &[u8], &[u8]), WireError> {
        let (record, rest) = bulk.split_first_chunk().ok_or(WireError::BadBulk)?;
        let record = Self::parse(record)?;
        let (octets, rest) = rest.split_at_checked(record.caplen.into()).ok_or(WireError::BadBulk)?;
        Ok((record, octets, rest))
    }

    fn parse(bytes: &[u8; CAPTURE_RECORD_LEN]) -> Result<Self, WireError> {
        let [time @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *bytes;
        let [_, _, _, _, _, _, _, _, source @ .., l0, l1, l2, l3, c0, c1, direction, reserved] = *bytes;
        let direction = match (direction, reserved) {
            (0, 0) => Direction::FromGuest,
            (1, 0) => Direction::FromPeer,
            _ => return Err(WireError::BadBulk),
        };
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let caplen = u16::from_le_bytes([c0, c1]);
        if u32::from(caplen) > len {
            return Err(WireError::BadBulk);
        }
        let (time_us, source) = (u64::from_le_bytes(time), u64::from_le_bytes(source));
        Ok(Self { time_us, source, len, caplen, direction })
    }
}
