//! Framing: an 8-byte header, a postcard body, raw bulk.

use serde::{Serialize, de::DeserializeOwned};

use crate::pages::{PAGE_ENTRY_LEN, PAGE_SIZE, PAGES_PER_MESSAGE};

/// Bytes of a [`Header`] on the wire.
pub const HEADER_LEN: usize = 8;

/// The longest body, in bytes. Every message fits; the test `every_message_fits` proves it.
pub const MAX_BODY: usize = 2048;

/// The longest bulk, in bytes: a full message of pages.
pub const MAX_BULK: usize = PAGES_PER_MESSAGE * (PAGE_ENTRY_LEN + PAGE_SIZE);

/// What precedes each message: `body: u16, reserved: u16 (zero), bulk: u32`, little endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length of the postcard body, in bytes; at most [`MAX_BODY`].
    pub body: usize,
    /// Length of the bulk that follows the body, in bytes; at most [`MAX_BULK`].
    pub bulk: usize,
}

/// Why bytes are not a message. None is recoverable: the stream has lost its frame, so the
/// connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The header is not one of ours, or claims more than the bounds.
    BadHeader,
    /// The body is not a message of this version.
    BadBody,
    /// The bulk has not the shape that its message demands.
    BadBulk,
    /// A message to be sent is longer than [`MAX_BODY`].
    TooLong,
}

impl core::fmt::Display for WireError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::BadHeader => "bytes that are no message header",
            Self::BadBody => "a message that does not decode",
            Self::BadBulk => "bulk of the wrong shape",
            Self::TooLong => "a message beyond the length limit",
        })
    }
}

impl core::error::Error for WireError {}

impl Header {
    /// Reads a header and checks its bounds.
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, WireError> {
        let [b0, b1, r0, r1, k0, k1, k2, k3] = *bytes;
        let body = usize::from(u16::from_le_bytes([b0, b1]));
        let bulk = u32::from_le_bytes([k0, k1, k2, k3]) as usize;
        if (r0, r1) != (0, 0) || body == 0 || body > MAX_BODY || bulk > MAX_BULK {
            return Err(WireError::BadHeader);
        }
        Ok(Self { body, bulk })
    }
}

/// Writes header and body into `buf` and returns the bytes to send; the sender appends exactly
/// `bulk` bytes.
///
/// # Errors
/// [`WireError::TooLong`] if the body or the bulk is beyond its bound.
pub fn encode<'a, M: Serialize>(
    message: &M,
    bulk: usize,
    buf: &'a mut [u8; HEADER_LEN + MAX_BODY],
) -> Result<&'a [u8], WireError> {
    let (head, rest) = buf.split_at_mut(HEADER_LEN);
    let body = postcard::to_slice(message, rest).map_err(|_| WireError::TooLong)?.len();
    if bulk > MAX_BULK {
        return Err(WireError::TooLong);
    }
    head[..2].copy_from_slice(&(body as u16).to_le_bytes());
    head[2..4].fill(0);
    head[4..].copy_from_slice(&(bulk as u32).to_le_bytes());
    Ok(&buf[..HEADER_LEN + body])
}

/// Reads a body. Bytes left over are an error: they would be a newer version's fields.
pub fn decode<M: DeserializeOwned>(body: &[u8]) -> Result<M, WireError> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(WireError::BadBody),
    }
}
