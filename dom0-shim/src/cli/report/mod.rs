//! `luthier report`: the rounds that made an image, as a table, as JSON, or as a picture.
//!
//! Needs the image alone: no daemon, no Xen.

mod draw;
mod figures;
mod table;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::{Cli, images, print};
use crate::error::{Context, Error, Result};
use figures::Figures;

/// Reports.
pub(super) fn run(cli: &Cli, image: &str, output: Option<&Path>) -> Result<()> {
    let image = images::open(cli, image)?;
    let figures = Figures::read(image.manifest())?;
    let Some(output) = output else {
        if cli.json {
            print::json_line(&figures.json());
        } else {
            print!("{}", table::table(&figures));
        }
        return Ok(());
    };
    let svg = draw::svg(&figures)?;
    if output == Path::new("-") {
        return std::io::stdout().write_all(svg.as_bytes()).context("writing the picture");
    }
    save(output, &svg)?;
    if cli.json {
        print::json_line(&figures.json());
    } else {
        println!("{}", output.display());
    }
    Ok(())
}

/// Writes a new file: nobody's picture is overwritten by mistake.
fn save(path: &Path, svg: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(|e| {
        let error = Error::new(format!("making {}: {e}", path.display()));
        match e.kind() {
            ErrorKind::AlreadyExists => error.hint("Remove it first, or name another file"),
            _ => error,
        }
    })?;
    file.write_all(svg.as_bytes()).context(format!("writing {}", path.display()))
}
