//! An image on its way to another host: one stream with a line of JSON, the contents of its disks, and the
//! image as `xl` has it.
//!
//! What this must never do: leave half an image, or a disk without one.

use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use store::{ExportOptions, ImageId, ImportOptions};

use crate::cli::{Cli, images, print};
use crate::disks::notes::Notes;
use crate::disks::settle_all;
use crate::disks::travel::{self, Arrived, Leaving, Traveller};
use crate::error::{Context, Error, Result};

/// The version of the stream.
const STREAM: u32 = 1;

/// The longest first line, in octets: it has the image's whole report.
const MAX_HEAD: u64 = 64 << 20;

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    luthier_image: u32,
    guest: String,
    disks: Vec<Traveller>,
    /// What the image's manifest says of its snapshot.
    report: Map<String, Value>,
}

/// The disks of images of this host that are asked for: a list for each. There is room here to send them all.
pub(super) fn disks(cli: &Cli, asked: &[u8]) -> Result<Value> {
    let asked: Value = serde_json::from_slice(asked).context("of which images the disks are asked for")?;
    let names = print::items(&asked, "images").iter().filter_map(Value::as_str);
    let mut all: Vec<Vec<Traveller>> = Vec::new();
    for name in names {
        let blame = |e: Error| Error { message: format!("{name} can't be sent: {}", e.message), ..e };
        all.push(travel::travellers(&images::open(cli, name)?).map_err(blame)?);
        travel::check_room_to_leave(&all.iter().flatten().collect::<Vec<_>>()).map_err(blame)?;
    }
    Ok(json!({"disks": all}))
}

/// Whether there is a place here for the disks of all members that are to come.
pub(super) fn room(asked: &[u8]) -> Result<Value> {
    #[derive(Deserialize)]
    struct Asked {
        members: Vec<Member>,
    }
    #[derive(Deserialize)]
    struct Member {
        guest: String,
        disks: Vec<Traveller>,
    }
    let asked: Asked = serde_json::from_slice(asked).context("which disks are to come")?;
    // Each has to fit beside those of the members before it.
    let mut before: Vec<&Traveller> = Vec::new();
    for member in &asked.members {
        before.extend(&member.disks);
        travel::check(&before).map_err(|e| Error {
            message: format!("`{}` can't come here: {}", member.guest, e.message),
            ..e
        })?;
    }
    Ok(json!({"disks": before.len()}))
}

/// Writes an image and its disks.
pub(super) fn export(cli: &Cli, image: &str, out: &mut impl Write) -> Result<()> {
    let image = images::open(cli, image)?;
    let m = image.manifest();
    let leaving = Leaving::of(&image)?;
    let disks = leaving.disks().to_vec();
    let report = m.report.as_object().cloned().unwrap_or_default();
    let head = Head { luthier_image: STREAM, guest: m.guest.clone(), disks, report };
    let mut out = BufWriter::with_capacity(1 << 20, out);
    serde_json::to_writer(&mut out, &head).context("sending the image")?;
    out.write_all(b"\n").context("sending the image")?;
    leaving.send(&mut out)?;
    store::export_xl(&image, &mut out, ExportOptions::default())?;
    out.flush().context("sending the image")
}

/// Makes an image, and its disks, of what [`export`] wrote. `places` are disks that go elsewhere than
/// where they were.
pub(super) fn import(cli: &Cli, places: &[(String, String)], input: impl Read) -> Result<Value> {
    // Who is cut off from the other host takes away what there is, and does not die of it.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGHUP, Arc::new(AtomicBool::new(false)));
    std::fs::create_dir_all(&cli.images).context(format!("making {}", cli.images.display()))?;
    // What one that was killed has left.
    settle_all(&cli.images);
    let mut input = BufReader::with_capacity(1 << 20, input);
    let mut head = head(&mut input)?;
    for (vdev, place) in places {
        let disk = head.disks.iter_mut().find(|d| d.record.vdev == *vdev);
        disk.ok_or_else(|| Error::new(format!("`{}` has no disk {vdev}", head.guest)))?
            .send_to(place.parse()?)?;
    }
    let (id, created) = new_id(cli, &head.guest);
    let disks = Arrived::receive(&cli.images, &id, &head.disks, &mut input)?;
    match disks.records().is_empty() {
        true => head.report.remove("disks"),
        false => head.report.insert("disks".into(), json!(disks.records())),
    };
    // It is read twice, and comes once.
    let stream = store::spool(&cli.images, input)?;
    let options = ImportOptions { id: Some(id), created, report: head.report, ..ImportOptions::default() };
    let image = store::import_xl(&cli.images, stream, options)?;
    Ok(json!({"image": image.manifest().id, "contents": image.manifest().contents()}))
}

fn head(input: &mut impl BufRead) -> Result<Head> {
    let mut line = Vec::new();
    input.take(MAX_HEAD).read_until(b'\n', &mut line).context("reading from the other host")?;
    if line.is_empty() {
        return Err(Error::new("nothing came from the other host"));
    }
    let head: Option<Head> = serde_json::from_slice(&line).ok();
    head.filter(|head| head.luthier_image == STREAM).ok_or_else(|| {
        Error::new("what comes from the other host is no image of Luthier's")
            .hint("Are the same releases of Luthier installed on both hosts?")
    })
}

/// A name that neither an image nor a note of disks has.
fn new_id(cli: &Cli, guest: &str) -> (ImageId, SystemTime) {
    let noted = Notes::of(&cli.images).all();
    let mut created = SystemTime::now();
    loop {
        let id = ImageId::unused(&cli.images, guest, created);
        if !noted.contains(&id) {
            return (id, created);
        }
        created += Duration::from_secs(1);
    }
}

#[cfg(test)]
mod tests;
