//! From the requests of a transmit ring to one frame: `io/netif.h`, "Guest transmit".
//!
//! Each slot is an allegation that was copied out of the ring once. What breaks the protocol is a
//! [`Violation`], and the port is closed: a front end that is right never does it, and after it
//! nobody knows where the next frame begins.

use core::fmt;

use heapless::Vec;
use xen::grant::Gref;
use xen_sys::PAGE_SIZE;
use xen_sys::netif::{self, ExtraInfo, NR_SLOTS_MIN, TX_SLOT, TxRequest};

/// Slots of one frame, at most: what netif.h says that every back end takes.
pub const MAX_FRAGMENTS: usize = NR_SLOTS_MIN;

/// Extra infos of one frame, at most. Only one kind means anything to us, and none may come twice.
const MAX_EXTRAS: u8 = 4;

/// A piece of a frame in a page that its guest granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The grant of the page.
    pub gref: Gref,
    /// First octet within the page.
    pub offset: u16,
    /// Octets, at least 1; the fragment does not cross the page's end.
    pub len: u16,
    /// The request, for its response.
    pub id: u16,
}

/// The frame's segments are yet to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gso {
    /// The most octets of payload of a segment; not 0.
    pub size: u16,
    /// Whether it is TCP over IPv6, not IPv4.
    pub v6: bool,
}

/// What is known of a frame's transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It is in the frame; nobody looked at it.
    #[default]
    Unknown,
    /// It was found to be right.
    Validated,
    /// It is not computed: only the pseudo header's sum is there. The data is as good as validated.
    Blank,
}

/// A frame that a guest sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxFrame {
    /// Where its octets are, in order; at least one.
    pub fragments: Vec<Fragment, MAX_FRAGMENTS>,
    /// Octets in all: the sum of its fragments.
    pub len: u16,
    /// Its transport checksum.
    pub checksum: Checksum,
    /// Set if it is larger than the link takes.
    pub gso: Option<Gso>,
    /// Slots that were extra infos: each wants a response of its own kind.
    pub extras: u8,
}

/// How a front end broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The ring ends where a fragment or an extra info should follow.
    Missing,
    /// More than [`MAX_FRAGMENTS`].
    TooManySlots,
    /// A fragment without octets (XSA-448).
    ZeroFragment,
    /// A fragment that goes beyond its page's end.
    CrossesPage,
    /// The fragments have more octets than the frame.
    SizeMismatch,
    /// An extra info of a kind that was not offered, or twice.
    BadExtra,
    /// Segments of a kind that was not offered, or of no size.
    BadGso,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "a frame that ends before its last slot",
            Self::TooManySlots => "a frame of more than 18 slots",
            Self::ZeroFragment => "a fragment of no octets",
            Self::CrossesPage => "a fragment that crosses its page's end",
            Self::SizeMismatch => "fragments larger than their frame",
            Self::BadExtra => "an extra info that was not offered",
            Self::BadGso => "segmentation that was not offered",
        })
    }
}

/// Gathers the next frame. `pending`: slots that wait, at least 1; `take` copies out the next.
/// Returns the frame and how many slots it took.
///
/// # Errors
/// See [`Violation`]; some slots were taken.
pub fn gather(pending: u32, mut take: impl FnMut() -> [u8; TX_SLOT]) -> Result<(TxFrame, u32), Violation> {
    let mut taken = 0;
    let mut next = || {
        if taken == pending {
            return Err(Violation::Missing);
        }
        taken += 1;
        Ok(take())
    };
    let first = TxRequest::from_slot(next()?);
    let mut frame = TxFrame { len: first.size, checksum: checksum(first.flags), ..TxFrame::default() };
    let mut more_extras = first.flags & netif::NETTXF_EXTRA_INFO != 0;
    while more_extras {
        let slot = next()?;
        let extra = ExtraInfo::from_slot(*slot.first_chunk().ok_or(Violation::BadExtra)?);
        let known = extra.typ == netif::EXTRA_TYPE_GSO && frame.gso.is_none();
        if !known || frame.extras == MAX_EXTRAS {
            return Err(Violation::BadExtra);
        }
        frame.gso = Some(Gso { size: extra.gso_size, v6: gso_type(extra)? });
        frame.extras += 1;
        more_extras = extra.flags & netif::EXTRA_FLAG_MORE != 0;
    }
    // What the first fragment has is known when the others are.
    let mut left = first.size;
    push(&mut frame, first)?;
    let mut more = first.flags & netif::NETTXF_MORE_DATA != 0;
    while more {
        let request = TxRequest::from_slot(next()?);
        left = left.checked_sub(request.size).ok_or(Violation::SizeMismatch)?;
        push(&mut frame, request)?;
        more = request.flags & netif::NETTXF_MORE_DATA != 0;
    }
    if let Some(fragment) = frame.fragments.first_mut() {
        fragment.len = left;
    }
    for fragment in &frame.fragments {
        if fragment.len == 0 {
            return Err(Violation::ZeroFragment);
        }
        if usize::from(fragment.offset) + usize::from(fragment.len) > PAGE_SIZE {
            return Err(Violation::CrossesPage);
        }
    }
    Ok((frame, taken))
}

fn checksum(flags: u16) -> Checksum {
    match (flags & netif::NETTXF_CSUM_BLANK != 0, flags & netif::NETTXF_DATA_VALIDATED != 0) {
        (true, _) => Checksum::Blank,
        (false, true) => Checksum::Validated,
        (false, false) => Checksum::Unknown,
    }
}

