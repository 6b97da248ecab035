//! `luthier report`: the rounds that made an image, as a table, as JSON, or as a picture; and
//! several images beside each other.
//!
//! Needs the image alone: no daemon, no Xen.

mod compare;
pub(super) mod cut;
mod draw;
mod figures;
mod style;
mod table;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;

use super::{Cli, images, print};
use crate::error::{Context, Error, Result};
use figures::Figures;

/// Reports of one image, or compares several.
pub(super) fn run(cli: &Cli, names: &[String], output: Option<&Path>) -> Result<()> {
    let read = |name: &String| Figures::read(images::open(cli, name)?.manifest());
    let all = names.iter().map(read).collect::<Result<Vec<_>>>()?;
    if let Some(output) = output {
        let svg = match all.as_slice() {
            [one] => draw::svg(one)?,
            several => compare::svg(several)?,
        };
        if output == Path::new("-") {
            return std::io::stdout().write_all(svg.as_bytes()).context("writing the picture");
        }
        save(output, &svg)?;
    }
    match (all.as_slice(), output) {
        (all, _) if cli.json => all.iter().for_each(|figures| print::json_line(&figures.json())),
        (_, Some(output)) => println!("{}", output.display()),
        ([one], None) => print!("{}", table::table(one)),
        (several, None) => print!("{}", table::comparison(several)),
    }
    Ok(())
}

/// Writes a picture to a new file and says where, or to the standard output.
pub(super) fn write(cli: &Cli, output: &Path, svg: &str) -> Result<()> {
    if output == Path::new("-") {
        return std::io::stdout().write_all(svg.as_bytes()).context("writing the picture");
    }
    save(output, svg)?;
    match cli.json {
        true => print::json_line(&serde_json::json!({"file": output})),
        false => println!("{}", output.display()),
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
