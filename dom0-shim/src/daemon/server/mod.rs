//! Serves clients: one request a connection.

mod attach;
mod ground;
mod group;
mod net;
mod schedule;
mod stub;
mod take;

pub(super) use take::uuid_text;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Options;
use super::allow::{AllowList, Attached};
use super::configs::Configs;
use super::desk::Desk;
use super::group::Inbox;
use super::journal::Journal;
use super::kept::KeptLogs;
use super::link::Link;
use super::lock;
use super::net::Net;
use super::plan::Costs;
use super::recovery::Mender;
use super::schedule::Scheduler;
use super::storage::Storage;
use super::teller::Teller;
use super::xen::Xen;
use crate::api::{Event, Request};
use crate::error::{Context, Error, Result};

/// The longest request, in bytes: frames for restored guests, in hexadecimal.
const MAX_REQUEST: u64 = 2 * handoff::CHANNEL_BULK as u64 + 4096;

/// What all clients share.
pub(super) struct Server {
    options: Options,
    xen: Xen,
    journal: Journal,
    kept: KeptLogs,
    mender: Mender,
    link: Arc<Link>,
    net: Arc<Net>,
    groups: Inbox,
    storage: Storage,
    allowed: Mutex<AllowList>,
    /// What xl says of guests.
    configs: Configs,
    desk: Desk,
    /// What suspending guests costs on this host.
    costs: Costs,
    /// Periodic snapshots.
    schedules: Scheduler,
    /// Clients that are being served.
    serving: AtomicUsize,
    /// Held while the stub is launched or destroyed.
    launching: Mutex<()>,
}

impl Server {
    /// A server. `mender` has begun with what an earlier daemon left.
    pub(super) fn new(
        options: Options,
        mender: Mender,
        link: Arc<Link>,
        net: Arc<Net>,
        groups: Inbox,
    ) -> Self {
        let allowed = Mutex::new(AllowList::open(&options.run));
        let schedules = Scheduler::open(&options.state, &|image| schedule::is_there(&options.images, image));
        let Mender { xen, journal, kept, desk } = mender.clone();
        let storage = Storage::new(options.storage_config.clone());
        Self {
            options,
            storage,
            xen,
            journal,
            kept,
            desk,
            mender,
            link,
            net,
            groups,
            costs: Costs::default(),
            schedules,
            serving: AtomicUsize::new(0),
            allowed,
            configs: Configs::default(),
            launching: Mutex::default(),
        }
    }

    /// Xen's version, for the log.
    pub(super) fn xen_version(&self) -> String {
        self.xen.version_text()
    }

    /// Cancels every snapshot and waits until their guests are as they were.
    pub(super) fn stop(&self, timeout: Duration) {
        self.schedules.stop();
        self.desk.stop(timeout);
        // Their clients shall hear of it.
        let until = Instant::now() + Duration::from_secs(1);
        while self.serving.load(Ordering::SeqCst) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Serves one client.
    pub(super) fn serve(&self, client: UnixStream) {
        self.serving.fetch_add(1, Ordering::SeqCst);
        self.serve_one(client);
        self.serving.fetch_sub(1, Ordering::SeqCst);
    }

    fn serve_one(&self, client: UnixStream) {
        let mut line = String::new();
        let request =
            BufReader::new((&client).take(MAX_REQUEST)).read_line(&mut line).map_err(|e| e.to_string());
        let request = request.and_then(|_| serde_json::from_str(&line).map_err(|e| e.to_string()));
        let teller = Teller::new(&client);
        let result = match request {
            Ok(request) => self.answer(request, &client, &teller),
            Err(e) => Err(Error::new(format!("the request was not understood: {e}"))
                .hint("Use luthier and luthierd of one release")),
        };
        let last = match result {
            Ok(result) => Event::Done { result },
            Err(error) => {
                tracing::warn!(error = %error.message, "request failed");
                Event::Failed { error }
            }
        };
        teller.end(last);
    }

    fn answer(&self, request: Request, client: &UnixStream, teller: &Teller) -> Result<Value> {
        match request {
            Request::Status => self.status(),
            Request::Up { pool } => self.up(pool),
            Request::Down { force } => self.down(force),
            Request::Attach { guest, net, mac } => self.attach(&guest, net.as_deref(), mac.as_deref()),
            Request::Detach { guest } => self.detach(&guest),
            Request::Schedule { schedule } => self.schedules.answer(schedule),
            Request::Net { net } => self.net_request(net, client, teller),
            Request::SnapshotNet { net, classic, options } => {
                self.snapshot_net(client, teller, &net, classic, options)
            }
            Request::Snapshot { guest, options } => self.snapshot(client, teller, &guest, &options),
        }
    }

    fn status(&self) -> Result<Value> {
        self.forget_gone_guests()?;
        self.tidy_logs();
        let stub = match self.link.connection() {
            Ok(c) => json!({"state": "up", "domid": c.stub, "pool_mib": c.pool_pages / 256}),
            Err(why) => json!({"state": "down", "reason": why.message, "hint": why.hint}),
        };
        let busy = self.desk.snapshots();
        let guests: Vec<Value> = lock(&self.allowed)
            .entries()
            .iter()
            .map(|a| {
                let log_since = self.kept.of(a.domid, &a.uuid).map(|kept| kept.image);
                json!({"name": a.name, "domid": a.domid, "snapshotting": busy.contains(&a.domid), "log_since": log_since})
            })
            .collect();
        // A list that can't be read is told of by the commands that need it.
        let networks = self.net.list().unwrap_or_default();
        Ok(json!({"xen": self.xen.version_text(), "stub": stub, "guests": guests, "networks": networks}))
    }

    fn detach(&self, guest: &str) -> Result<Value> {
        let mut allowed = lock(&self.allowed);
        let entry = allowed.find(guest)?.clone();
        if self.desk.snapshots().contains(&entry.domid) {
            return Err(
                Error::new(format!("a snapshot of `{guest}` is in progress")).hint("Wait until it has ended")
            );
        }
        let Some(_claim) = self.desk.mend(entry.domid) else {
            return Err(Error::new(format!("what a snapshot of `{guest}` left is being undone"))
                .hint("Try again in a moment; luthierd's log says what it is waiting for"));
        };
        self.end_log(&entry);
        allowed.retain(|a| *a != entry)?;
        Ok(json!({"guest": entry.name, "domid": entry.domid}))
    }

    fn forget_gone_guests(&self) -> Result<()> {
        let domains = self.xen.domains().context("listing the domains")?;
        lock(&self.allowed).retain(|a| domains.iter().any(|d| d.domid == a.domid && d.uuid == a.uuid))
    }
}

/// Does something when the client hangs up, or when it was answered.
fn on_hang_up(client: &UnixStream, act: impl FnOnce() + Send + 'static) -> Result<()> {
    let mut client = client.try_clone().context("watching the client")?;
    std::thread::spawn(move || {
        // Clients say nothing more: any end of this read is the end of the client, or our own.
        let _ = client.read(&mut [0]);
        act();
    });
    Ok(())
}
