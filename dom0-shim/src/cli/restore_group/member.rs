//! What a restore of a group asks of each host: commands that `luthier restore` of one host gives to
//! `luthier` of another, and of its own.

use std::io::{BufRead, BufWriter, Read, Write};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use clap::Subcommand;
use serde_json::{Value, json};
use store::Image;
use store::group::{ChannelReader, Group};

use super::{carry, frozen, release};
use crate::api::{NetRequest, Request};
use crate::cli::{Cli, client, images, print, restore, restore_net, restore_xen, unfinished};
use crate::error::{Context, Error, Result};
use crate::{remote, xl};

/// The longest input: frames of a cut.
const MAX_INPUT: u64 = store::group::channels::MAX_FILE;

/// Memory that Xen needs for a guest besides the guest's own, in MiB: tables, shadow of the p2m.
const OVERHEAD_MIB: u64 = 4;

/// The longest wait that can be asked for, in seconds.
const MAX_WAIT: u64 = 60;

/// A host's share of a group's restore.
#[derive(Debug, Subcommand)]
pub enum MemberArgs {
    /// Which of the images that are told on the standard input are here: under their names, or others
    /// that have the same pages; and which Xen this host has
    Find,
    /// Which disks go with images that are told on the standard input, and what room they need
    Disks,
    /// Whether there is a place for the disks that are told on the standard input
    Room,
    /// Write an image with its disks to the standard output, for `import` on another host
    Export {
        /// The image
        image: String,
    },
    /// Make an image, and its disks, of the stream on the standard input
    Import {
        /// A disk, and where it goes instead of where it was
        #[arg(long, value_name = "VDEV=PLACE", value_parser = super::pair)]
        disk: Vec<(String, String)>,
    },
    /// Write an image, without its disks, to the standard output, for `take` on another host
    Send {
        /// The image
        image: String,
    },
    /// Make an image of the stream on the standard input
    Take,
    /// Whether all members that are told on the standard input can be restored here
    Check,
    /// Make the domain of an image that was checked, and leave it paused
    Make {
        /// The image
        image: String,
        /// Name of the new domain, if not the guest's
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// The frames that were under way to members of this host
    Channels {
        /// The group
        group: String,
        /// The switch of the host to whose members they were; this one
        switch: Option<String>,
    },
    /// Take no frames from the guests of a network until the standard input says `go`; when it ends
    /// without that, they are taken again after a minute
    Freeze {
        /// The network
        net: String,
    },
    /// Take them again
    Thaw {
        /// The network
        net: String,
    },
    /// Give the frames of the standard input to their guests when these connect
    Inject {
        /// The network
        net: String,
    },
    /// Let restored domains go on
    Unpause {
        /// Their ids
        domids: Vec<u16>,
    },
    /// Which of these addresses have no connected vif on a network
    Connected {
        /// The network
        net: String,
        /// MAC addresses
        macs: Vec<String>,
        /// Wait so many seconds until all have one
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        wait: u64,
    },
    /// Take a restored domain away again; what was made of its disks is on the standard input
    Destroy {
        /// Its name
        name: String,
        /// Its id
        domid: u16,
    },
}

/// Does it, and says as JSON what came of it.
pub(in crate::cli) fn run(cli: &Cli, args: &MemberArgs) -> Result<()> {
    let net = |net| client::ask(&cli.run, &Request::Net { net });
    let answer = match args {
        MemberArgs::Find => find_all(cli, &input()?)?,
        MemberArgs::Disks => carry::disks(cli, &input()?)?,
        MemberArgs::Room => carry::room(&input()?)?,
        MemberArgs::Export { image } => return carry::export(cli, image, &mut std::io::stdout().lock()),
        MemberArgs::Import { disk } => carry::import(cli, disk, std::io::stdin().lock())?,
        MemberArgs::Send { image } => {
            let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
            store::transfer::send(images::open(cli, image)?.path(), &mut out)?;
            return out.flush().context("sending the image");
        }
        MemberArgs::Take => {
            std::fs::create_dir_all(&cli.images).context(format!("making {}", cli.images.display()))?;
            let image = store::transfer::receive(&cli.images, &mut std::io::stdin().lock())?;
            json!({"image": name(cli, &image), "contents": image.manifest().contents()})
        }
        MemberArgs::Check => check(cli, &input()?)?,
        MemberArgs::Make { image, name } => {
            restore::make(&images::open(cli, image)?, name.as_deref(), true)?.json()
        }
        MemberArgs::Channels { group, switch } => return channels(cli, group, switch.as_deref()),
        MemberArgs::Freeze { net: name } => {
            let set = |on| net(NetRequest::Freeze { name: name.clone(), on });
            let frozen = set(true)?;
            print::json_line(&frozen);
            match frozen::keep(&mut || set(true).map(drop), frozen::REFREEZE, &first_line())? {
                true => set(false)?,
                false => frozen,
            }
        }
        MemberArgs::Thaw { net: name } => net(NetRequest::Freeze { name: name.clone(), on: false })?,
        MemberArgs::Inject { net: name } => inject(&mut |bulk, count| {
            let octets = bulk.iter().map(|b| format!("{b:02x}")).collect();
            net(NetRequest::Inject { name: name.clone(), count, octets }).map(drop)
        })?,
        MemberArgs::Unpause { domids } => {
            for domid in domids {
                unpause(*domid)?;
                unfinished::ended(&cli.images, *domid);
            }
            json!({"unpaused": domids})
        }
        MemberArgs::Connected { net: name, macs, wait } => {
            let until = Instant::now() + Duration::from_secs((*wait).min(MAX_WAIT));
            loop {
                let stats = net(NetRequest::Stats { name: Some(name.clone()) })?;
                let missing = missing(&stats, macs);
                if missing.is_empty() || Instant::now() > until {
                    break json!({"missing": missing});
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        MemberArgs::Destroy { name, domid } => {
            let gone = destroy(name, *domid, &input()?)?;
            unfinished::ended(&cli.images, *domid);
            gone
        }
    };
    print::json_line(&answer);
    Ok(())
}

/// The first line of the standard input, when it comes; its end is an empty one.
fn first_line() -> mpsc::Receiver<String> {
    let (tell, line) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = std::io::stdin().lock().take(64).read_line(&mut line);
        tell.send(line)
    });
    line
}

fn input() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(MAX_INPUT).read_to_end(&mut bytes).context("reading the standard input")?;
    Ok(bytes)
}

/// Those of the images that are asked for which are here, and this host's Xen.
fn find_all(cli: &Cli, asked: &[u8]) -> Result<Value> {
    let asked: Value = serde_json::from_slice(asked).context("which images are looked for")?;
    release::check(&asked, "the host that asks", &remote::own_name())?;
    let mut found = Vec::new();
    for ask in print::items(&asked, "images") {
        if let Some(image) = find(cli, ask)? {
            let m = image.manifest();
            found.push(json!({"image": name(cli, &image), "contents": m.contents(), "xen": m.xen}));
        }
    }
    Ok(release::told(json!({"xen": restore_xen::here(), "images": found})))
}

/// What an image is called here: its folder's name, or its path if another folder has it.
fn name(cli: &Cli, image: &Image) -> String {
    let path = image.path();
    let name = path.file_name().filter(|_| path.parent() == Some(&cli.images));
    name.map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy()).into_owned()
}

