//! Reads an xl stream item by item, from any [`Read`], holding one page at a time.
//!
//! Everything in a stream is an allegation: each header field is checked, each length bounded
//! before memory is taken for it, and an error names the record and its offset.

mod octets;

use std::io::{BufReader, ErrorKind, Read};

use super::{
    LIBXC_BIG_ENDIAN, LIBXC_ID, LIBXC_MARKER, LIBXL_BIG_ENDIAN, LIBXL_IDENT, LIBXL_VERSION, MAX_ENTRIES,
    PAGE_SHIFT, PFN_MASK, TYPE_HVM, TYPE_PV, TYPE_SHIFT, XL_BYTE_ORDER, XL_JSON, XL_MAGIC, XL_STREAM_V2,
    libxc, libxl, padded,
};
use crate::error::{Error, Result};
use crate::manifest::XenVersion;
use crate::state::{Cursor, MAX_BODY, StateKind};
use crate::{PAGE_SIZE, Page};

/// What a stream says of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// These are its contents.
    Data(&'a Page),
    /// It is populated, and its contents don't matter.
    Allocated,
    /// It is not populated, or is broken memory. `xl restore` passes over such a frame, and
    /// keeps what an earlier record said of it.
    Invalid,
}

/// One piece of a stream.
#[derive(Debug)]
pub enum Item<'a> {
    /// A record of the guest's state, xl's configuration included. Its form is not checked.
    State(StateKind, Vec<u8>),
    /// libxc's headers: the Xen that saved the guest.
    Xen(XenVersion),
    /// One frame. A stream may have a frame more than once: the last counts.
    Page {
        /// Frame number, below 2^52.
        pfn: u64,
        /// What it holds.
        content: Content<'a>,
    },
    /// The stream's end; nothing comes after it.
    End,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    XlHeader,
    LibxlHeader,
    Libxl,
    LibxcHeaders,
    Libxc,
    Pages,
    Done,
}

/// A reader of an xl stream. After an error, don't go on.
#[derive(Debug)]
pub struct XlReader<R> {
    input: BufReader<R>,
    /// Octets taken so far.
    offset: u64,
    /// The header or record that is being read, and where it starts.
    record: (&'static str, u64),
    phase: Phase,
    /// Entries of the present PAGE_DATA record that were not handed out, last first.
    entries: Vec<u64>,
    page: Box<Page>,
    seen_libxc: bool,
    seen_static_end: bool,
    /// After a VERIFY record, pages only repeat what was sent.
    verify: bool,
}

impl<R: Read> XlReader<R> {
    /// Reads from the start of a file that `xl save` wrote.
    pub fn new(input: R) -> XlReader<R> {
        XlReader {
            input: BufReader::with_capacity(1 << 18, input),
            offset: 0,
            record: ("xl's file header", 0),
            phase: Phase::XlHeader,
            entries: Vec::new(),
            page: Box::new([0; PAGE_SIZE]),
            seen_libxc: false,
            seen_static_end: false,
            verify: false,
        }
    }

    /// Where the header or record that is being read starts, in octets, and its name.
    pub fn position(&self) -> (u64, &'static str) {
        (self.record.1, self.record.0)
    }

    /// The next item; [`Item::End`] at the end and ever after.
    pub fn next_item(&mut self) -> Result<Item<'_>> {
        loop {
            let item = match self.phase {
                Phase::XlHeader => self.xl_header()?,
                Phase::LibxlHeader => self.libxl_header()?,
                Phase::Libxl => self.libxl_record()?,
                Phase::LibxcHeaders => self.libxc_headers()?,
                Phase::Libxc => self.libxc_record()?,
                Phase::Pages => {
                    // Decided here, for a page borrows from `self`.
                    let Some(entry) = self.entries.pop() else {
                        self.phase = Phase::Libxc;
                        continue;
                    };
                    let pfn = entry & PFN_MASK;
                    let kind = entry >> TYPE_SHIFT;
                    if kind == 0 {
                        let mut page = std::mem::replace(&mut self.page, Box::new([0; PAGE_SIZE]));
                        let read = self.exact(&mut page[..]);
                        self.page = page;
                        read?;
                    }
                    if self.verify {
                        continue;
                    }
                    let content = match kind {
                        0 => Content::Data(&self.page),
                        0xe => Content::Allocated,
                        _ => Content::Invalid,
                    };
                    return Ok(Item::Page { pfn, content });
                }
                Phase::Done => return Ok(Item::End),
            };
            if let Some(item) = item {
                return Ok(item);
            }
        }
    }

