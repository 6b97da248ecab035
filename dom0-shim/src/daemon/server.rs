//! Serves clients: one request a connection.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use store::{ImageId, ImageWriter, MemoryFigures, Meta};

use super::Options;
use super::allow::{AllowList, Attached};
use super::desk::{Claim, Desk};
use super::guest::{Guest, Parts};
use super::journal::Journal;
use super::link::{Connection, Link};
use super::lock;
use super::mailbox::Mailbox;
use super::recovery::Mender;
use super::snapshot::Snapshot;
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
    mender: Mender,
    link: Arc<Link>,
    allowed: Mutex<AllowList>,
    desk: Desk,
    /// Clients that are being served.
    serving: AtomicUsize,
    /// Held while the stub is launched or destroyed.
    launching: Mutex<()>,
}

impl Server {
    /// A server. `mender` has begun with what an earlier daemon left.
    pub(super) fn new(options: Options, mender: Mender, link: Arc<Link>) -> Self {
        let allowed = Mutex::new(AllowList::open(&options.run));
        let Mender { xen, journal, desk } = mender.clone();
        Self {
            options,
            xen,
            journal,
            desk,
            mender,
            link,
            serving: AtomicUsize::new(0),
            allowed,
            launching: Mutex::default(),
        }
    }

    /// Xen's version, for the log.
    pub(super) fn xen_version(&self) -> String {
        self.xen.version_text()
    }