/// The image that has these contents, and these disks.
fn find(cli: &Cli, ask: &Value) -> Result<Option<Image>> {
    let contents = print::text(ask, "contents");
    let disks = print::items(ask, "disks");
    let has = |image: &Image| {
        let own = crate::disks::of_report(&image.manifest().report);
        let has_disk = |vdev: &Value| own.iter().any(|r| r.has_snapshot() && vdev.as_str() == Some(&r.vdev));
        image.manifest().contents() == Some(contents) && disks.iter().all(has_disk)
    };
    if let Some(image) = images::open(cli, print::text(ask, "image")).ok().filter(has) {
        return Ok(Some(image));
    }
    if !cli.images.is_dir() {
        return Ok(None);
    }
    // One that was copied here before, or is kept here.
    let listed = store::list(&cli.images)?.into_iter().chain(store::group::keep::kept(&cli.images)?);
    Ok(listed.map(|l| l.path).filter_map(|path| Image::open(&path).ok()).find(has))
}

/// Lets a domain go on; the error names it.
fn unpause(domid: u16) -> Result<()> {
    xl::unpause(domid).map_err(|e| match xl::find(&domid.to_string()) {
        Ok(found) => Error { message: format!("`{}`: {}", found.name(), e.message), ..e },
        Err(_) => e,
    })
}