    fn xl_header(&mut self) -> Result<Option<Item<'static>>> {
        let header: [u8; 48] = self.array()?;
        let (magic, words) = header.split_at(32);
        if magic != XL_MAGIC {
            return Err(self.malformed("it is not a file that `xl save` wrote"));
        }
        let mut at = Cursor(words);
        let mut word = || at.u32().unwrap_or_default();
        let (order, mandatory, _optional, length) = (word(), word(), word(), word());
        if order != XL_BYTE_ORDER {
            return Err(self.malformed("its byte order is not that of x86"));
        }
        if mandatory & !(XL_JSON | XL_STREAM_V2) != 0 {
            return Err(self.unsupported(format!("it has mandatory flags {mandatory:#x} that are not known")));
        }
        if mandatory & XL_STREAM_V2 == 0 {
            return Err(self.unsupported("it is in the format of Xen before 4.6"));
        }
        if length == 0 {
            return Err(self.unsupported("it has no domain configuration"));
        }
        if mandatory & XL_JSON == 0 {
            return Err(self.unsupported("its domain configuration is not JSON"));
        }
        let data = self.body(length as usize)?;
        let mut at = Cursor(&data);
        // What follows the configuration is for later versions of xl, and skipped by all others.
        let config = at.u32().and_then(|n| at.take(n as usize));
        let Some(config) = config else {
            return Err(self.malformed("its configuration is longer than the data that it is in"));
        };
        let config = config.strip_suffix(b"\0").unwrap_or(config).to_vec();
        self.phase = Phase::LibxlHeader;
        Ok(Some(Item::State(StateKind::DomainConfig, config)))
    }

    fn libxl_header(&mut self) -> Result<Option<Item<'static>>> {
        self.start("the libxl header");
        let header: [u8; 16] = self.array()?;
        let ident = u64::from_be_bytes(part(&header, 0));
        let version = u32::from_be_bytes(part(&header, 8));
        let options = u32::from_be_bytes(part(&header, 12));
        if ident != LIBXL_IDENT {
            return Err(self.malformed("it does not start with LibxlFmt"));
        }
        if version != LIBXL_VERSION {
            return Err(self.unsupported(format!("it is of version {version}, not 2")));
        }
        if options & LIBXL_BIG_ENDIAN != 0 {
            return Err(self.unsupported("it is big-endian"));
        }
        self.phase = Phase::Libxl;
        Ok(None)
    }

    fn libxl_record(&mut self) -> Result<Option<Item<'static>>> {
        self.start("a libxl record");
        let (kind, length) = self.record_header()?;
        match kind {
            libxl::END => {
                self.record.0 = "libxl's END record";
                if !self.seen_libxc {
                    return Err(self.malformed("it comes before any LIBXC_CONTEXT"));
                }
                self.phase = Phase::Done;
                Ok(Some(Item::End))
            }
            libxl::LIBXC_CONTEXT => {
                self.record.0 = "the LIBXC_CONTEXT record";
                if self.seen_libxc || length != 0 {
                    return Err(self.malformed("it is not empty, or the second one"));
                }
                self.seen_libxc = true;
                self.phase = Phase::LibxcHeaders;
                Ok(None)
            }
            libxl::EMULATOR_XENSTORE_DATA | libxl::EMULATOR_CONTEXT => Err(self
                .unsupported("the guest has a device model (type \"hvm\"); only PVH guests can be imported")),
            libxl::CHECKPOINT_END | libxl::CHECKPOINT_STATE => Err(self.checkpointed()),
            kind if kind & libxc::OPTIONAL != 0 => self.skip(length),
            kind => Err(self.unknown(kind)),
        }
    }

    fn libxc_headers(&mut self) -> Result<Option<Item<'static>>> {
        self.start("the libxc image header");
        let header: [u8; 24] = self.array()?;
        let version = u32::from_be_bytes(part(&header, 12));
        let options = u16::from_be_bytes(part(&header, 16));
        if u64::from_be_bytes(part(&header, 0)) != LIBXC_MARKER
            || u32::from_be_bytes(part(&header, 8)) != LIBXC_ID
        {
            return Err(self.malformed("it does not start with the marker and XENF"));
        }
        if !(2..=3).contains(&version) {
            return Err(self.unsupported(format!("it is of version {version}, not 2 or 3")));
        }
        if options & LIBXC_BIG_ENDIAN != 0 {
            return Err(self.unsupported("it is big-endian"));
        }
        // Version 2 has no static data.
        self.seen_static_end = version == 2;

        self.start("the libxc domain header");
        let header: [u8; 16] = self.array()?;
        match u32::from_le_bytes(part(&header, 0)) {
            TYPE_HVM => {}
            TYPE_PV => {
                return Err(self.unsupported("the guest is PV; only PVH guests can be imported"));
            }
            other => return Err(self.malformed(format!("the guest's type is {other:#x}"))),
        }
        let shift = u16::from_le_bytes(part(&header, 4));
        if shift != PAGE_SHIFT {
            return Err(self.malformed(format!("its page shift is {shift}, not 12")));
        }
        self.phase = Phase::Libxc;
        Ok(Some(Item::Xen(XenVersion {
            major: u32::from_le_bytes(part(&header, 8)),
            minor: u32::from_le_bytes(part(&header, 12)),
        })))
    }

    fn libxc_record(&mut self) -> Result<Option<Item<'static>>> {
        self.start("a libxc record");
        let (kind, length) = self.record_header()?;
        if let Some(state) = StateKind::from_number(kind) {
            self.record.0 = state.name();
            let body = self.body(length as usize)?;
            // Savers between Xen 4.6 and 4.8 could write empty parameters, to be ignored.
            let empty = body.is_empty() || state == StateKind::HvmParams && body.len() <= 8;
            return Ok((!empty).then_some(Item::State(state, body)));
        }
        match kind {
            libxc::END => {
                self.record.0 = "libxc's END record";
                self.empty(length)?;
                self.phase = Phase::Libxl;
                Ok(None)
            }
            libxc::PAGE_DATA => {
                self.record.0 = "a PAGE_DATA record";
                self.page_data(length)?;
                Ok(None)
            }
            libxc::VERIFY => {
                self.verify = true;
                self.empty(length)?;
                Ok(None)
            }
            libxc::STATIC_DATA_END => {
                self.seen_static_end = true;
                self.empty(length)?;
                Ok(None)
            }
            libxc::CHECKPOINT => Err(self.checkpointed()),
            kind if libxc::is_pv(kind) => {
                Err(self.malformed(format!("it is of type {kind:#x}, which only a PV guest's stream has")))
            }
            kind if kind & libxc::OPTIONAL != 0 => self.skip(length),
            kind => Err(self.unknown(kind)),
        }
    }

    /// Reads and checks the entries of a PAGE_DATA record; the pages follow one by one.
    fn page_data(&mut self, length: u32) -> Result<()> {
        if !self.seen_static_end {
            return Err(self.malformed("it comes before STATIC_DATA_END"));
        }
        if length < 8 {
            return Err(self.malformed("it is shorter than its header"));
        }
        let header: [u8; 8] = self.array()?;
        let count = u32::from_le_bytes(part(&header, 0));
        if count == 0 || count > MAX_ENTRIES {
            return Err(self.malformed(format!("it has {count} entries, not 1 to {MAX_ENTRIES}")));
        }
        if u64::from(length) < 8 + u64::from(count) * 8 {
            return Err(self.malformed(format!("it is too short for its {count} entries")));
        }
        self.entries.clear();
        let mut pages = 0u64;
        for _ in 0..count {
            let entry = u64::from_le_bytes(self.array()?);
            match entry >> TYPE_SHIFT {
                0 => pages += 1,
                0xd..=0xf => {}
                kind => {
                    let pfn = entry & PFN_MASK;
                    return Err(self.malformed(format!(
                        "frame {pfn:#x} has page type {kind:#x}, which no PVH guest's has"
                    )));
                }
            }
            self.entries.push(entry);
        }
        let want = 8 + u64::from(count) * 8 + pages * PAGE_SIZE as u64;
        if u64::from(length) != want {
            return Err(self.malformed(format!(
                "it has {length} octets, and {want} are needed for {pages} pages of data"
            )));
        }
        self.entries.reverse();
        self.phase = Phase::Pages;
        Ok(())
    }
}

/// The `N` octets at `at`; both are constants within the array's length.
fn part<const N: usize>(octets: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(from) = octets.get(at..at.saturating_add(N)) {
        out.copy_from_slice(from);
    }
    out
}