fn gso_type(extra: ExtraInfo) -> Result<bool, Violation> {
    match extra.gso_type {
        _ if extra.gso_size == 0 => Err(Violation::BadGso),
        netif::GSO_TYPE_TCPV4 => Ok(false),
        netif::GSO_TYPE_TCPV6 => Ok(true),
        _ => Err(Violation::BadGso),
    }
}

fn push(frame: &mut TxFrame, request: TxRequest) -> Result<(), Violation> {
    let TxRequest { gref, offset, id, size, .. } = request;
    let fragment = Fragment { gref: Gref(gref), offset, len: size, id };
    frame.fragments.push(fragment).map_err(|_| Violation::TooManySlots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MORE: u16 = netif::NETTXF_MORE_DATA;
    const EXTRA: u16 = netif::NETTXF_EXTRA_INFO;

    fn request(id: u16, offset: u16, size: u16, flags: u16) -> [u8; TX_SLOT] {
        TxRequest { gref: 100 + u32::from(id), offset, flags, id, size }.to_slot()
    }

    fn gso(flags: u8, gso_size: u16, gso_type: u8) -> [u8; TX_SLOT] {
        let mut slot = [0; TX_SLOT];
        slot[..8].copy_from_slice(&ExtraInfo { typ: 1, flags, gso_size, gso_type }.to_slot());
        slot
    }

    fn gather_all(slots: &[[u8; TX_SLOT]]) -> Result<(TxFrame, u32), Violation> {
        let mut slots = slots.iter();
        gather(slots.len() as u32, || *slots.next().expect("no more is taken than is pending"))
    }

    #[test]
    fn a_frame_in_one_slot() {
        let (frame, taken) = gather_all(&[request(7, 16, 60, 0), request(8, 0, 60, 0)]).unwrap();
        assert_eq!((taken, frame.len), (1, 60));
        assert_eq!(&frame.fragments[..], [Fragment { gref: Gref(107), offset: 16, len: 60, id: 7 }]);
    }

    #[test]
    fn the_first_fragment_has_what_the_others_leave() {
        let slots = [request(1, 0, 5000, MORE), request(2, 0, 4000, MORE), request(3, 4000, 96, 0)];
        let (frame, taken) = gather_all(&slots).unwrap();
        assert_eq!((taken, frame.len), (3, 5000));
        let lengths: std::vec::Vec<u16> = frame.fragments.iter().map(|f| f.len).collect();
        assert_eq!(lengths, [904, 4000, 96]);
    }

    #[test]
    fn segmentation_comes_between_the_first_slot_and_the_others() {
        let slots = [request(1, 0, 6000, MORE | EXTRA | 1), gso(0, 1448, 2), request(2, 0, 3000, 0)];
        let (frame, taken) = gather_all(&slots).unwrap();
        assert_eq!((taken, frame.extras), (3, 1));
        assert_eq!(frame.gso, Some(Gso { size: 1448, v6: true }));
        assert_eq!(frame.checksum, Checksum::Blank);
        assert_eq!(frame.fragments.len(), 2);
    }

    #[test]
    fn each_violation_has_its_name() {
        use Violation::*;
        let many: std::vec::Vec<_> = (0..19).map(|i| request(i, 0, 40 - i, MORE)).collect();
        let cases: [(&[_], _); 12] = [
            (&[request(1, 0, 100, MORE)], Missing),
            (&[request(1, 0, 100, EXTRA)], Missing),
            (&many, TooManySlots),
            (&[request(1, 0, 0, 0)], ZeroFragment),
            (&[request(1, 0, 100, MORE), request(2, 0, 0, 0)], ZeroFragment),
            (&[request(1, 0, 100, MORE), request(2, 0, 100, 0)], ZeroFragment),
            (&[request(1, 4090, 7, 0)], CrossesPage),
            (&[request(1, 65535, 65535, 0)], CrossesPage),
            (&[request(1, 0, 100, MORE), request(2, 0, 101, 0)], SizeMismatch),
            (&[request(1, 0, 100, EXTRA), gso(1, 1448, 1), gso(0, 1448, 1)], BadExtra),
            (&[request(1, 0, 100, EXTRA), gso(0, 0, 1)], BadGso),
            (&[request(1, 0, 100, EXTRA), gso(0, 1448, 3)], BadGso),
        ];
        for (slots, violation) in cases {
            // Nineteen slots of one octet each but the first.
            let slots: std::vec::Vec<_> = if slots.len() == 19 {
                slots
                    .iter()
                    .enumerate()
                    .map(|(i, _)| request(i as u16, 0, if i == 0 { 60 } else { 1 }, MORE))
                    .collect()
            } else {
                slots.to_vec()
            };
            assert_eq!(gather_all(&slots).unwrap_err(), violation, "{slots:?}");
        }
        let mut unknown = gso(0, 1448, 1);
        unknown[0] = 4;
        assert_eq!(gather_all(&[request(1, 0, 100, EXTRA), unknown]).unwrap_err(), BadExtra);
    }

    proptest! {
        #[test]
        fn whatever_the_slots_say_a_frame_is_whole(slots in prop::collection::vec(any::<[u8; TX_SLOT]>(), 1..40)) {
            if let Ok((frame, taken)) = gather_all(&slots) {
                prop_assert!(taken as usize <= slots.len());
                prop_assert_eq!(taken as usize, frame.fragments.len() + usize::from(frame.extras));
                prop_assert_eq!(frame.fragments.iter().map(|f| u32::from(f.len)).sum::<u32>(), u32::from(frame.len));
                for f in &frame.fragments {
                    prop_assert!(f.len > 0 && usize::from(f.offset) + usize::from(f.len) <= PAGE_SIZE);
                }
            }
        }
    }
}
