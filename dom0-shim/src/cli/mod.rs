//! `luthier`: the command line.
//!
//! What needs the stub is asked of `luthierd`; what only needs files (`list`, `show`, `verify`,
//! `export`, `import`, `restore`, `merge`, `rm`) is done here, so that it works on any machine that has
//! the images.

mod check;
mod check_net;
mod client;
mod group;
mod images;
mod net;
mod print;
mod receive;
mod report;
mod restore;
mod restore_group;
mod restore_net;
mod restore_xen;
mod schedule;
mod snapshot;
#[cfg(test)]
mod tests;
mod unfinished;

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::api::Request;
use crate::error::{Error, Result};
use crate::paths;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "luthier",
    version,
    about = "Live snapshots of unmodified Xen guests, taken by an unprivileged stub domain",
    after_help = "A first snapshot:\n  luthier check\n  luthier up\n  luthier attach web\n  luthier snapshot web\n  luthier list\n  luthier restore web@20261121T202439Z --name web-copy\n\nEvery command has help of its own: luthier help COMMAND"
)]
pub struct Cli<C: Subcommand = Command> {
    /// Print JSON instead of text; for a snapshot, one object a line, the last is the result
    #[arg(long, global = true)]
    pub json: bool,
    /// Folder of the daemon's socket
    #[arg(long, global = true, value_name = "DIR", default_value = paths::RUN)]
    pub run: PathBuf,
    /// Folder of the images
    #[arg(long, global = true, value_name = "DIR", default_value = paths::IMAGES)]
    pub images: PathBuf,
    /// What to do
    #[command(subcommand)]
    pub command: C,
}

/// What is asked for most often, and while a guest waits for its end.
#[derive(Debug, Subcommand)]
enum Often {
    Snapshot(snapshot::SnapshotArgs),
}

impl Cli {
    /// What this process was told; help and errors end it.
    pub fn from_args() -> Self {
        let args: Vec<_> = std::env::args_os().collect();
        Self::often(&args).unwrap_or_else(|| Self::parse_from(args))
    }

    /// The same as the whole parser makes of it, if it is what is asked for most often. To make the
    /// whole parser takes half of the time of such a process's own.
    fn often(args: &[std::ffi::OsString]) -> Option<Self> {
        if !args.iter().any(|arg| arg == "snapshot") {
            return None;
        }
        let Cli { json, run, images, command } = Cli::<Often>::try_parse_from(args).ok()?;
        let Often::Snapshot(snapshot) = command;
        Some(Cli { json, run, images, command: Command::Snapshot(snapshot) })
    }
}

/// How two hosts are connected.
const NET_HELP: &str = "Between hosts, on each of them:
  /etc/luthier/stub.cfg   vif = ['bridge=xenbr0']         the stub's uplink
  /etc/luthier/net.toml   address = \"10.0.0.11/24\"      its own address there
  luthier down && luthier up
  luthier net create blue --id 7                          the same number on all hosts
  luthier net key                                         prints the line for the other hosts
  luthier net join 10.0.0.12 --key KEY                    what another host printed
  luthier net peers                                       who was reached
