//! Serves clients: one request a connection.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use store::{ImageId, ImageWriter, MemoryFigures, Meta};

use super::Options;
use super::allow::{AllowList, Attached};
use super::guest::{Guest, Parts};
use super::journal::Journal;
use super::link::{Link, lock};
use super::snapshot::{Mailbox, Snapshot};
use super::xen::Xen;
use crate::api::{Event, PolicyName, Request};
use crate::error::{Context, Error, Result};
use crate::{paths, xl};

/// The longest request, in bytes.
const MAX_REQUEST: u64 = 64 * 1024;

/// How long a launched stub may take to say hello. Generous: the lab's hosts are emulated.
const UP_TIMEOUT: Duration = Duration::from_secs(60);

/// What all clients share.
pub(super) struct Server {
    options: Options,
    xen: Xen,
    journal: Journal,
    link: Arc<Link>,
    allowed: Mutex<AllowList>,
    /// Guests with a snapshot in progress, and, once it has begun, where to cancel it.
    busy: Mutex<HashMap<u16, Option<Mailbox>>>,
    /// Held while the stub is launched or destroyed.
    launching: Mutex<()>,
}

impl Server {
    /// A server with an empty desk.
    pub(super) fn new(options: Options, xen: Xen, journal: Journal, link: Arc<Link>) -> Self {
        let allowed = Mutex::new(AllowList::open(&options.run));
        Self { options, xen, journal, link, allowed, busy: Mutex::default(), launching: Mutex::default() }
    }

    /// Xen's version, for the log.
    pub(super) fn xen_version(&self) -> String {
        self.xen.version_text()
    }

