//! Writes an image as the stream that stock `xl restore` takes.
//!
//! Every page of the image is sent, zero pages too. The format has a type for pages that are
//! only to be allocated, which would save their 4096 octets each, but Xen promises nothing about
//! the contents of such a page: the guest would get back memory that it never wrote.

use std::io::{BufWriter, Write};

use serde_json::Value;

use super::{
    BATCH, LIBXC_ID, LIBXC_MARKER, LIBXL_IDENT, LIBXL_VERSION, PAGE_SHIFT, TYPE_HVM, XL_BYTE_ORDER, XL_JSON,
    XL_MAGIC, XL_STREAM_V2, libxc, libxl, padded,
};
use crate::PAGE_SIZE;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::manifest::check_uuid;
use crate::reader::Located;
use crate::state::{State, StateKind};

/// Changes to make on the way out.
#[derive(Default)]
pub struct ExportOptions<'a> {
    /// The name that the restored domain gets; the saved one's by default.
    pub name: Option<String>,
    /// The UUID that the restored domain gets; the saved one's by default.
    pub uuid: Option<String>,
    /// Disks that the restored domain gets in place of the saved one's: name (`xvda`) and path. Each must
    /// be one of its configuration.
    pub disks: Vec<(String, String)>,
    /// Called with pages done and pages in all, about once for 4 MiB.
    pub progress: Option<&'a mut dyn FnMut(u64, u64)>,
}

/// What [`export_xl`] wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Pages in the stream.
    pub pages: u64,
    /// Octets of the stream.
    pub octets: u64,
}

/// Writes the stream. Memory is bounded by one batch of pages, 4 MiB.
///
/// Each page and record is checked against its checksum on the way; a damaged one ends the
/// export with [`Error::Damaged`] before it is written, and the stream, which has no end then,
/// is of no use to `xl restore`.
pub fn export_xl(image: &Image, out: impl Write, options: ExportOptions<'_>) -> Result<Exported> {
    let state = image.state()?;
    state.check_complete()?;
    let mut out = Output { out: BufWriter::with_capacity(1 << 18, out), octets: 0 };
    let config = domain_config(&state, &options)?;
    let mut progress = options.progress;

    out.xl_header(&config)?;
    out.put(&LIBXL_IDENT.to_be_bytes())?;
    out.put(&LIBXL_VERSION.to_be_bytes())?;
    out.put(&0u32.to_be_bytes())?;
    out.record(libxl::LIBXC_CONTEXT, &[])?;

    out.put(&LIBXC_MARKER.to_be_bytes())?;
    out.put(&LIBXC_ID.to_be_bytes())?;
    out.put(&3u32.to_be_bytes())?;
    out.put(&[0; 8])?;
    let xen = image.manifest().xen;
    out.put(&TYPE_HVM.to_le_bytes())?;
    out.put(&PAGE_SHIFT.to_le_bytes())?;
    out.put(&[0; 2])?;
    out.put(&xen.major.to_le_bytes())?;
    out.put(&xen.minor.to_le_bytes())?;

    out.state(&state, &[StateKind::CpuidPolicy, StateKind::MsrPolicy])?;
    out.record(libxc::STATIC_DATA_END, &[])?;
    pages(image, &mut out, &mut progress)?;
    // The specification wants the parameters before the context.
    let order = [StateKind::TscInfo, StateKind::HvmParams, StateKind::HvmContext];
    out.state(&state, &order)?;
    out.record(libxc::END, &[])?;
    out.record(libxl::END, &[])?;
    out.out.flush().map_err(stream_error)?;
    Ok(Exported { pages: image.extents().pages(), octets: out.octets })
}