`luthier check` says what is missing.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tell whether this host is fit, and if not, why and what to do
    ///
    /// Looks at Xen's version and options, the limits of grant tables, the security module's
    /// mode, the tools, the daemon, and what networks need: the underlay's configuration, the
    /// switch's key, MTUs, the stub's uplink. Ends with 1 if something that is needed is missing.
    Check,
    /// Launch the stub domain
    Up {
        /// Memory for the pages of last rounds, in MiB [default: that of the configuration]
        #[arg(long, value_name = "MIB")]
        pool: Option<u32>,
    },
    /// Destroy the stub domain; guests run on
    ///
    /// Refused while a snapshot is in progress, and while guests have vifs on its networks.
    Down {
        /// All the same: snapshots are given up, and guests lose the stub's networks
        #[arg(long)]
        force: bool,
    },
    /// Show the stub domain and the attached guests
    Status,
    /// Allow snapshots of a guest, and connect it to a network
    ///
    /// Puts the guest, by its domain id and uuid, on the list of guests that the stub domain may
    /// ask the shim's verbs for. A guest that was destroyed or restored must be attached again.
    ///
    /// With --net it also gets a vif on that network by `xl network-attach`, unless its
    /// configuration gave it one (vif = ['backend=luthier-stub,bridge=NAME,...']).
    Attach {
        /// The guest's name or domain id
        guest: String,
        /// A network of `luthier net list`
        #[arg(long, value_name = "NAME")]
        net: Option<String>,
        /// The MAC address of its new vif [default: made by xl]
        #[arg(long, value_name = "MAC", requires = "net", value_parser = mac)]
        mac: Option<String>,
    },
    /// Allow no more snapshots of a guest
    Detach {
        /// The guest's name or domain id
        guest: String,
    },
    /// Make and watch the networks of guests
    ///
    /// A network (a VIOLIN) is one Ethernet for guests on any number of hosts. The stub domain is
    /// its switch: a guest joins by a vif in its xl configuration,
    ///
    ///   vif = ['mac=00:16:3e:00:00:01,backend=luthier-stub,bridge=NAME,mtu=1398']
    ///
    /// or by `luthier attach GUEST --net NAME`. Networks of one number on hosts that have joined
    /// each other are one network; what goes between hosts is encrypted.
    #[command(verbatim_doc_comment, after_help = NET_HELP)]
    Net {
        /// What to do
        #[command(subcommand)]
        command: net::NetCommand,
    },
    /// Take a snapshot of an attached guest while it runs, or of a whole network
    ///
    /// Copies the guest's memory in rounds while the guest runs, suspends it for what is left and
    /// lets it go on. The image is committed when everything is on the disk; a snapshot that
    /// fails, or is cancelled with Ctrl-C, leaves no image and the guest running.
    ///
    /// With --net, the same of all guests of a network, on all hosts that have joined it, at one
    /// consistent cut: all copy until every one is ready, and are then suspended together. What was on
    /// its way between them is part of the snapshot. All of it is committed, or nothing; every guest
    /// must be attached on its host.
    #[command(
        after_help = "A whole network:\n  luthier snapshot --net blue\n  luthier restore blue@20261122T081500Z\nIts images on a host that only keeps them (see boot/host/README.md, Storage):\n  luthier snapshot --net blue --to vault"
    )]
    Snapshot(snapshot::SnapshotArgs),
    /// Take snapshots of a guest again and again
    ///
    /// The daemon takes the first one at once and the others every TIME after it, also after a
    /// restart; what it missed meanwhile it makes up once. Two never overlap: one that is due while
    /// another of the guest is in progress is skipped and counted, and guests that are due together
    /// come one after the other. The guest must be attached when one is due; else it is tried again.
    ///
    /// Without anything: the same as `luthier schedule list`.
    #[command(after_help = "Every five minutes, the last hour:\n  luthier schedule web --every 5m --keep 12")]
    Schedule(schedule::ScheduleArgs),
    /// List the images, and the groups that they are of
    List {
        /// Only the groups: the snapshots of whole networks
        #[arg(long)]
        groups: bool,
    },
    /// Show an image: its guest, its memory, and the rounds that made it; or a group
    ///
    /// Of a group: its members and hosts, when each was cut, where its image is, its disks, and what
    /// became of frames that were on their way. The picture (SVG) is the cut on the time axis.
    #[command(after_help = "The cut of a network, drawn:\n  luthier show blue@20261122T081500Z -o cut.svg")]
    Show {
        /// Name or path of the image or the group
        image: String,
        /// Draw a group's cut to this file, which must not exist; - is the standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Report the rounds that made an image, or compare several: as a table, or as a picture
    ///
    /// The table and --json have the figures that the Live Save paper has: dirty frequency, dirty
    /// pages after each round, time of rounds, rounds, downtime, total time, pages sent. The
    /// picture (SVG) shows pages remaining, sent and skipped, and rates, in time and by round.
    Report {
        /// Names or paths of images
        #[arg(id = "names", value_name = "IMAGE", required = true)]
        images: Vec<String>,
        /// Draw the picture to this file, which must not exist; - is the standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check every page and record of an image against its checksums
    ///
    /// Of a group: its manifest, the frames that were recorded, and the images of it that are on this
    /// host; what lies on other hosts is named.
    Verify {
        /// Name or path of the image or the group
        image: String,
    },
    /// Bring an image back as a running domain
    ///
    /// Verifies the image, then lets stock `xl restore` build the domain. A domain of the same
    /// name must not run; --name restores a copy beside it. Networks of the guest must exist on
    /// this host, under the same numbers, and its MAC addresses must be free there; and this host's
    /// Xen must not be older than the one on which the image was taken.
    ///
    /// Of a group: all its members, on their hosts or where --place says, or none. What a member needs
    /// on another host goes there first, its disks too: to the thin pool, volume group or folder of the
    /// same name.
    Restore {
        /// Name or path of the image
        image: String,
        /// Name of the new domain; it gets a uuid of its own then
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// Leave it paused
        #[arg(long)]
        paused: bool,
        /// Where members of a group go
        #[command(flatten)]
        place: restore_group::PlaceArgs,
    },
    /// A host's share of a group's restore
    #[command(hide = true)]
    RestoreMember {
        /// What
        #[command(subcommand)]
        member: restore_group::MemberArgs,
    },
    /// Receive what another host sends of a group that is being taken (plumbing)
    ///
    /// Called by luthierd of that host, over the remote shell of its /etc/luthier/storage.toml, for
    /// `luthier snapshot --net NAME --to HOST`. Every page and record is checked; what is whole lies with
    /// the group, and goes with it if that is given up.
    Receive {
        /// Receive nothing: only tell whether this group has begun here
        #[arg(long, value_name = "GROUP")]
        check: Option<store::GroupName>,
    },
    /// Write an image as the stream that stock `xl restore` takes
    Export {
        /// Name or path of the image
        image: String,
        /// The format
        #[arg(long, value_enum, default_value_t)]
        format: Format,
        /// Name of the domain in the stream; it gets a uuid of its own then
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
        /// The file to write, which must not exist; - is the standard output
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Make an image from what stock `xl save` wrote
    Import {
        /// The file
        file: PathBuf,
    },
    /// Make an incremental image stand alone
    ///
    /// Copies into it what it has from the images that it builds on, and checks every page on the
    /// way. Its name stays, and so does what builds on it; its former parents may be removed then,
    /// unless others build on them. Needs room for all of the guest's memory. Cut short, it leaves
    /// the image as it was.
    Merge {
        /// Name or path of the image
        image: String,
    },
    /// Remove images, and groups with their images on this host
    ///
    /// An image on which others build stays until those are removed or merged. An image of a group
    /// is removed with its group.
    Rm {
        /// Names or paths of the images or groups
        // An id of its own: clap keeps `images` for the option of that name.
        #[arg(id = "names", value_name = "IMAGE", required_unless_present = "unfinished")]
        images: Vec<String>,
        /// What restores that were killed have left on this host: paused domains, copies of disks, and disks
        /// that came for images which never did.
        /// Not while a group is being restored
        #[arg(long)]
        unfinished: bool,
    },
}

/// Formats of an export.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum Format {
    /// The stream of xl save and xl restore
    #[default]
    Xl,
}

/// A MAC address that a vif can have.
fn mac(text: &str) -> std::result::Result<String, String> {
    let octets: Vec<u8> = text
        .split(':')
        .map(|part| match part.as_bytes() {
            [h, l] if h.is_ascii_hexdigit() && l.is_ascii_hexdigit() => u8::from_str_radix(part, 16).ok(),
            _ => None,
        })
        .collect::<Option<_>>()
        .unwrap_or_default();
    match octets.first() {
        Some(first) if octets.len() == 6 && first & 1 == 0 && octets.iter().any(|o| *o != 0) => {
            Ok(text.to_lowercase())
        }
        _ => Err("six octets, as in 00:16:3e:12:34:56, the first of them even".into()),
    }
}

/// Does what was asked.
pub fn run(cli: &Cli) -> Result<()> {
    let ask = |request| client::ask(&cli.run, &request);
    match &cli.command {
        Command::Check => check::run(cli),
        Command::Up { pool } => print::up(cli.json, &ask(Request::Up { pool: *pool })?),
        Command::Down { force } => print::down(cli.json, &ask(Request::Down { force: *force })?),
        Command::Status => print::status(cli.json, &ask(Request::Status)?),
        Command::Attach { guest, net, mac } => {
            let request = Request::Attach { guest: guest.clone(), net: net.clone(), mac: mac.clone() };
            print::guest(cli.json, "attached", &ask(request)?)
        }
        Command::Detach { guest } => {
            print::guest(cli.json, "detached", &ask(Request::Detach { guest: guest.clone() })?)
        }
        Command::Net { command } => net::run(cli, command),
        Command::Snapshot(args) => snapshot::run(cli, args),
        Command::Schedule(args) => schedule::run(cli, args),
        Command::List { groups } => images::list(cli, *groups),
        Command::Show { image, output } => images::show(cli, image, output.as_deref()),
        Command::Report { images, output } => report::run(cli, images, output.as_deref()),
        Command::Verify { image } => images::verify(cli, image),
        Command::Restore { image, name, paused, place } => match restore_group::named(cli, image) {
            Some(group) if name.is_some() || *paused => Err(Error::new(format!("{group} is a group"))
                .hint("Copies of all its members: --name-suffix SUFFIX; --paused is for one image")),
            Some(group) => restore_group::run(cli, &group, place),
            None => restore::run(cli, image, name.as_deref(), *paused),
        },
        Command::RestoreMember { member } => restore_group::run_member(cli, member),
        Command::Receive { check } => receive::run(cli, check.as_ref()),
        Command::Export { image, format: Format::Xl, name, output } => {
            images::export(cli, image, name.as_deref(), output)
        }
        Command::Import { file } => images::import(cli, file),
        Command::Merge { image } => images::merge(cli, image),
        Command::Rm { images, unfinished } => images::rm(cli, images, *unfinished),
    }
}
