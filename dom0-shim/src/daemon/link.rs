//! The link to the stub: finds it, says hello, and hands what arrives to its snapshot.
//!
//! One thread owns the reading half for the life of the daemon. Pages go from the shared ring to
//! the image's file by one `pwrite`, with no copy of ours in between. The reader must never do
//! anything slow besides that: verbs are done by each snapshot's own thread.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use handoff::{CAPTURE_BULK, HEADER_LEN, Header, Hello, Job, MAX_BODY, PAGE_ENTRY_LEN, PAGES_PER_MESSAGE};
use handoff::{NetAnswer, NetOrder, PageEntry, RequestId, ToShim, ToStub};
use privcmd::vchan;
use zeroize::Zeroizing;

use super::group::Inbox;
use super::haste::Runner;
use super::lock;
use super::mailbox::{Mail, Mailbox};
use super::net::{Answers, Asks, Switch};
use super::sink::Contents;
use super::xen::Xen;
use crate::error::{Context, Error, Result};
use crate::paths;

/// How long a hello may take. Generous: the lab's hosts are emulated.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the stub may leave our ring full before it counts as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How often to look for a stub while there is none.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whether there is a stub to talk to.
enum State {
    Down(Error),
    Up(Arc<Connection>),
}

/// A stub that answered our hello.
pub(super) struct Connection {
    /// Its domain id.
    pub(super) stub: u16,
    /// Pages in its pool.
    pub(super) pool_pages: u32,
    /// The thread that takes in what it says.
    pub(super) reader: Arc<Runner>,
    writer: Mutex<vchan::Writer>,
    closer: vchan::Closer,
    /// Why we closed it, if we did.
    closed: OnceLock<Error>,
}

impl Connection {
    /// Sends one message with its bulk.
    ///
    /// # Errors
    /// The connection is then closed: a message may have been torn.
    pub(super) fn send(&self, message: &ToStub, bulk: &[u8]) -> Result<()> {
        send(&mut lock(&self.writer), message, bulk).inspect_err(|why| self.close(why))
    }

    /// Gives the stub up. It sees that the shim is gone and ends what it was doing; when it is
    /// ready for the next connection, the link makes one.
    pub(super) fn close(&self, why: &Error) {
        let _ = self.closed.set(why.clone());
        self.closer.close();
    }
}

fn send(writer: &mut vchan::Writer, message: &ToStub, bulk: &[u8]) -> Result<()> {
    // Wiped afterwards: one message holds a key.
    let mut buf = Zeroizing::new([0; HEADER_LEN + MAX_BODY]);
    let head = handoff::encode(message, bulk.len(), &mut buf).context("encoding a message")?;
    writer.write_all(&[head, bulk]).context("writing to the stub domain")
}

/// The link, shared by all threads of the daemon.
pub(super) struct Link {
    state: Mutex<State>,
    changed: Condvar,
    jobs: Mutex<HashMap<Job, Mailbox>>,
    next_job: AtomicU32,
    asks: Arc<Asks>,
    groups: Inbox,
}

impl Link {
    /// A link that looks for its stub from now on.
    pub(super) fn start(xen: Xen, groups: Inbox) -> Arc<Self> {
        let link = Arc::new(Self {
            state: Mutex::new(State::Down(no_stub())),
            changed: Condvar::new(),
            jobs: Mutex::default(),
            next_job: AtomicU32::new(1),
            asks: Arc::default(),
            groups,
        });
        let keeper = Arc::clone(&link);
        std::thread::spawn(move || keeper.keep(&xen));
        link
    }

    /// The connection, or why there is none.
    pub(super) fn connection(&self) -> Result<Arc<Connection>> {
        match &*lock(&self.state) {
            State::Up(connection) => Ok(Arc::clone(connection)),
            State::Down(why) => Err(why.clone()),
        }
    }

    /// Whether this connection is still the one: if not, who enlists now is not told of its end.
    pub(super) fn is_current(&self, connection: &Arc<Connection>) -> bool {
        matches!(&*lock(&self.state), State::Up(current) if Arc::ptr_eq(current, connection))
    }

