//! The link to the shim: one vchan, one reader, many writers.
//!
//! It starts a task for each snapshot and takes the shim's words to its mailbox. When the shim
//! goes, every snapshot is told and given the time to end; then the next shim is waited for.

use alloc::boxed::Box;
use alloc::rc::Rc;
use core::cell::{Cell, RefCell};
use core::time::Duration;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::mutex::Mutex;
use handoff::{
    BITMAP_CHUNK, CHANNEL_BULK, Failure, HEADER_LEN, Header, Hello, MAX_BODY, Outcome, PAGES_PER_MESSAGE,
};
use handoff::{ToShim, ToStub};
use log::{error, info, warn};
use xen::executor::Spawner;
use xen::page::PagePool;
use xen::time::sleep;
use xen::vchan::{Config, Connection, Server, VchanError};
use xen::xenstore::Xenstore;

use crate::group::Groups;
use crate::mailbox::Mailbox;
use crate::net::Net;
use crate::snapshot::{self, Start};

/// Where the shim finds the channel, relative to our own xenstore directory.
const PATH: &str = "data/luthier";

/// The domain of the shim.
const DOM0: u16 = 0;

/// Snapshots at a time.
const MAX_JOBS: usize = 8;

/// Why a message did not go or come.
#[derive(Debug)]
pub(crate) enum LinkError {
    /// The shim is gone.
    Channel(VchanError),
    /// The shim said something that makes no sense.
    Nonsense(&'static str),
}

impl From<VchanError> for LinkError {
    fn from(e: VchanError) -> Self {
        Self::Channel(e)
    }
}

impl core::fmt::Display for LinkError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Channel(e) => write!(f, "{e}"),
            Self::Nonsense(what) => write!(f, "the shim sent {what}"),
        }
    }
}

/// The link.
pub(crate) struct Link {
    server: &'static Server,
    connection: Cell<Option<Connection<'static>>>,
    /// Held while a message is written, so that none is torn.
    writing: Mutex<NoopRawMutex, ()>,
    jobs: RefCell<heapless::Vec<Rc<Mailbox>, MAX_JOBS>>,
    pool: &'static PagePool,
    net: Rc<Net>,
    groups: Groups,
}

