//! `luthier restore`: verified first, then built by stock `xl restore` from a pipe.

use std::io::{BufWriter, Write};

use serde_json::json;
use store::ExportOptions;

use super::{Cli, images, print, restore_net};
use crate::disks::restore::{Clones, remarks};
use crate::error::{Error, Result};
use crate::xl;

/// Restores an image.
pub(super) fn run(cli: &Cli, image: &str, name: Option<&str>, paused: bool) -> Result<()> {
    let image = images::open(cli, image)?;
    let target = name.unwrap_or(&image.manifest().guest).to_owned();
    if xl::find(&target).is_ok() {
        return Err(Error::new(format!("a domain `{target}` is running"))
            .hint("Restore a copy beside it with --name, or first: xl destroy it"));
    }
    restore_net::check(cli, &image)?;
    for remark in remarks(&image) {
        eprintln!("luthier: {remark}");
    }
    // A damaged image must be refused before a domain is built from half of it.
    images::verify_all(&image)?;
    let disks = Clones::of(&image, &target)?;
    let options = ExportOptions { disks: disks.paths(), ..images::options(name)? };
    xl::restore(paused, |pipe| {
        let mut out = BufWriter::with_capacity(1 << 20, pipe);
        store::export_xl(&image, &mut out, options).map_err(Error::from)?;
        out.flush().map_err(|e| Error::new(format!("writing to xl restore: {e}")))
    })?;
    // It has started: whatever happens now, they are its own.
    let (paths, clones) = (disks.paths(), disks.json());
    disks.keep();
    let domid = xl::find(&target)?.domid;
    if cli.json {
        print::json_line(
            &json!({"image": image.manifest().id, "guest": target, "domid": domid, "disks": clones}),
        );
    } else {
        println!(
            "restored {target} as domain {domid}{}",
            if paused { ", paused: xl unpause it" } else { "" }
        );
        for (vdev, path) in paths {
            println!("  disk {vdev} is a copy of the image's: {path}");
        }
    }
    Ok(())
}