    /// Cancels every snapshot and waits until their guests are as they were.
    pub(super) fn stop(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        for mailbox in lock(&self.busy).values().flatten() {
            mailbox.cancel();
        }
        while !lock(&self.busy).is_empty() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Serves one client.
    pub(super) fn serve(&self, client: UnixStream) {
        let mut line = String::new();
        let request =
            BufReader::new((&client).take(MAX_REQUEST)).read_line(&mut line).map_err(|e| e.to_string());
        let request = request.and_then(|_| serde_json::from_str(&line).map_err(|e| e.to_string()));
        let result = match request {
            Ok(request) => self.answer(request, &client),
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
        tell(&client, &last);
    }

    fn answer(&self, request: Request, client: &UnixStream) -> Result<Value> {
        match request {
            Request::Status => self.status(),
            Request::Up { pool } => self.up(pool),
            Request::Down { force } => self.down(force),
            Request::Attach { guest } => self.attach(&guest),
            Request::Detach { guest } => self.detach(&guest),
            Request::Snapshot { guest, policy, suspend_timeout } => {
                self.snapshot(client, &guest, policy, Duration::from_secs(suspend_timeout.into()))
            }
        }
    }

    fn status(&self) -> Result<Value> {
        self.forget_gone_guests()?;
        let stub = match self.link.connection() {
            Ok(c) => json!({"state": "up", "domid": c.stub, "pool_mib": c.pool_pages / 256}),
            Err(why) => json!({"state": "down", "reason": why.message, "hint": why.hint}),
        };
        let busy: Vec<u16> = lock(&self.busy).keys().copied().collect();
        let guests: Vec<Value> = lock(&self.allowed)
            .entries()
            .iter()
            .map(|a| json!({"name": a.name, "domid": a.domid, "snapshotting": busy.contains(&a.domid)}))
            .collect();
        Ok(json!({"xen": self.xen.version_text(), "stub": stub, "guests": guests}))
    }

    fn up(&self, pool: Option<u32>) -> Result<Value> {
        let _launching = lock(&self.launching);
        if self.xen.find_domain(paths::STUB_NAME)?.is_none() {
            if !self.options.stub_config.exists() {
                return Err(Error::new(format!("{} is missing", self.options.stub_config.display()))
                    .hint("It comes with the project: boot/host/stub.cfg"));
            }
            // The stub itself serves in 32 MiB; what is above is pool.
            let extra: Vec<String> =
                pool.map(|mib| format!("memory={}", mib.saturating_add(32))).into_iter().collect();
            xl::create(&self.options.stub_config, &extra)?;
        }
        let connection = self.link.wait(UP_TIMEOUT)?;
        Ok(json!({"domid": connection.stub, "pool_mib": connection.pool_pages / 256}))
    }

    fn down(&self, force: bool) -> Result<Value> {
        let _launching = lock(&self.launching);
        let busy = lock(&self.busy).len();
        if busy > 0 && !force {
            return Err(Error::new(format!("{busy} snapshots are in progress"))
                .hint("Wait for them, or use --force: they are then given up"));
        }
        match self.xen.find_domain(paths::STUB_NAME)? {
            Some(stub) => xl::destroy(stub).map(|()| json!({"domid": stub})),
            None => Ok(json!({"domid": null})),
        }
    }

    fn attach(&self, guest: &str) -> Result<Value> {
        let listed = xl::find(guest)?;
        let name = listed.name().to_owned();
        if name == paths::STUB_NAME {
            return Err(Error::new("the stub domain can't be attached to itself"));
        }
        let info = self.xen.guest(listed.domid)?;
        match listed.kind() {
            "pvh" => {}
            "pv" => {
                return Err(Error::new(format!("`{name}` is a PV guest: Xen can't log its writes"))
                    .hint("Use type=\"pvh\" in its configuration; most Linux guests boot unchanged"));
            }
            kind => {
                return Err(Error::new(format!(
                    "`{name}` is of type {kind}: its device model's state can't be saved yet"
                ))
                .hint("Use type=\"pvh\" in its configuration"));
            }
        }
        if listed.has_pci() {
            return Err(Error::new(format!(
                "`{name}` has a PCI device passed through: Xen can't log its writes"
            ))
            .hint(format!("Detach it first: xl pci-detach {name} BDF")));
        }
        self.xen.check_window(listed.domid)?;
        let entry = Attached { domid: listed.domid, uuid: info.uuid, name };
        lock(&self.allowed).insert(entry.clone())?;
        tracing::info!(guest = entry.name, domid = entry.domid, "attached");
        Ok(json!({"guest": entry.name, "domid": entry.domid, "memory_mib": info.tot_pages / 256}))
    }

    fn detach(&self, guest: &str) -> Result<Value> {
        let mut allowed = lock(&self.allowed);
        let entry = allowed.find(guest)?.clone();
        if lock(&self.busy).contains_key(&entry.domid) {
            return Err(
                Error::new(format!("a snapshot of `{guest}` is in progress")).hint("Wait until it has ended")
            );
        }
        allowed.retain(|a| *a != entry)?;
        Ok(json!({"guest": entry.name, "domid": entry.domid}))
    }

    fn forget_gone_guests(&self) -> Result<()> {
        let domains = self.xen.domains().context("listing the domains")?;
        lock(&self.allowed).retain(|a| domains.iter().any(|d| d.domid == a.domid && d.uuid == a.uuid))
    }

    fn snapshot(
        &self,
        client: &UnixStream,
        guest: &str,
        policy: PolicyName,
        suspend_timeout: Duration,
    ) -> Result<Value> {
        let began = Instant::now();
        let who = lock(&self.allowed).find(guest)?.clone();
        let connection = self.link.connection()?;
        let info = self.xen.check_attached(&who)?;
        let busy = self.occupy(&who)?;
        let config = xl::find(&who.domid.to_string())?.config;
        let frames = self.xen.frames(who.domid)?;
        let images = &self.options.images;
        fs::create_dir_all(images).context(format!("making {}", images.display()))?;
        let created = SystemTime::now();
        let meta = Meta {
            guest: who.name.clone(),
            uuid: uuid_text(&who.uuid),
            created,
            xen: self.xen.store_version(),
            vcpus: info.online_vcpus.max(1),
            memory: MemoryFigures { max_kib: info.max_pages * 4, target_kib: info.tot_pages * 4 },
            extents: frames.clone(),
            policy: policy.name().into(),
        };
        let id = ImageId::unused(images, &who.name, created);
        let writer = ImageWriter::create(images, id, meta).context("making the image")?;
        let image = writer.id().to_string();
        let (mailbox, mail) = Mailbox::new(writer)?;
        busy.cancel_at(&mailbox);
        let guest = Guest::new(Parts {
            xen: self.xen.clone(),
            journal: self.journal.clone(),
            who,
            stub: connection.stub,
            frames,
            config,
            suspend_timeout,
            cancelled: mailbox.cancelled(),
        })?;
        tracing::info!(image, pages = guest.pages(), policy = policy.name(), "snapshot begins");
        tell(client, &Event::Started { image: image.clone(), pages: guest.pages() });
        cancel_on_hang_up(client, &mailbox)?;
        let snapshot = Snapshot { guest, connection, mailbox, mail, policy, began };
        let result = snapshot.run(&self.link, &mut |event| tell(client, &event));
        if result.is_ok() {
            tracing::info!(image, "snapshot committed");
        }
        result
    }

    /// Marks a guest as having a snapshot in progress.
    fn occupy(&self, guest: &Attached) -> Result<Busy<'_>> {
        match lock(&self.busy).entry(guest.domid) {
            Entry::Occupied(_) => Err(Error::new(format!("a snapshot of `{}` is in progress", guest.name))
                .hint("Wait until it has ended: luthier status")),
            Entry::Vacant(free) => {
                free.insert(None);
                Ok(Busy { busy: &self.busy, domid: guest.domid })
            }
        }
    }
}

/// A guest with a snapshot in progress; no longer when dropped.
struct Busy<'a> {
    busy: &'a Mutex<HashMap<u16, Option<Mailbox>>>,
    domid: u16,
}

impl Busy<'_> {
    fn cancel_at(&self, mailbox: &Mailbox) {
        lock(self.busy).insert(self.domid, Some(mailbox.clone()));
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        lock(self.busy).remove(&self.domid);
    }
}

/// A client that hangs up wants its snapshot no more.
fn cancel_on_hang_up(client: &UnixStream, mailbox: &Mailbox) -> Result<()> {
    let mut client = client.try_clone().context("watching the client")?;
    let mailbox = mailbox.clone();
    std::thread::spawn(move || {
        // Clients say nothing more: any end of this read is the end of the client, or our own.
        let _ = client.read(&mut [0]);
        mailbox.cancel();
    });
    Ok(())
}

/// A uuid as people write it.
fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|b| format!("{b:02x}")).collect();
    let part = |range| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

/// Writes one event. A client that is gone is noticed elsewhere.
fn tell(client: &UnixStream, event: &Event) {
    let mut client = client;
    if let Ok(mut line) = serde_json::to_vec(event) {
        line.push(b'\n');
        let _ = client.write_all(&line);
    }
}
