//! Compares an image with a stream of stock `xl save`, octet for octet.
//!
//! It is how we know that an image is right: of one guest in one suspended state, `xl save` and
//! a snapshot must have the same pages and the same state.

use std::io::Read;

use super::reader::{Content, Item, XlReader};
use crate::PAGE_SIZE;
use crate::error::Result;
use crate::image::Image;
use crate::state::{Cursor, State, StateKind, parse_hvm_params};

/// Frames that a list in a report names.
const LISTED: usize = 10;

/// Frames of one sort: how many, and the first 10 in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frames {
    /// How many there are.
    pub count: u64,
    /// The lowest 10.
    pub first: Vec<u64>,
}

impl Frames {
    fn add(&mut self, pfn: u64) {
        self.count += 1;
        if self.first.len() < LISTED {
            self.first.push(pfn);
        }
    }
}

/// What [`diff`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiffReport {
    /// Frames that both have, with contents that were compared.
    pub compared: u64,
    /// Those whose contents differ.
    pub differing: Frames,
    /// Frames that the stream only allocates: nothing to compare.
    pub allocated_only: u64,
    /// Frames that the stream doesn't populate.
    pub only_in_image: Frames,
    /// Frames that the image doesn't have.
    pub only_in_stream: Frames,
    /// State records by kind, and whether both have the same. HVM parameters are compared as a
    /// set. A kind that neither has is left out, and so is the configuration, in which xl's
    /// own writing varies.
    pub records: Vec<(StateKind, bool)>,
    /// Pieces of the HVM context that differ, as (typecode, instance): see
    /// `public/arch-x86/hvm/save.h`. At most 10.
    pub context_differs: Vec<(u16, u16)>,
}

impl DiffReport {
    /// Whether memory and all records are the same.
    pub fn is_same(&self) -> bool {
        self.is_same_memory() && self.records.iter().all(|&(_, same)| same)
    }

    /// Whether both have the same frames with the same contents.
    pub fn is_same_memory(&self) -> bool {
        self.differing.count + self.only_in_image.count + self.only_in_stream.count == 0
    }
}

/// What the stream said last of a slot.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Nothing,
    Allocated,
    Same,
    Differs,
}

/// Compares an image with a stream. Reads the stream once and needs an octet of memory a page.
pub fn diff(image: &Image, stream: impl Read) -> Result<DiffReport> {
    let mut report = DiffReport::default();
    let slots = image.slots()?;
    let ours = image.state()?;
    let mut theirs = State::new();
    let pages = usize::try_from(image.extents().pages()).unwrap_or(usize::MAX);
    let mut last = vec![Last::Nothing; pages];
    let mut page = [0; PAGE_SIZE];
    let mut extra = std::collections::BTreeSet::new();

    let mut reader = XlReader::new(stream);
    loop {
        match reader.next_item()? {
            Item::End => break,
            Item::Xen(_) => {}
            Item::State(kind, body) => theirs.insert(kind, body)?,
            Item::Page { pfn, content } => {
                let slot = image.extents().slot_of(pfn);
                let entry = slot.and_then(|s| usize::try_from(s).ok()).and_then(|s| last.get_mut(s));
                match (content, slot, entry) {
                    (Content::Invalid, ..) => {}
                    (Content::Data(theirs), Some(slot), Some(entry)) => {
                        slots.read(slot, &mut page)?;
                        *entry = match *theirs == page {
                            true => Last::Same,
                            false => Last::Differs,
                        };
                    }
                    (Content::Allocated, Some(_), Some(entry)) => {
                        if *entry == Last::Nothing {
                            *entry = Last::Allocated;
                        }
                    }
                    _ => {
                        extra.insert(pfn);
                    }
                }
            }
        }
    }
    for (pfn, last) in image.extents().pfns().zip(&last) {
        match last {
            Last::Nothing => report.only_in_image.add(pfn),
            Last::Allocated => report.allocated_only += 1,
            Last::Same => report.compared += 1,
            Last::Differs => {
                report.compared += 1;
                report.differing.add(pfn);
            }
        }
    }
    for pfn in extra {
        report.only_in_stream.add(pfn);
    }
    compare_state(&ours, &theirs, &mut report);
    Ok(report)
}

fn compare_state(ours: &State, theirs: &State, report: &mut DiffReport) {
    for kind in StateKind::ALL {
        let (a, b) = (ours.get(kind), theirs.get(kind));
        let same = match kind {
            StateKind::DomainConfig => continue,
            StateKind::HvmParams => params(a) == params(b),
            _ => a == b,
        };
        if a.is_some() || b.is_some() {
            report.records.push((kind, same));
        }
        if kind == StateKind::HvmContext && !same {
            let (a, b) = (pieces(a.unwrap_or_default()), pieces(b.unwrap_or_default()));
            let changed = a.iter().filter(|p| !b.contains(p));
            let missing = b.iter().filter(|p| !a.iter().any(|q| q.0 == p.0));
            report.context_differs = changed.chain(missing).map(|p| p.0).take(LISTED).collect();
        }
    }
}

fn params(body: Option<&[u8]>) -> Option<Vec<(u64, u64)>> {
    let mut params = parse_hvm_params(body?)?;
    params.sort_unstable();
    Some(params)
}

/// A piece of the HVM context: (typecode, instance) and the body.
type Piece<'a> = ((u16, u16), &'a [u8]);

/// The pieces of an HVM context, each a `struct hvm_save_descriptor` (`public/hvm/save.h`) and a
/// body; as many as are well-formed.
fn pieces(context: &[u8]) -> Vec<Piece<'_>> {
    let mut at = Cursor(context);
    let mut next = || {
        let (typecode, instance, length) = (at.u16()?, at.u16()?, at.u32()?);
        Some(((typecode, instance), at.take(length as usize)?))
    };
    std::iter::from_fn(&mut next).collect()
}