fn pages(
    image: &Image,
    out: &mut Output<impl Write>,
    progress: &mut Option<&mut dyn FnMut(u64, u64)>,
) -> Result<()> {
    let reader = image.slots()?;
    let total = image.extents().pages();
    let mut memory = vec![[0; PAGE_SIZE]; BATCH];
    let mut located = vec![Located::default(); BATCH];
    let mut pfns = image.extents().pfns();
    let mut first = 0;
    while first < total {
        let count = (total - first).min(BATCH as u64) as usize;
        memory.truncate(count);
        located.truncate(count);
        reader.locate(first, &mut located, None)?;
        let mut found = None;
        reader.load(first, &located, &mut memory, &mut |damage| {
            found.get_or_insert(damage);
        })?;
        if let Some(damage) = found {
            return Err(image.damaged(damage));
        }
        let batch: Vec<u64> = pfns.by_ref().take(count).collect();
        let length = 8 + count * (8 + PAGE_SIZE);
        out.put(&libxc::PAGE_DATA.to_le_bytes())?;
        out.put(&(length as u32).to_le_bytes())?;
        out.put(&(count as u32).to_le_bytes())?;
        out.put(&[0; 4])?;
        for pfn in &batch {
            // Type 0: a normal page with contents.
            out.put(&pfn.to_le_bytes())?;
        }
        out.put(memory.as_flattened())?;
        first += count as u64;
        if let Some(progress) = progress {
            progress(first, total);
        }
    }
    Ok(())
}

/// The domain's configuration with the name and UUID that were asked for, and without its domid,
/// which `xl restore` would otherwise insist on.
fn domain_config(state: &State, options: &ExportOptions<'_>) -> Result<Vec<u8>> {
    let kind = StateKind::DomainConfig;
    let bad = |why: String| Error::BadRecord { kind, why };
    let body = state.get(kind).ok_or(Error::MissingRecord(kind))?;
    let mut config: Value = serde_json::from_slice(body).map_err(|e| bad(e.to_string()))?;
    let info = config
        .get_mut("c_info")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| bad("it has no c_info".into()))?;
    info.remove("domid");
    if let Some(name) = &options.name {
        info.insert("name".into(), Value::from(name.as_str()));
    }
    if let Some(uuid) = &options.uuid {
        check_uuid(uuid).map_err(Error::BadMeta)?;
        info.insert("uuid".into(), Value::from(uuid.as_str()));
    }
    for (vdev, path) in &options.disks {
        let disks = config.get_mut("disks").and_then(Value::as_array_mut).into_iter().flatten();
        let disk = disks
            .filter_map(Value::as_object_mut)
            .find(|disk| disk.get("vdev").and_then(Value::as_str) == Some(vdev))
            .ok_or_else(|| bad(format!("it has no disk {vdev}")))?;
        disk.insert("pdev_path".into(), Value::from(path.as_str()));
    }
    let mut text = serde_json::to_vec_pretty(&config).map_err(|e| bad(e.to_string()))?;
    text.push(0);
    Ok(text)
}

struct Output<W: Write> {
    out: BufWriter<W>,
    octets: u64,
}

impl<W: Write> Output<W> {
    fn put(&mut self, octets: &[u8]) -> Result<()> {
        self.octets += octets.len() as u64;
        self.out.write_all(octets).map_err(stream_error)
    }

    fn xl_header(&mut self, config: &[u8]) -> Result<()> {
        let length = config.len() as u32;
        self.put(XL_MAGIC)?;
        for word in [XL_BYTE_ORDER, XL_JSON | XL_STREAM_V2, 0, length + 4, length] {
            self.put(&word.to_le_bytes())?;
        }
        self.put(config)
    }

    fn record(&mut self, kind: u32, body: &[u8]) -> Result<()> {
        self.put(&kind.to_le_bytes())?;
        self.put(&(body.len() as u32).to_le_bytes())?;
        self.put(body)?;
        let padding = padded(body.len()) - body.len();
        self.put([0; 8].get(..padding).unwrap_or_default())
    }

    fn state(&mut self, state: &State, kinds: &[StateKind]) -> Result<()> {
        for &kind in kinds {
            if let Some(body) = state.get(kind) {
                self.record(kind.number(), body)?;
            }
        }
        Ok(())
    }
}

fn stream_error(source: std::io::Error) -> Error {
    Error::StreamIo { doing: "writing the stream", source }
}
