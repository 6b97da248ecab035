//! The commands that need only files.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use store::{ExportOptions, Image, ImportOptions, Manifest};

use super::group::{self, Membership, Named};
use super::{Cli, print, unfinished};
use crate::api::Round;
use crate::disks;
use crate::error::{Context, Error, Result};

/// Opens an image by name or path.
pub(super) fn open(cli: &Cli, image: &str) -> Result<Image> {
    Image::open(&path(cli, image)?).map_err(Error::from)
}

/// The path of an image by name or path.
fn path(cli: &Cli, image: &str) -> Result<PathBuf> {
    match group::resolve(cli, image)? {
        Named::Image(path) => group::kept(cli, image, path),
        Named::Group(_) => Err(Error::new(format!("`{image}` is a group, not an image"))
            .hint(format!("`luthier show {image}` names its images"))),
    }
}

/// A bar on a terminal, nothing elsewhere.
pub(super) fn bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(0).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} pages, {eta} left") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Does something with all pages of an image, with progress.
fn with_bar<T>(
    what: &'static str,
    work: impl FnOnce(&mut dyn FnMut(u64, u64)) -> store::Result<T>,
) -> Result<T> {
    let bar = bar(what);
    let done = work(&mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    done.map_err(Error::from)
}

/// Checks the whole image, with progress.
pub(super) fn verify_all(image: &Image) -> Result<store::Verified> {
    with_bar("verifying", |progress| image.verify(progress))
}

/// The names of the images that an image builds on, its parent first.
fn chain(image: &Image) -> Vec<&str> {
    let manifests = std::iter::once(image.manifest()).chain(image.parents());
    manifests.filter_map(parent).collect()
}

fn parent(manifest: &Manifest) -> Option<&str> {
    manifest.parent.as_ref().map(|parent| parent.image.as_str())
}

/// `luthier list`
pub(super) fn list(cli: &Cli, only_groups: bool) -> Result<()> {
    let groups = group::groups(cli)?;
    if only_groups {
        group::list(cli, &groups, true);
        return Ok(());
    }
    let of = Membership::of(&groups);
    let mut listed = Vec::new();
    if cli.images.exists() {
        listed = store::list(&cli.images).context("listing the images")?;
        listed.extend(store::group::keep::kept(&cli.images).context("listing the images of groups")?);
    }
    if cli.json {
        let all: Vec<Value> = listed
            .iter()
            .map(|l| match &l.manifest {
                Ok(m) => json!({"image": l.id.as_str(), "path": l.path, "guest": m.guest, "created": m.created, "pages": m.pages, "zero_pages": m.zero_pages, "parent": parent(m), "group": of.group(m), "disk_octets": l.disk_octets}),
                Err(e) => json!({"image": l.id.as_str(), "path": l.path, "error": e.to_string(), "disk_octets": l.disk_octets}),
            })
            .collect();
        print::json_line(&all);
        return Ok(());
    }
    if listed.is_empty() && groups.is_empty() {
        println!("no images in {}", cli.images.display());
        name_unfinished(cli);
        return Ok(());
    }
    // Who has no groups is not told of them.
    let (width, title) = if groups.is_empty() { (0, "") } else { (40, "GROUP") };
    let line = |line: String| println!("{}", line.trim_end());
    let head = ("IMAGE", "CREATED", "MEMORY", "ON DISK", "PARENT");
    line(format!("{:40} {:20} {:>10} {:>10}  {:width$}  {title}", head.0, head.1, head.2, head.3, head.4));
    for l in &listed {
        match &l.manifest {
            Ok(m) => line(format!(
                "{:40} {:20} {:>10} {:>10}  {:width$}  {}",
                l.id.as_str(),
                m.created,
                print::bytes(m.pages * m.page_size),
                print::bytes(l.disk_octets),
                parent(m).unwrap_or("-"),
                if groups.is_empty() { "" } else { of.group(m).unwrap_or("-") },
            )),
            Err(e) => println!("{:40} unusable: {e}", l.id.as_str()),
        }
    }
    group::list(cli, &groups, false);
    name_unfinished(cli);
    Ok(())
}

/// Names what restores that were killed have left.
fn name_unfinished(cli: &Cli) {
    for left in unfinished::all(&cli.images) {
        println!("unfinished restore: {left}; if nobody restores now: luthier rm --unfinished");
    }
}

/// `luthier show`
pub(super) fn show(cli: &Cli, image: &str, output: Option<&Path>) -> Result<()> {
    let image = match group::resolve(cli, image)? {
        Named::Group(place) => return group::show(cli, &place, output),
        Named::Image(_) if output.is_some() => {
            return Err(Error::new("only the cut of a group can be drawn")
                .hint(format!("`luthier report {image} -o FILE` draws the rounds of an image")));
        }
        Named::Image(path) => Image::open(&group::kept(cli, image, path)?)?,
    };
    let m = image.manifest();
    if cli.json {
        let mut all = json!(m);
        all["chain"] = json!(chain(&image));
        all["disk_octets"] = json!(image.disk_octets());
        print::json_line(&all);
        return Ok(());
    }
    println!("image    {}", m.id);
    println!("path     {}", image.path().display());
    println!("guest    {} ({}), {} vCPUs", m.guest, m.uuid, m.vcpus);
    println!("taken    {} on Xen {}.{}", m.created, m.xen.major, m.xen.minor);
    println!(
        "memory   {} in {} pages, {} of them zero",
        print::bytes(m.pages * m.page_size),
        m.pages,
        m.zero_pages
    );
    print::stored(&image);
    for parent in chain(&image) {
        println!("on       {parent}");
    }
    let number = |key: &str| m.report.get(key).and_then(Value::as_f64);
    if let (Some(suspended), Some(freeze)) = (number("suspended_ms"), number("freeze_ms")) {
        println!("downtime {suspended:.1} ms suspended, after {freeze:.1} ms of the guest's own freezing");
    }
    if let Some(policy) = m.policy.as_str() {
        println!("policy   {policy}");
    }
    for network in print::items(&m.report, "networks") {
        println!("network  {}, number {}", print::text(network, "name"), print::number(network, "id"));
    }
    for disk in disks::of_report(&m.report) {
        println!("disk     {disk}");
    }
    // An imported image has none.
    let rounds = m.report.get("rounds").cloned().map(serde_json::from_value::<Vec<Round>>);
    for round in rounds.into_iter().flatten().flatten() {
        println!("{round}");
    }
    Ok(())
}

/// `luthier verify`
pub(super) fn verify(cli: &Cli, image: &str) -> Result<()> {
    let image = match group::resolve(cli, image)? {
        Named::Group(place) => return group::verify(cli, &place),
        Named::Image(path) => Image::open(&group::kept(cli, image, path)?)?,
    };
    let verified = verify_all(&image)?;
    if cli.json {
        print::json_line(
            &json!({"image": image.manifest().id, "pages": verified.pages, "zero_pages": verified.zero_pages, "parent_pages": verified.parent_pages, "images": verified.images, "ok": true}),
        );
    } else {
        let id = &image.manifest().id;
        println!("{id}: whole; {} pages, {} of them zero", verified.pages, verified.zero_pages);
        if verified.images > 1 {
            println!(
                "{} of them are in images on which it builds, {} in all",
                verified.parent_pages,
                verified.images - 1
            );
        }
    }
    Ok(())
}

/// `luthier merge`
pub(super) fn merge(cli: &Cli, image: &str) -> Result<()> {
    let path = path(cli, image)?;
    let merged = with_bar("merging", |progress| store::merge(&path, progress))?;
    let (id, octets) = (&merged.image.manifest().id, merged.image.disk_octets());
    if cli.json {
        print::json_line(
            &json!({"image": id, "path": merged.image.path(), "parents": merged.parents, "disk_octets": octets}),
        );
    } else if merged.parents == 0 {
        println!("{id} stands alone already");
    } else {
        println!(
            "{id} stands alone now, and takes {} on disk; images that it built on: {}",
            print::bytes(octets),
            merged.parents
        );
    }
    Ok(())
}

/// `luthier export`
pub(super) fn export(cli: &Cli, image: &str, name: Option<&str>, output: &Path) -> Result<()> {
    let image = open(cli, image)?;
    let options = options(name)?;
    for remark in disks::restore::export_remarks(&image) {
        eprintln!("luthier: {remark}");
    }
    if output == Path::new("-") {
        store::export_xl(&image, std::io::stdout().lock(), options).map_err(Error::from)?;
        return Ok(());
    }
    let file = File::create_new(output).context(format!("making {}", output.display()))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    let written = store::export_xl(&image, &mut out, options).map_err(Error::from).and_then(|exported| {
        out.flush()
            .and_then(|()| out.get_ref().sync_all())
            .context(format!("writing {}", output.display()))?;
        Ok(exported)
    });
    if let Err(e) = written {
        // Half a stream must not look like one.
        let _ = fs::remove_file(output);
        return Err(e);
    }
    let bytes = fs::metadata(output).map(|m| m.len()).unwrap_or(0);
    if cli.json {
        print::json_line(&json!({"image": image.manifest().id, "file": output, "bytes": bytes}));
    } else {
        println!(
            "{}: {}; restore it with: xl restore {}",
            output.display(),
            print::bytes(bytes),
            output.display()
        );
    }
    Ok(())
}

/// Options of an export: another name takes another uuid.
pub(super) fn options(name: Option<&str>) -> Result<ExportOptions<'static>> {
    let uuid = match name {
        Some(_) => Some(new_uuid()?),
        None => None,
    };
    Ok(ExportOptions { name: name.map(str::to_owned), uuid, ..Default::default() })
}

