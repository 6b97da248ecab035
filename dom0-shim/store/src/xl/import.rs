//! Makes an image of what stock `xl save` wrote.
//!
//! A stream doesn't say at its start which frames it has, and may have one more than once. So it
//! is read twice: once to learn the frames and the state, once to write the pages.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use super::reader::{Content, Item, XlReader};
use crate::error::{At, Error, Result};
use crate::extents::{Extent, Extents, MAX_PAGES};
use crate::id::ImageId;
use crate::image::Image;
use crate::manifest::{MemoryFigures, Meta, XenVersion};
use crate::state::{State, StateKind};
use crate::writer::ImageWriter;
use crate::{PAGE_SIZE, page_checksum};

/// How to import.
pub struct ImportOptions<'a> {
    /// The image's name; made of the guest's name and `created` by default.
    pub id: Option<ImageId>,
    /// When the guest was saved; the file's modification time is a good guess.
    pub created: SystemTime,
    /// What the manifest's report says besides: the writer's own JSON.
    pub report: serde_json::Map<String, Value>,
    /// Called with pages written and pages in the stream, about once for 4 MiB.
    pub progress: Option<&'a mut dyn FnMut(u64, u64)>,
}

impl Default for ImportOptions<'_> {
    fn default() -> Self {
        ImportOptions { id: None, created: SystemTime::now(), report: serde_json::Map::new(), progress: None }
    }
}

/// Copies a stream that can't be read twice, such as a pipe, to an unnamed temporary file in
/// `dir`, positioned at its start.
pub fn spool(dir: &Path, mut input: impl Read) -> Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = open(dir, flags, Mode::RUSR | Mode::WUSR)
        .map_err(std::io::Error::from)
        .at("creating a temporary file in", dir)?;
    let mut file = File::from(fd);
    std::io::copy(&mut input, &mut file).at("spooling the stream to", dir)?;
    file.rewind().at("rewinding the temporary file in", dir)?;
    Ok(file)
}

/// Reads a stream from `input`'s present position and commits an image of it in `dir`.
///
/// Fails with [`Error::Unsupported`] for PV guests, guests with a device model and checkpointed
/// streams, and with [`Error::Stream`] for a malformed stream, naming the record and its offset.
pub fn import_xl(dir: &Path, mut input: impl Read + Seek, options: ImportOptions<'_>) -> Result<Image> {
    let rewind_error =
        |source| Error::StreamIo { doing: "rewinding the stream (a pipe must be spooled first)", source };
    let start = input.stream_position().map_err(rewind_error)?;
    let survey = Survey::take(&mut input)?;
    input.seek(std::io::SeekFrom::Start(start)).map_err(rewind_error)?;

    let meta = survey.meta(options.created)?;
    let id = options.id.unwrap_or_else(|| ImageId::unused(dir, &meta.guest, options.created));
    let mut writer = ImageWriter::create(dir, id, meta)?;
    writer.set_state(survey.state);

    let mut progress = options.progress;
    let mut done = 0;
    let mut reader = XlReader::new(input);
    loop {
        match reader.next_item()? {
            Item::End => break,
            Item::Page { pfn, content } => {
                put(&mut writer, pfn, content)?;
                done += 1;
                if let Some(progress) = &mut progress
                    && (done % 1024 == 0 || done == survey.entries)
                {
                    progress(done, survey.entries);
                }
            }
            Item::State(..) | Item::Xen(_) => {}
        }
    }
    let mut report = options.report;
    report.insert("imported".into(), "xl save".into());
    report.insert("pages_read".into(), survey.entries.into());
    writer.commit(Value::Object(report))
}