impl Link {
    /// Makes the channel.
    pub(crate) fn open(
        store: &'static Xenstore,
        pool: &'static PagePool,
        net: Rc<Net>,
    ) -> Result<Self, &'static str> {
        let server = Server::new(Config::new(PATH, DOM0), pool, store).map_err(|e| {
            error!("{e}");
            "the channel can't be made"
        })?;
        Ok(Self {
            server: Box::leak(Box::new(server)),
            connection: Cell::new(None),
            writing: Mutex::new(()),
            jobs: RefCell::default(),
            pool,
            groups: Groups::new(Rc::clone(&net)),
            net,
        })
    }

    /// Snapshots of several guests at once.
    pub(crate) fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The pool, for snapshots.
    pub(crate) fn pool(&self) -> &'static PagePool {
        self.pool
    }

    /// Serves one shim after the other.
    pub(crate) async fn serve(self: Rc<Self>, spawner: Spawner) {
        loop {
            match self.server.wait_connected().await {
                Ok(connection) => {
                    self.connection.set(Some(connection));
                    let Err(why) = self.serve_one(connection, &spawner).await;
                    self.connection.set(None);
                    connection.close();
                    self.net.end_captures();
                    self.groups.shim_lost();
                    warn!("the shim has gone: {why}");
                    for mailbox in self.jobs.borrow().iter() {
                        mailbox.lose();
                    }
                    while !self.jobs.borrow().is_empty() {
                        sleep(Duration::from_millis(1)).await;
                    }
                }
                Err(e) => {
                    error!("the channel can't be published: {e}");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    async fn serve_one(
        self: &Rc<Self>,
        connection: Connection<'static>,
        spawner: &Spawner,
    ) -> Result<core::convert::Infallible, LinkError> {
        let (message, _) = receive(connection).await?;
        let ToStub::Hello(hello) = message else { return Err(LinkError::Nonsense("no hello")) };
        // Answered whatever the version: the shim then says which two don't fit.
        self.send(&ToShim::Hello(Hello::new(self.pool.free() as u32)), &[]).await?;
        if !hello.fits() {
            return Err(LinkError::Nonsense("a hello of another version"));
        }
        info!("the shim is here");
        self.groups.shim_here();
        let mut chunk = alloc::vec![0; BITMAP_CHUNK.max(CHANNEL_BULK)];
        loop {
            let (message, bulk) = receive(connection).await?;
            let bytes = chunk.get_mut(..bulk).ok_or(LinkError::Nonsense("too much bulk"))?;
            connection.read_exact(bytes).await?;
            self.dispatch(message, bytes, spawner).await?;
        }
    }

    async fn dispatch(
        self: &Rc<Self>,
        message: ToStub,
        bulk: &[u8],
        spawner: &Spawner,
    ) -> Result<(), LinkError> {
        match message {
            ToStub::Hello(_) => return Err(LinkError::Nonsense("a second hello")),
            ToStub::Start { job, guest, pages, plan } => {
                if let Err(why) = self.start(Start { job, guest, pages, plan }, spawner) {
                    self.send(&ToShim::Ended { job, result: Err(why) }, &[]).await?;
                }
            }
            ToStub::Reply { job, seq, result } => {
                // Answers to a snapshot that has ended meanwhile are of no interest.
                let Some(mailbox) = self.mailbox(job) else { return Ok(()) };
                let understood = match result {
                    Ok(Outcome::Dirty { first }) => {
                        return match mailbox.put_dirty(first, bulk) {
                            true => Ok(()),
                            false => Err(LinkError::Nonsense("a misplaced dirty bitmap")),
                        };
                    }
                    Ok(Outcome::Window { .. }) => mailbox.put_left_out(bulk),
                    Ok(Outcome::Done) | Err(_) => bulk.is_empty(),
                };
                if !understood {
                    return Err(LinkError::Nonsense("an answer with the wrong bulk"));
                }
                if !mailbox.put_answer(seq, result) {
                    return Err(LinkError::Nonsense("more answers than questions"));
                }
            }
            ToStub::Cancel { job } => {
                if let Some(mailbox) = self.mailbox(job) {
                    mailbox.cancelled.set(true);
                }
            }
            ToStub::Group(order) => {
                if !self.groups.order(order, bulk) {
                    return Err(LinkError::Nonsense("a misplaced piece of a manifest"));
                }
            }
            ToStub::Net { request, order } => {
                for (request, answer) in self.net.order(request, order) {
                    self.send(&ToShim::Net { request, answer }, &[]).await?;
                }
            }
        }
        Ok(())
    }

    fn mailbox(&self, job: u32) -> Option<Rc<Mailbox>> {
        self.jobs.borrow().iter().find(|m| m.job == job).cloned()
    }

    /// Starts a snapshot's task.
    fn start(self: &Rc<Self>, start: Start, spawner: &Spawner) -> Result<(), Failure> {
        let meeting = start.plan.barrier.then(|| self.groups.join(start.job, start.guest));
        let mailbox = Rc::new(Mailbox::new(start.job, start.pages, meeting).ok_or(Failure::NoMemory)?);
        self.jobs.borrow_mut().push(Rc::clone(&mailbox)).map_err(|_| Failure::Busy)?;
        let (link, job) = (Rc::clone(self), start.job);
        let task = async move {
            let result = snapshot::run(&link, &mailbox, start).await;
            // Off the list first: a shim that reads this may start the next at once.
            link.jobs.borrow_mut().retain(|m| m.job != job);
            let _ = link.send(&ToShim::Ended { job, result }, &[]).await;
        };
        spawner.spawn("snapshot", task).map_err(|_| {
            self.jobs.borrow_mut().retain(|m| m.job != job);
            Failure::Busy
        })
    }

    /// Sends a message with its bulk.
    pub(crate) async fn send(&self, message: &ToShim, bulk: &[&[u8]]) -> Result<(), LinkError> {
        let connection = self.connection.get().ok_or(VchanError::Closed)?;
        let len = bulk.iter().map(|b| b.len()).sum();
        let mut buf = [0; HEADER_LEN + MAX_BODY];
        let head = handoff::encode(message, len, &mut buf)
            .map_err(|_| LinkError::Nonsense("nothing: ours is too long"))?;
        // The most pieces are a full message of pages: head, entries and contents.
        let mut slices: heapless::Vec<&[u8], { PAGES_PER_MESSAGE + 2 }> = heapless::Vec::new();
        let _ = slices.push(head);
        if slices.extend_from_slice(bulk).is_err() {
            return Err(LinkError::Nonsense("nothing: ours has too many pieces"));
        }
        let _turn = self.writing.lock().await;
        Ok(connection.write_slices(&slices).await?)
    }

    /// Sends captured frames for ever, after those that were asked for meanwhile.
    pub(crate) async fn send_captured(self: Rc<Self>) {
        loop {
            self.net.captured().await;
            while let Some((request, answer, bulk)) = self.net.take_captured() {
                if self.send(&ToShim::Net { request, answer }, &[&bulk]).await.is_err() {
                    break;
                }
            }
            // More of them in one message.
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the shim has read everything that was sent.
    pub(crate) async fn drained(&self) -> Result<(), LinkError> {
        let connection = self.connection.get().ok_or(VchanError::Closed)?;
        Ok(connection.drained().await?)
    }
}

/// Reads one message; its bulk is yet to be read.
async fn receive(connection: Connection<'static>) -> Result<(ToStub, usize), LinkError> {
    let mut head = [0; HEADER_LEN];
    connection.read_exact(&mut head).await?;
    let header = Header::parse(&head).map_err(|_| LinkError::Nonsense("no header"))?;
    let mut body = [0; MAX_BODY];
    let body = body.get_mut(..header.body).ok_or(LinkError::Nonsense("a long body"))?;
    connection.read_exact(body).await?;
    let message = handoff::decode(body).map_err(|_| LinkError::Nonsense("no message"))?;
    Ok((message, header.bulk))
}