/// A random uuid, as the kernel makes them.
fn new_uuid() -> Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/uuid").context("making a uuid")?;
    Ok(text.trim().to_owned())
}

/// `luthier import`
pub(super) fn import(cli: &Cli, file: &Path) -> Result<()> {
    fs::create_dir_all(&cli.images).context(format!("making {}", cli.images.display()))?;
    let input = File::open(file).context(format!("opening {}", file.display()))?;
    let image = store::import_xl(&cli.images, input, ImportOptions::default()).map_err(Error::from)?;
    if cli.json {
        print::json_line(
            &json!({"image": image.manifest().id, "path": image.path(), "pages": image.manifest().pages}),
        );
    } else {
        println!("{}", image.manifest().id);
    }
    Ok(())
}

/// Removes an image or a group. The outer errors are of the name, the inner ones as `disks` has them.
fn remove(cli: &Cli, name: &str) -> Result<store::Result<Result<()>>> {
    let path = match group::resolve(cli, name)? {
        Named::Group(place) => return Ok(group::rm(cli, &place)),
        Named::Image(path) => path,
    };
    let removed = disks::remove_image(&path);
    match removed {
        Ok(_) if cli.json => print::json_line(&json!({"removed": name})),
        Ok(_) => println!("removed {name}"),
        Err(_) => {}
    }
    Ok(removed)
}

/// `luthier rm`
pub(super) fn rm(cli: &Cli, images: &[String], unfinished: bool) -> Result<()> {
    if unfinished {
        for left in unfinished::clear(&cli.images)? {
            match cli.json {
                true => print::json_line(&json!({"removed": left})),
                false => println!("removed what was left of {left}"),
            }
        }
        // Disks that came for images which never did.
        disks::settle_all(&cli.images);
    }
    let mut left: Vec<&String> = images.iter().collect();
    while !left.is_empty() {
        let before = left.len();
        let mut refused = None;
        let mut kept = Vec::new();
        for image in left {
            match remove(cli, image)? {
                Ok(rest) => rest?,
                // Those that build on it may be among the others: it gets its turn after them.
                Err(e @ store::Error::HasChildren { .. }) => {
                    refused.get_or_insert(e);
                    kept.push(image);
                }
                Err(e) => return Err(e.into()),
            }
        }
        if let Some(e) = refused.filter(|_| kept.len() == before) {
            return Err(e.into());
        }
        left = kept;
    }
    Ok(())
}

#[cfg(test)]
pub(in crate::cli) mod tests;