fn put(writer: &mut ImageWriter, pfn: u64, content: Content<'_>) -> Result<()> {
    let Some(slot) = writer.extents().slot_of(pfn) else {
        return match content {
            // A frame that was never populated.
            Content::Invalid => Ok(()),
            _ => Err(Error::StreamIo {
                doing: "reading the stream a second time",
                source: std::io::Error::other("it has changed meanwhile"),
            }),
        };
    };
    match content {
        Content::Data(page) if page == &[0; PAGE_SIZE] => writer.put_zero(slot),
        Content::Data(page) => writer.put_page(slot, page, page_checksum(page)),
        // Its contents don't matter; what an earlier record said must not be lost.
        Content::Allocated if writer.is_absent(slot) => writer.put_zero(slot),
        Content::Allocated | Content::Invalid => Ok(()),
    }
}

/// What the first pass over a stream learns.
pub(crate) struct Survey {
    pub(crate) state: State,
    xen: XenVersion,
    populated: FrameSet,
    /// Page items in the stream.
    entries: u64,
}

impl Survey {
    fn take(input: &mut (impl Read + Seek)) -> Result<Survey> {
        let mut reader = XlReader::new(input);
        let mut survey = Survey {
            state: State::new(),
            xen: XenVersion { major: 0, minor: 0 },
            populated: FrameSet::default(),
            entries: 0,
        };
        loop {
            let (offset, record) = reader.position();
            match reader.next_item()? {
                Item::End => return Ok(survey),
                Item::Xen(xen) => survey.xen = xen,
                Item::State(kind, body) => {
                    if survey.state.get(kind).is_some() {
                        return Err(Error::Stream {
                            offset,
                            record: kind.name(),
                            why: "it is the second of its kind".into(),
                        });
                    }
                    survey.state.insert(kind, body)?;
                }
                Item::Page { pfn, content } => {
                    survey.entries += 1;
                    if !matches!(content, Content::Invalid) && !survey.populated.insert(pfn) {
                        return Err(Error::Unsupported {
                            offset,
                            record,
                            why: format!("frame {pfn:#x} is beyond the largest, {MAX_PAGES:#x}"),
                        });
                    }
                }
            }
        }
    }

    fn meta(&self, created: SystemTime) -> Result<Meta> {
        self.state.check_complete()?;
        let kind = StateKind::DomainConfig;
        let body = self.state.get(kind).unwrap_or_default();
        let config: Value =
            serde_json::from_slice(body).map_err(|e| Error::BadRecord { kind, why: e.to_string() })?;
        let text = |field: &str| {
            let value = config["c_info"][field].as_str();
            value
                .map(str::to_owned)
                .ok_or_else(|| Error::BadRecord { kind, why: format!("it has no c_info.{field}") })
        };
        let number = |field: &str| config["b_info"][field].as_u64();
        let max_kib = number("max_memkb").unwrap_or_default();
        Ok(Meta {
            guest: text("name")?,
            uuid: text("uuid")?,
            created,
            xen: self.xen,
            // libxl leaves out what has its default value.
            vcpus: number("max_vcpus").and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            memory: MemoryFigures { max_kib, target_kib: number("target_memkb").unwrap_or(max_kib) },
            extents: Extents::new(self.populated.extents())?,
            policy: Value::Null,
        })
    }
}

/// A set of frame numbers below [`MAX_PAGES`]: a bitmap, at most 128 MiB.
#[derive(Default)]
struct FrameSet {
    words: Vec<u64>,
}

impl FrameSet {
    /// False when the frame is beyond the largest.
    fn insert(&mut self, pfn: u64) -> bool {
        if pfn >= MAX_PAGES {
            return false;
        }
        let word = (pfn / 64) as usize;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << (pfn % 64);
        }
        true
    }

    fn extents(&self) -> impl Iterator<Item = Extent> {
        // `Extents::new` joins neighbours.
        self.words.iter().zip(0u64..).flat_map(|(&word, i)| {
            (0..64)
                .filter(move |bit| word >> bit & 1 == 1)
                .map(move |bit| Extent { pfn: i * 64 + bit, count: 1 })
        })
    }
}
