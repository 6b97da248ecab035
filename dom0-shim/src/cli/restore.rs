//! `luthier restore`: verified first, then built by stock `xl restore` from a pipe.

use std::io::{BufWriter, Write};
use std::path::Path;

use serde_json::{Value, json};
use store::{ExportOptions, Image};

use super::unfinished::{self, Unfinished};
use super::{Cli, images, print, restore_net, restore_xen};
use crate::disks::restore::{Clones, remarks};
use crate::error::{Error, Result};
use crate::xl;

/// Restores an image.
pub(super) fn run(cli: &Cli, image: &str, name: Option<&str>, paused: bool) -> Result<()> {
    let image = images::open(cli, image)?;
    name_is_free(cli, name.unwrap_or(&image.manifest().guest))?;
    let manifest = image.manifest();
    restore_xen::check(&manifest.id, Some(manifest.xen), restore_xen::here(), "this host")?;
    restore_net::check(cli, &image)?;
    for remark in remarks(&image) {
        eprintln!("luthier: {remark}");
    }
    // A damaged image must be refused before a domain is built from half of it.
    images::verify_all(&image)?;
    let made = make(&image, name, paused)?;
    let said = made.json();
    made.note.end();
    if cli.json {
        print::json_line(&said);
        return Ok(());
    }
    println!(
        "restored {} as domain {}{}",
        print::text(&said, "guest"),
        print::number(&said, "domid"),
        if paused { ", paused: xl unpause it" } else { "" }
    );
    for disk in print::items(&said, "disks") {
        println!(
            "  disk {} is a copy of the image's: {}",
            print::text(disk, "vdev"),
            print::text(disk, "path")
        );
    }
    Ok(())
}

/// Whether no domain of this name runs.
pub(super) fn name_is_free(cli: &Cli, target: &str) -> Result<()> {
    match xl::find(target) {
        Err(_) => Ok(()),
        Ok(_) if unfinished::is_left(&cli.images, target) => {
            Err(Error::new(format!("a restore of `{target}` was killed, and left a domain"))
                .hint("Take it away, unless that restore goes on: luthier rm --unfinished"))
        }
        Ok(_) => Err(Error::new(format!("a domain `{target}` is running here"))
            .hint("Restore a copy beside it (--name, or --name-suffix for a group), or elsewhere, or first: xl destroy it")),
    }
}

/// A domain that was made of an image.
pub(super) struct Made {
    image: String,
    guest: String,
    domid: u16,
    /// Clones of disks that it got: what [`Clones::json`] says.
    disks: Value,
    note: Unfinished,
}

impl Made {
    /// For programs.
    pub(super) fn json(&self) -> Value {
        json!({"image": self.image, "guest": self.guest, "domid": self.domid, "disks": self.disks})
    }
}

/// Makes the domain of an image that was checked. Each page is compared with its checksum once more as
/// it is passed on; a domain with a damaged one does not come to be. It counts as unfinished until its
/// note is ended.
pub(super) fn make(image: &Image, name: Option<&str>, paused: bool) -> Result<Made> {
    let id = &image.manifest().id;
    let target = name.unwrap_or(&image.manifest().guest).to_owned();
    let mut note = Unfinished::begin(image.path().parent().unwrap_or(Path::new(".")), &target, id)?;
    match build(image, name, &target, paused, &mut note) {
        Ok((domid, disks)) => Ok(Made { image: id.clone(), guest: target, domid, disks, note }),
        Err(e) => {
            note.end();
            Err(e)
        }
    }
}

fn build(
    image: &Image,
    name: Option<&str>,
    target: &str,
    paused: bool,
    note: &mut Unfinished,
) -> Result<(u16, Value)> {
    let disks = Clones::of(image, target, &mut |path| note.disk(path))?;
    let options = ExportOptions { disks: disks.paths(), ..images::options(name)? };
    xl::restore(paused, |pipe| {
        let mut out = BufWriter::with_capacity(1 << 20, pipe);
        store::export_xl(image, &mut out, options).map_err(Error::from)?;
        out.flush().map_err(|e| Error::new(format!("writing to xl restore: {e}")))
    })?;
    // It has started: whatever happens now, they are its own.
    let clones = disks.json();
    disks.keep();
    let domid = xl::find(target)?.domid;
    note.domain(domid)?;
    Ok((domid, clones))
}