    /// Cancels every snapshot and waits until their guests are as they were.
    pub(super) fn stop(&self, timeout: Duration) {
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
            Request::Attach { guest } => self.attach(&guest),
            Request::Detach { guest } => self.detach(&guest),
            Request::Snapshot { guest, policy, suspend_timeout } => {
                self.snapshot(client, teller, &guest, policy, Duration::from_secs(suspend_timeout.into()))
            }
        }
    }

    fn status(&self) -> Result<Value> {
        self.forget_gone_guests()?;
        let stub = match self.link.connection() {
            Ok(c) => json!({"state": "up", "domid": c.stub, "pool_mib": c.pool_pages / 256}),
            Err(why) => json!({"state": "down", "reason": why.message, "hint": why.hint}),
        };
        let busy = self.desk.snapshots();
        let guests: Vec<Value> = lock(&self.allowed)
            .entries()
            .iter()
            .map(|a| json!({"name": a.name, "domid": a.domid, "snapshotting": busy.contains(&a.domid)}))
            .collect();
        Ok(json!({"xen": self.xen.version_text(), "stub": stub, "guests": guests}))
    }

    fn up(&self, pool: Option<u32>) -> Result<Value> {
        let _launching = lock(&self.launching);
        let mut found = self.xen.find_domain(paths::STUB_NAME)?;
        if let Some(dead) = found.take_if(|stub| !stub.alive()) {
            tracing::warn!(stub = dead.domid, why = ?dead.shutdown, "removing a stub domain that has crashed");
            xl::destroy(dead.domid)?;
        }
        if found.is_none() {
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
        let busy = self.desk.snapshots().len();
        if busy > 0 && !force {
            return Err(Error::new(format!("{busy} snapshots are in progress"))
                .hint("Wait for them, or use --force: they are then given up"));
        }
        match self.xen.find_domain(paths::STUB_NAME)? {
            Some(stub) => xl::destroy(stub.domid).map(|()| json!({"domid": stub.domid})),
            None => Ok(json!({"domid": null})),
        }
    }

    fn attach(&self, guest: &str) -> Result<Value> {
        let listed = xl::find(guest)?;
        let name = listed.name().to_owned();
        if name == paths::STUB_NAME {
            return Err(Error::new("the stub domain can't be attached to itself")
                .hint("Attach the guests that it is to snapshot: luthier attach GUEST"));
        }
        let info = self.xen.guest(listed.domid)?;
        check_kind(&listed)?;
        self.xen.check_window(listed.domid)?;
        let entry = Attached { domid: listed.domid, uuid: info.uuid, name };
        lock(&self.allowed).insert(entry.clone())?;
        tracing::info!(guest = entry.name, domid = entry.domid, "attached");
        Ok(json!({"guest": entry.name, "domid": entry.domid, "memory_mib": info.tot_pages / 256}))
    }

    fn detach(&self, guest: &str) -> Result<Value> {
        let mut allowed = lock(&self.allowed);
        let entry = allowed.find(guest)?.clone();
        if self.desk.snapshots().contains(&entry.domid) {
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
        teller: &Teller,
        guest: &str,
        policy: PolicyName,
        suspend_timeout: Duration,
    ) -> Result<Value> {
        let began = Instant::now();
        let who = lock(&self.allowed).find(guest)?.clone();
        let domid = who.domid;
        let connection = self.link.connection()?;
        let info = self.xen.check_attached(&who)?;
        let claim = self.desk.snapshot(domid, &who.name)?;
        let order = Order { who, info, connection, policy, suspend_timeout, began };
        let result = self.take(client, teller, &claim, order);
        // Whatever the snapshot could not undo itself.
        self.mender.take_over(domid, claim);
        result
    }

    fn take(&self, client: &UnixStream, teller: &Teller, claim: &Claim, order: Order) -> Result<Value> {
        let Order { who, info, connection, policy, suspend_timeout, began } = order;
        let listed = xl::find(&who.domid.to_string())?;
        // A device may have been attached since.
        check_kind(&listed)?;
        let config = listed.config;
        let frames = self.xen.frames(who.domid)?;
        let images = &self.options.images;
        fs::create_dir_all(images).map_err(|e| {
            Error::from(store::Error::from_io("making", images, e))
                .hint("Images can be kept elsewhere: luthierd --images DIR")
        })?;
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
        let writer = ImageWriter::create(images, id, meta)?;
        let image = writer.id().to_string();
        let (mailbox, mail) = Mailbox::new(writer);
        claim.cancel_at(&mailbox);
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
        teller.tell(Event::Started { image: image.clone(), pages: guest.pages() });
        cancel_on_hang_up(client, &mailbox)?;
        let snapshot = Snapshot { guest, connection, mailbox, mail, policy, began };
        let result = snapshot.run(&self.link, &mut |event| teller.tell(event));
        if result.is_ok() {
            tracing::info!(image, "snapshot committed");
        }
        result
    }
}

/// What [`Server::take`] is to do.
struct Order {
    who: Attached,
    info: privcmd::DomainInfo,
    connection: Arc<Connection>,
    policy: PolicyName,
    suspend_timeout: Duration,
    began: Instant,
}

/// Refuses guests whose writes Xen can't log, or whose state is not all ours to record.
fn check_kind(listed: &xl::Listed) -> Result<()> {
    let name = listed.name();
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
    Ok(())
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

/// Tells a client how it goes. A client that does not read (a stopped terminal, a pager) must
/// never hold up the snapshot, so a thread does the writing, and what finds no room is dropped.
struct Teller {
    events: SyncSender<Event>,
    writer: Option<std::thread::JoinHandle<()>>,
}

/// Events that wait for a slow client.
const UNREAD: usize = 256;

impl Teller {
    fn new(client: &UnixStream) -> Self {
        let (events, unread) = sync_channel::<Event>(UNREAD);
        let writer = client.try_clone().ok().map(|mut client| {
            std::thread::spawn(move || {
                for event in unread {
                    let Ok(mut line) = serde_json::to_vec(&event) else { continue };
                    line.push(b'\n');
                    // A client that is gone is noticed elsewhere.
                    if client.write_all(&line).is_err() {
                        break;
                    }
                }
                // Also ends the thread that waits for the client to hang up.
                let _ = client.shutdown(std::net::Shutdown::Both);
            })
        });
        Self { events, writer }
    }

    fn tell(&self, event: Event) {
        let _ = self.events.try_send(event);
    }

    /// The last event, which is never dropped. Returns when the client can read it, and was hung
    /// up on.
    fn end(self, last: Event) {
        let _ = self.events.send(last);
        drop(self.events);
        if let Some(writer) = self.writer {
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;

    fn listed(kind: &str, pci: Value) -> xl::Listed {
        xl::Listed { domid: 3, config: json!({"c_info": {"name": "web", "type": kind}, "pcidevs": pci}) }
    }

    #[test]
    fn guests_that_cannot_be_tracked_are_refused_with_the_way_out() {
        check_kind(&listed("pvh", json!([]))).unwrap();
        check_kind(&listed("pvh", Value::Null)).unwrap();
        let refused = |listed| check_kind(&listed).unwrap_err();
        let pci = refused(listed("pvh", json!([{"func": 0, "dev": 2, "bus": 1, "domain": 0}])));
        assert!(pci.message.contains("`web` has a PCI device"), "{pci}");
        assert!(pci.hint.unwrap().contains("xl pci-detach web"));
        for kind in ["pv", "hvm", "unknown"] {
            let error = refused(listed(kind, json!([])));
            assert!(error.message.contains("`web`") && error.hint.unwrap().contains("pvh"));
        }
    }

    #[test]
    fn a_client_that_does_not_read_holds_up_nothing_and_still_gets_the_end() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let teller = Teller::new(&ours);
        drop(ours);
        let progress =
            api::Progress { round: 1, remaining: 2, sent: 3, dirty_rate: 4, copy_rate: 5, estimate_ms: None };
        for _ in 0..20_000 {
            teller.tell(Event::Progress(progress));
        }
        let ending = std::thread::spawn(move || teller.end(Event::Done { result: json!("the end") }));
        let lines: Vec<String> = BufReader::new(theirs).lines().map_while(|l| l.ok()).collect();
        ending.join().unwrap();
        assert!(lines.len() < 20_000);
        assert!(lines.last().unwrap().contains("the end"));
        assert!(lines.iter().all(|l| serde_json::from_str::<Event>(l).is_ok()));
    }

    #[test]
    fn a_uuid_reads_as_people_write_it() {
        let uuid = [0x0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
        assert_eq!(uuid_text(&uuid), "0f010203-0405-0607-0809-0a0b0c0d0eff");
    }
}
