//! `luthierd`: the shim. It owns the allow-list, the link to the stub, and one thread for each
//! snapshot in progress.
//!
//! It must never map guest memory, and never leave a guest suspended: not when a client hangs up,
//! not when the stub dies, not when it is itself killed (the [`journal`] undoes it at the next
//! start).

mod allow;
mod cap;
mod configs;
mod desk;
mod disks;
mod fault;
mod figures;
mod gather;
mod group;
mod guest;
mod haste;
mod journal;
mod kept;
mod link;
mod mailbox;
mod net;
mod notes;
mod plan;
mod recovery;
mod saver;
mod schedule;
mod server;
mod sink;
mod snapshot;
mod storage;
mod teller;
mod window;
mod xen;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use std::{fs, io};

use rustix::fs::{FlockOperation, flock};

use crate::error::{Context, Error, Result};
use crate::paths;

/// What `luthierd` is told on its command line.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    name = "luthierd",
    version,
    about = "Luthier's shim in Dom0: does control verbs for the stub domain and stores its pages"
)]
pub struct Options {
    /// Folder of the socket, the lock and the journal
    #[arg(long, value_name = "DIR", default_value = paths::RUN)]
    pub run: PathBuf,
    /// Folder of the images
    #[arg(long, value_name = "DIR", default_value = paths::IMAGES)]
    pub images: PathBuf,
    /// Configuration of the stub domain for `xl create`
    #[arg(long, value_name = "FILE", default_value = paths::STUB_CONFIG)]
    pub stub_config: PathBuf,
    /// Folder of what outlives a reboot: the networks
    #[arg(long, value_name = "DIR", default_value = paths::STATE)]
    pub state: PathBuf,
    /// How the stub is reached by other hosts' switches
    #[arg(long, value_name = "FILE", default_value = paths::NET_CONFIG)]
    pub net_config: PathBuf,
    /// The secret key of this host's switch; made when it is first needed
    #[arg(long, value_name = "FILE", default_value = paths::SWITCH_KEY)]
    pub switch_key: PathBuf,
    /// The hosts that keep images, and how they are reached
    #[arg(long, value_name = "FILE", default_value = paths::STORAGE_CONFIG)]
    pub storage_config: PathBuf,
    /// Write logs as JSON, one object a line
    #[arg(long)]
    pub log_json: bool,
}

/// Runs the daemon until it is told to stop.
pub fn run(options: Options) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::new("luthierd needs root: it controls domains")
            .hint("Run it by its systemd unit, or with sudo"));
    }
    let _lock = lock_run(&options.run)?;
    let xen = xen::Xen::open()?;
    let journal = journal::open(&options.run)?;
    let kept = kept::open(&options.run)?;
    sweep(&options.images);
    fault::init(&options.run);
    let mender = recovery::Mender { xen: xen.clone(), journal, kept, desk: desk::Desk::default() };
    let guests_to_mend = mender.start();
    // Guests come first.
    let images = options.images.clone();
    std::thread::spawn(move || crate::disks::settle_all(&images));
    let listener = listen(&options.run.join(paths::SOCKET))?;
    let (groups, letters) = group::Inbox::new();
    let link = link::Link::start(xen, groups.clone());
    let files = net::Files {
        state: options.state.clone(),
        config: options.net_config.clone(),
        key: options.switch_key.clone(),
    };
    let net = Arc::new(net::Net::new(files, link.clone()));
    let server = Arc::new(server::Server::new(
        options.clone(),
        mender,
        Arc::clone(&link),
        Arc::clone(&net),
        groups.clone(),
    ));
    let (host, folders) = (Arc::clone(&server), group::Folders::new(options.images.clone()));
    let inbox = groups.clone();
    let epochs = group::Epochs::open(&options.state);
    std::thread::spawn(move || group::run(host, folders, epochs, inbox, &letters));
    keep_told(&link, &net, groups);
    server.tidy_logs();
    let (ending, taking) = (Arc::clone(&server), Arc::clone(&server));
    std::thread::spawn(move || taking.take_scheduled());
    let mut signals =
        signal_hook::iterator::Signals::new([signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT])
            .context("watching for signals")?;
    let socket = options.run.join(paths::SOCKET);
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            tracing::info!("stopping: snapshots in progress are cancelled");
            ending.stop(Duration::from_secs(30));
            let _ = fs::remove_file(&socket);
            std::process::exit(0);
        }
    });
    tracing::info!(xen = %server.xen_version(), images = %options.images.display(), mending = guests_to_mend, "ready");
    for client in listener.incoming() {
        match client {
            Ok(client) => {
                let server = Arc::clone(&server);
                std::thread::spawn(move || server.serve(client));
            }
            Err(e) => {
                tracing::warn!(error = %e, "accepting a client");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }
    Ok(())
}

/// Has every stub that connects told of the networks.
fn keep_told(link: &Arc<link::Link>, net: &Arc<net::Net>, groups: group::Inbox) {
    let (link, net) = (Arc::clone(link), Arc::clone(net));
    std::thread::spawn(move || {
        let mut last = Weak::new();
        loop {
            last = link.next(&last);
            match net.sync() {
                Ok(refused) => refused.iter().for_each(|e| tracing::error!(error = %e.message, "networks")),
                Err(e) => tracing::error!(error = %e.message, "the stub was not told of the networks"),
            }
            groups.connected();
        }
    });
}

/// One daemon a host: two would undo each other's work.
fn lock_run(run: &Path) -> Result<fs::File> {
    fs::create_dir_all(run).context(format!("making {}", run.display()))?;
    fs::set_permissions(run, fs::Permissions::from_mode(0o700))
        .context(format!("closing {} to others", run.display()))?;
    let path = run.join("lock");
    let file = fs::File::create(&path).context(format!("opening {}", path.display()))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(_) => Err(Error::new("another luthierd is running").hint("`systemctl status luthierd` shows it")),
    }
}

/// The socket, for root only: whoever can open it can suspend guests.
fn listen(path: &Path) -> Result<UnixListener> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            return Err(e).context(format!("removing the old {}", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).context(format!("binding {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .context(format!("closing {} to others", path.display()))?;
    Ok(listener)
}

/// Removes what a killed daemon left half written.
fn sweep(images: &Path) {
    match store::sweep(images) {
        Ok(swept) => {
            for path in swept {
                tracing::warn!(path = %path.display(), "removed a half-written image");
            }
        }
        // A missing folder is made by the first snapshot; anything else, it will say.
        Err(e) => tracing::debug!(error = %e, "no images to sweep"),
    }
}

/// Locks, also after a panic of another holder: what we guard stays consistent at each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