/// Everything that can be known before anything is made.
fn check(cli: &Cli, asked: &[u8]) -> Result<Value> {
    let asked: Value = serde_json::from_slice(asked).context("what is to be restored")?;
    let (network, number) = (print::text(&asked, "network"), print::number(&asked, "number"));
    let here = client::ask(&cli.run, &Request::Net { net: NetRequest::List })?;
    let has = |n: &Value| print::text(n, "name") == network && print::number(n, "id") == number;
    if !here.as_array().is_some_and(|all| all.iter().any(has)) {
        return Err(Error::new(format!("network {network} with number {number} does not exist here"))
            .hint(format!("Make it first: luthier net create {network} --id {number}")));
    }
    let mut needed = 0;
    for member in print::items(&asked, "members") {
        let target = print::text(member, "target");
        restore::name_is_free(cli, target)?;
        let image = fit(cli, member)
            .map_err(|e| Error { message: format!("`{target}` can't be restored: {}", e.message), ..e })?;
        needed += image.manifest().memory.max_kib.div_ceil(1024) + OVERHEAD_MIB;
    }
    match xl::free_mib()? {
        Some(free) if free < needed => {
            Err(Error::new(format!("the members need {needed} MiB of memory here, and {free} MiB are free"))
                .hint("Place some on another host: --place VM=HOST"))
        }
        free => Ok(json!({"needed_mib": needed, "free_mib": free})),
    }
}

/// The image of a member, looked through. One that was copied here just now has been.
fn fit(cli: &Cli, member: &Value) -> Result<Image> {
    let image = images::open(cli, print::text(member, "image"))?;
    restore_net::check(cli, &image)?;
    let m = image.manifest();
    restore_xen::check(&m.id, Some(m.xen), restore_xen::here(), "this host")?;
    crate::disks::travel::are_here(&image)?;
    if member.get("fresh").and_then(Value::as_bool) != Some(true) {
        images::verify_all(&image)?;
    }
    Ok(image)
}

/// Writes the frames of a host, this one by default, to the standard output, as the stub takes them.
fn channels(cli: &Cli, group: &str, switch: Option<&str>) -> Result<()> {
    let group = Group::open(&cli.images, &group.parse()?)?;
    let part = match switch {
        None => &group.own().part,
        Some(switch) => group.manifest().part(switch).ok_or_else(|| {
            Error::new(format!("switch {switch} took no part in {}", group.name()))
                .hint("`luthier show` of the group names the hosts")
        })?,
    };
    // Damage is found before the first frame goes out.
    if let Some(reader) = group.channels(part)? {
        reader.verify(&part.channel)?;
    }
    let mut reader: Option<ChannelReader> = group.channels(part)?;
    let mut out = std::io::stdout().lock();
    while let Some(bulk) = reader.as_mut().map(ChannelReader::bulk).transpose()?.flatten() {
        out.write_all(&bulk.octets).context("writing the frames")?;
    }
    out.flush().context("writing the frames")
}

/// Passes the frames of the standard input on, as many at once as one message takes.
fn inject(pass: &mut dyn FnMut(&[u8], u16) -> Result<()>) -> Result<Value> {
    let bytes = input()?;
    let (mut rest, mut total) = (&bytes[..], 0u64);
    while !rest.is_empty() {
        let (begin, mut count, mut len) = (rest, 0u16, 0);
        while !rest.is_empty() && count < u16::MAX {
            let (.., after) = handoff::ChannelRecord::take(rest).context("the frames")?;
            let next = begin.len() - after.len();
            if next > handoff::CHANNEL_BULK && count > 0 {
                break;
            }
            (rest, len, count) = (after, next, count + 1);
        }
        pass(begin.get(..len).unwrap_or_default(), count)?;
        total += u64::from(count);
    }
    Ok(json!({"frames": total}))
}

/// Addresses without a connected vif, by the figures of their network.
fn missing<'a>(stats: &Value, macs: &'a [String]) -> Vec<&'a String> {
    let networks = print::items(stats, "networks");
    let ports: Vec<&Value> = networks.iter().flat_map(|n| print::items(n, "ports")).collect();
    let is_up = |mac: &String| {
        ports.iter().any(|p| print::text(p, "mac") == mac && print::text(p, "state") == "connected")
    };
    macs.iter().filter(|mac| !is_up(mac)).collect()
}

fn destroy(name: &str, domid: u16, disks: &[u8]) -> Result<Value> {
    // Only the one that was restored: its number may be another's by now.
    if xl::find(&domid.to_string()).is_ok_and(|found| found.name() == name) {
        xl::destroy(domid)?;
    }
    let clones: Value = serde_json::from_slice(disks).context("what was made of its disks")?;
    if !clones.is_null() {
        crate::disks::restore::remove(&clones)?;
    }
    Ok(json!({"destroyed": domid}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vif_that_is_not_connected_is_missed() {
        let stats = json!({"networks": [{"ports": [
            {"mac": "00:16:3e:00:00:01", "state": "connected"}, {"mac": "00:16:3e:00:00:02", "state": "waiting"},
        ]}]});
        let macs: Vec<String> = (1..=3).map(|n| format!("00:16:3e:00:00:0{n}")).collect();
        assert_eq!(missing(&stats, &macs), [&macs[1], &macs[2]]);
    }
}