    /// Waits for a connection other than this one. Weak: as long as somebody holds a connection its
    /// event channel is bound, and the stub waits for it instead of offering another.
    pub(super) fn next(&self, last: &Weak<Connection>) -> Weak<Connection> {
        let mut state = lock(&self.state);
        loop {
            match &*state {
                State::Up(connection) if Arc::as_ptr(connection) != last.as_ptr() => {
                    return Arc::downgrade(connection);
                }
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Waits until a stub is connected.
    pub(super) fn wait(&self, timeout: Duration) -> Result<Arc<Connection>> {
        let until = Instant::now() + timeout;
        let mut state = lock(&self.state);
        loop {
            match &*state {
                State::Up(connection) => return Ok(Arc::clone(connection)),
                State::Down(why) if Instant::now() >= until => return Err(why.clone()),
                State::Down(_) => {
                    state = self
                        .changed
                        .wait_timeout(state, LOOK_EVERY)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
        }
    }

    /// Takes a job number for a mailbox; messages for it arrive there from now on.
    pub(super) fn enlist(&self, mailbox: Mailbox) -> Job {
        let job = self.next_job.fetch_add(1, Ordering::Relaxed);
        lock(&self.jobs).insert(job, mailbox);
        job
    }

    /// Forgets a job: what still arrives for it is dropped.
    pub(super) fn dismiss(&self, job: Job) {
        lock(&self.jobs).remove(&job);
    }

    fn mailbox(&self, job: Job) -> Option<Mailbox> {
        lock(&self.jobs).get(&job).cloned()
    }

    fn set(&self, state: State) {
        *lock(&self.state) = state;
        self.changed.notify_all();
    }

    /// Finds a stub, serves it until it is gone, and again.
    fn keep(&self, xen: &Xen) {
        loop {
            let why = match self.serve(xen) {
                Ok(never) => match never {},
                Err(why) => why,
            };
            let why = match &*lock(&self.state) {
                State::Up(connection) => {
                    let why = connection.closed.get().cloned().unwrap_or(why);
                    tracing::warn!(reason = %why.message, "the connection to the stub domain has ended");
                    why
                }
                State::Down(_) => why,
            };
            self.set(State::Down(why));
            for mailbox in lock(&self.jobs).values() {
                mailbox.post(Mail::Lost);
            }
            self.asks.close_all();
            self.groups.lost();
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn serve(&self, xen: &Xen) -> Result<std::convert::Infallible> {
        let stub = match xen.find_domain(paths::STUB_NAME)? {
            None => return Err(no_stub()),
            Some(info) if info.alive() => info.domid,
            Some(info) => {
                return Err(Error::new(format!("the stub domain has crashed (domain {})", info.domid)).hint(
                    "Its last words are in its console's log; `luthier up` starts a new one in its place",
                ));
            }
        };
        let path = format!("/local/domain/{stub}/{}", paths::CHANNEL);
        let channel = vchan::Client::connect(stub, &path, HELLO_TIMEOUT)
            .context("connecting to the stub domain")
            .map_err(|e| e.hint(format!("Its console may say more: xl console {}", paths::STUB_NAME)))?;
        let closer = channel.closer();
        let (mut reader, mut writer) = channel.split();
        writer.set_timeout(Some(WRITE_TIMEOUT));
        send(&mut writer, &ToStub::Hello(Hello::new(0)), &[])?;
        reader.set_timeout(Some(HELLO_TIMEOUT));
        let (message, _) = receive(&mut reader)?;
        let ToShim::Hello(hello) = message else {
            return Err(Error::new("the stub domain did not answer the hello"));
        };
        check_hello(&hello)?;
        reader.set_timeout(None);
        tracing::info!(stub, pool_pages = hello.pool_pages, "the stub domain is connected");
        let connection = Arc::new(Connection {
            stub,
            pool_pages: hello.pool_pages,
            reader: Runner::this(),
            writer: Mutex::new(writer),
            closer,
            closed: OnceLock::new(),
        });
        self.set(State::Up(Arc::clone(&connection)));
        loop {
            // A stub that goes on talking is not listened to once it was given up.
            if let Some(why) = connection.closed.get() {
                return Err(why.clone());
            }
            let (message, bulk) = receive(&mut reader)?;
            self.dispatch(&mut reader, message, bulk)?;
        }
    }

    /// Takes one message to its snapshot. An error closes the connection.
    fn dispatch(&self, reader: &mut vchan::Reader, message: ToShim, bulk: usize) -> Result<()> {
        let (job, mail) = match message {
            ToShim::Pages { job, count } => return self.pages(reader, job, usize::from(count), bulk),
            ToShim::Verb { job, seq, verb } => {
                let mut bytes = vec![0; bulk];
                reader.read_exact(&mut bytes).context("reading from the stub domain")?;
                (job, Mail::Verb { seq, verb, bulk: bytes })
            }
            ToShim::Round { job, round } => (job, Mail::Round(round)),
            ToShim::Progress { job, progress } => (job, Mail::Progress(progress)),
            ToShim::Ended { job, result } => (job, Mail::Ended(result)),
            ToShim::Net { request, answer } => return self.net_answer(reader, request, answer, bulk),
            ToShim::Group(news) => {
                // Bounded by the header; kept for the thread that takes it to the disk.
                let mut bytes = vec![0; bulk];
                reader.read_exact(&mut bytes).context("reading from the stub domain")?;
                self.groups.news(news, bytes);
                return Ok(());
            }
            ToShim::Hello(_) => return Err(Error::new("the stub domain said hello twice")),
        };
        if let Some(mailbox) = self.mailbox(job) {
            mailbox.post(mail);
        }
        Ok(())
    }

    /// Takes an answer of the network switch to who asked.
    fn net_answer(
        &self,
        reader: &mut vchan::Reader,
        request: RequestId,
        answer: NetAnswer,
        bulk: usize,
    ) -> Result<()> {
        let most = if matches!(answer, NetAnswer::Captured { .. }) { CAPTURE_BULK } else { 0 };
        if bulk > most {
            return Err(Error::new("the stub domain sent an answer of its switch with too much bulk"));
        }
        let mut bytes = vec![0; bulk];
        reader.read_exact(&mut bytes).context("reading from the stub domain")?;
        self.asks.post(request, answer, bytes);
        Ok(())
    }

    /// Stores a message of pages, straight from the ring.
    fn pages(&self, reader: &mut vchan::Reader, job: Job, count: usize, bulk: usize) -> Result<()> {
        let mut entries = [0; PAGES_PER_MESSAGE * PAGE_ENTRY_LEN];
        let malformed = || Error::new("the stub domain sent a malformed message of pages");
        let entries = entries.get_mut(..count * PAGE_ENTRY_LEN).ok_or_else(malformed)?;
        reader.read_exact(entries).context("reading from the stub domain")?;
        let (chunks, _) = entries.as_chunks::<PAGE_ENTRY_LEN>();
        let entries: Vec<PageEntry> = chunks
            .iter()
            .map(PageEntry::parse)
            .collect::<std::result::Result<_, _>>()
            .map_err(|_| malformed())?;
        let contents: usize = entries.iter().map(PageEntry::content_len).sum();
        if bulk != count * PAGE_ENTRY_LEN + contents {
            return Err(malformed());
        }
        let stored = match self.mailbox(job) {
            Some(mailbox) => mailbox.store(&entries, &mut Ring(reader)),
            None => reader.skip(contents),
        };
        stored.context("reading from the stub domain")
    }
}

/// The contents of pages, in the ring.
struct Ring<'a>(&'a mut vchan::Reader);

impl Contents for Ring<'_> {
    type Error = vchan::Error;

    fn move_to(
        &mut self,
        file: &File,
        offset: u64,
        len: usize,
    ) -> std::result::Result<io::Result<()>, vchan::Error> {
        match self.0.write_to(file, offset, len) {
            Ok(()) => Ok(Ok(())),
            // The reader has skipped the contents: the snapshot ends, the connection does not.
            Err(vchan::Error::File(e)) => Ok(Err(e)),
            Err(e) => Err(e),
        }
    }

    fn take(&mut self, into: &mut [u8]) -> std::result::Result<(), vchan::Error> {
        self.0.read_exact(into)
    }

    fn skip(&mut self, len: usize) -> std::result::Result<(), vchan::Error> {
        self.0.skip(len)
    }
}

impl Switch for Link {
    fn ask(&self, order: NetOrder) -> Result<Answers> {
        let connection = self.connection()?;
        let answers = Asks::open(&self.asks, matches!(order, NetOrder::Capture { on: true, .. }));
        connection.send(&ToStub::Net { request: answers.request(), order }, &[])?;
        Ok(answers)
    }
}

/// Refuses a stub of another release.
fn check_hello(hello: &Hello) -> Result<()> {
    if hello.fits() {
        return Ok(());
    }
    let hint = "Install stub and shim of one release, then: luthier down && luthier up";
    if hello.magic != handoff::MAGIC {
        return Err(Error::new("the stub domain's channel does not speak Luthier's handoff").hint(hint));
    }
    Err(Error::new(format!(
        "the stub domain speaks version {} of the handoff, this luthierd speaks {}",
        hello.version,
        handoff::VERSION
    ))
    .hint(hint))
}

/// Reads one message; its bulk is still in the ring.
fn receive(reader: &mut vchan::Reader) -> Result<(ToShim, usize)> {
    let reading = "reading from the stub domain";
    let mut head = [0; HEADER_LEN];
    reader.read_exact(&mut head).context(reading)?;
    let header = Header::parse(&head).context(reading)?;
    let mut body = [0; MAX_BODY];
    let body = body.get_mut(..header.body).ok_or_else(|| Error::new("a header beyond its bounds"))?;
    reader.read_exact(body).context(reading)?;
    Ok((handoff::decode(body).context(reading)?, header.bulk))
}

fn no_stub() -> Error {
    Error::new("no stub domain is running").hint("Start it: luthier up")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stub_of_another_version_is_refused_by_both_numbers() {
        check_hello(&Hello::new(1)).unwrap();
        let error = check_hello(&Hello { version: handoff::VERSION + 1, ..Hello::new(1) }).unwrap_err();
        assert!(error.message.contains(&format!("version {}", handoff::VERSION + 1)), "{error}");
        assert!(error.message.contains(&format!("speaks {}", handoff::VERSION)), "{error}");
        assert!(error.hint.is_some());
        let error = check_hello(&Hello { magic: 7, ..Hello::new(1) }).unwrap_err();
        assert!(error.message.contains("handoff"), "{error}");
    }
}
