//! One snapshot in the daemon: a thread that does the stub's verbs for one guest.
//!
//! Whatever happens to the stub, the store or the client, the thread ends with the guest running,
//! unlogged and ungranted; only then is the image committed or thrown away.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use handoff::{BITMAP_CHUNK, Failure, Job, Outcome, ToStub, Verb, VerbError, VerbErrorKind, WINDOW_SLOTS};
use serde_json::{Value, json};
use store::{Image, ImageWriter, Manifest, Pending};

use super::fault;
use super::figures::{Seen, figures, ms};
use super::guest::Guest;
use super::haste::{Haste, Runner};
use super::link::{Connection, Link};
use super::mailbox::{Mail, Mailbox};
use super::plan::{Cost, Costs};
use crate::api::{Event, PolicyName};
use crate::error::{Error, Result};

/// How long the stub may say nothing while the guest is suspended. After that the guest goes on
/// without it.
const SILENCE_SUSPENDED: Duration = Duration::from_secs(15);

/// The same while the guest runs.
const SILENCE_RUNNING: Duration = Duration::from_secs(30);

/// `GNTST_bad_page` of `grant_table.h`: there is no RAM at the frame.
const GNTST_BAD_PAGE: i16 = -9;

/// What a snapshot needs.
pub(super) struct Snapshot<'a> {
    /// The guest, checked against the allow-list.
    pub(super) guest: Guest,
    /// The stub.
    pub(super) connection: Arc<Connection>,
    /// Where the stub's mail for this snapshot arrives.
    pub(super) mailbox: Mailbox,
    /// The other end of the mailbox.
    pub(super) mail: Receiver<Mail>,
    /// The policy.
    pub(super) policy: PolicyName,
    /// What the stub is told.
    pub(super) plan: handoff::Plan,
    /// Why everything is read although there is a parent, if so.
    pub(super) read_all: Option<&'static str>,
    /// Where the next snapshot learns from this one.
    pub(super) costs: &'a Costs,
    /// The networks that the guest is on, for the image.
    pub(super) networks: Value,
    /// When the request came.
    pub(super) began: Instant,
    /// The group that it is of, for the image. Such an image stays pending: the group decides.
    pub(super) group: Option<Value>,
    /// Who runs before others while the guest stands still.
    pub(super) haste: Vec<Haste>,
}

impl Snapshot<'_> {
    /// Takes the snapshot. `tell` passes events on to the client; `enlisted` gets the job's number
    /// before the stub does.
    pub(super) fn run(
        mut self,
        link: &Link,
        tell: &mut dyn FnMut(Event),
        enlisted: &mut dyn FnMut(Job),
    ) -> Result<Value> {
        let job = link.enlist(self.mailbox.clone());
        enlisted(job);
        let connection = Arc::clone(&self.connection);
        let start =
            ToStub::Start { job, guest: self.guest.domid(), pages: self.guest.pages(), plan: self.plan };
        let mut rounds = Vec::new();
        let ended = match connection.send(&start, &[]) {
            // One that ended before we enlisted would leave us waiting.
            Ok(()) if !link.is_current(&connection) => Err(End::Broken(stub_went())),
            Ok(()) => self.serve(job, &mut rounds, tell),
            Err(e) => Err(End::Broken(e)),
        };
        link.dismiss(job);
        fault::at("ended");
        let released = self.guest.release(ended.is_ok());
        self.haste.clear();
        fault::at("released");
        // A snapshot that failed needs no look at every frame.
        let same = match ended.is_ok() {
            true => self.guest.check_frames().map_err(|resized| self.describe(Failure::Verb(resized))),
            false => Ok(()),
        };
        let ended = ended.map_err(|end| match end {
            End::Told(why) => why,
            End::Broken(why) => {
                // The stub may still think that the snapshot goes on, and its reader may be in the
                // middle of a page: both end with the connection.
                connection.close(&why);
                why
            }
        });
        let (writer, failed) = self.mailbox.close();
        // A full disk shows as a cancelled snapshot on the stub's side: name the cause.
        let report = match (ended, failed, released.and(same)) {
            (Ok(report), None, Ok(())) => report,
            (_, Some(why), _) | (Err(why), None, _) | (Ok(_), None, Err(why)) => {
                // Dropping the writer removes the partial image.
                drop(writer);
                return Err(why);
            }
        };
        let writer = writer.ok_or_else(|| Error::new("the image was closed early"))?;
        let committed = self.commit(writer, report, rounds);
        fault::at("committed");
        committed
    }

    /// Does verbs until the stub has finished.
    fn serve(
        &mut self,
        job: Job,
        rounds: &mut Vec<crate::api::Round>,
        tell: &mut dyn FnMut(Event),
    ) -> std::result::Result<handoff::Report, End> {
        let mut cancelled = false;
        loop {
            // What the stub asks for comes before what it will ask for.
            let mail = match self.mail.try_recv() {
                Err(TryRecvError::Empty) if self.guest.state_ahead() => continue,
                Err(TryRecvError::Empty) => self.mail.recv_timeout(Duration::from_secs(1)),
                mail => mail.map_err(|_| RecvTimeoutError::Disconnected),
            };
            match mail {
                Ok(Mail::Verb { seq, verb, bulk }) => {
                    let answered = self.execute(job, seq, verb, &bulk);
                    self.mailbox.mark_alive();
                    answered.map_err(End::Broken)?;
                }
                Ok(Mail::Round(round)) => {
                    rounds.push(round.into());
                    tell(Event::Round(round.into()));
                }
                Ok(Mail::Progress(progress)) => tell(Event::Progress(progress.into())),
                Ok(Mail::Ended(Ok(report))) => return Ok(report),
                Ok(Mail::Ended(Err(failure))) => return Err(End::Told(self.describe(failure))),
                Ok(Mail::Lost) => return Err(End::Broken(stub_went())),
                Ok(Mail::Cancel) if !cancelled => {
                    cancelled = true;
                    self.connection.send(&ToStub::Cancel { job }, &[]).map_err(End::Broken)?;
                }
                Ok(Mail::Cancel) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let limit = if self.guest.is_suspended() { SILENCE_SUSPENDED } else { SILENCE_RUNNING };
                    if self.mailbox.silence() > limit {
                        return Err(End::Broken(
                            Error::new(format!(
                                "the stub domain said nothing for {} s; the guest goes on without a snapshot",
                                limit.as_secs()
                            ))
                            .hint("Is it paused (xl list)? If it does not come back: luthier down --force && luthier up"),
                        ));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(End::Broken(Error::new("the snapshot lost its mail")));
                }
            }
        }
    }

    /// Does one verb and answers it. An error here is one of the connection.
    fn execute(&mut self, job: Job, seq: u16, verb: Verb, bulk: &[u8]) -> Result<()> {
        let reply = |result, bulk: &[u8]| self.connection.send(&ToStub::Reply { job, seq, result }, bulk);
        if matches!(verb, Verb::Suspend) {
            self.haste.push(Runner::this().hasten());
        }
        let guest = &mut self.guest;
        let result = match verb {
            Verb::LogDirty(on) => guest.log_dirty(on),
            Verb::Clean { last } => match guest.clean(last) {
                Ok(bitmap) => {
                    let bytes: Vec<u8> = bitmap.iter().flat_map(|w| w.to_le_bytes()).collect();
                    let len = (guest.pages() as usize).div_ceil(8);
                    for (i, chunk) in bytes.get(..len).unwrap_or(&bytes).chunks(BITMAP_CHUNK).enumerate() {
                        let first = (i * BITMAP_CHUNK * 8) as u32;
                        reply(Ok(Outcome::Dirty { first }), chunk)?;
                    }
                    Ok(())
                }
                Err(e) => Err(e),
            },
            Verb::Window { count, .. } | Verb::Prepare { count, .. } => {
                let slots = slots_of(bulk, count)?;
                let opened = match verb {
                    Verb::Window { half, skip_dirty, .. } => guest.window(half, &slots, skip_dirty),
                    Verb::Prepare { at, .. } => guest.prepare(at, &slots).map(|first| (first, Vec::new())),
                    _ => return Err(Error::new("a verb without slots")),
                };
                match opened {
                    Ok((first_ref, left_out)) => {
                        fault::at(fault::step_of(verb));
                        return reply(Ok(Outcome::Window { first_ref }), &left_out);
                    }
                    Err(e) => Err(e),
                }
            }
            Verb::Throttle { percent } => guest.throttle(percent),
            Verb::Revoke => guest.revoke(),
            Verb::Suspend => guest.suspend().inspect(|()| self.haste.push(self.connection.reader.hasten())),
            Verb::State => guest.state(),
            Verb::Resume => guest.resume(),
        };
        fault::at(fault::step_of(verb));
        if let Err(e) = &result {
            tracing::warn!(?verb, kind = ?e.kind, detail = %e.detail, "verb failed");
        }
        reply(result.map(|()| Outcome::Done), &[])?;
        if matches!(verb, Verb::Resume) {
            self.haste.clear();
            self.guest.after_resume();
        }
        Ok(())
    }

    /// The stub's words for a failure, for the operator.
    fn describe(&mut self, failure: Failure) -> Error {
        let name = self.guest.name().to_owned();
        match failure {
            // However far it was when the operator called it off.
            Failure::Verb(VerbError { kind: VerbErrorKind::NoSuspend, .. })
                if self.mailbox.is_cancelled() =>
            {
                self.describe(Failure::Cancelled)
            }
            Failure::Verb(VerbError { kind, detail }) => {
                let error = Error::new(detail.as_str());
                match kind {
                    VerbErrorKind::GuestGone => error.hint("No image was made"),
                    VerbErrorKind::NoSuspend => error.hint(format!(
                        "The guest runs on. Has it a kernel with Xen support? Is it stuck? `xl console {name}` shows it; --suspend-timeout gives it longer"
                    )),
                    VerbErrorKind::LogDirty => {
                        error.hint("The guest runs on. Wait until its migration or save has ended, then try again")
                    }
                    VerbErrorKind::Spoiled => error.hint(
                        "The guest runs on. A guest that does this on purpose can't be snapshotted; look into it",
                    ),
                    VerbErrorKind::Resized => error.hint("Try again when the guest's memory size is stable"),
                    VerbErrorKind::NotAllowed | VerbErrorKind::Hypervisor => {
                        error.hint("The guest runs on; no image was made. luthierd's log may say more")
                    }
                }
            }
            // A grant that went bad under the copy: the guest's doing, as the table will show.
            Failure::Copy { slot, status } => {
                // Of a guest that is gone, nothing can be copied.
                if let Err(gone) = self.guest.look() {
                    return self.describe(Failure::Verb(gone));
                }
                let pfn = self.guest.pfn(slot).unwrap_or_default();
                match self.guest.spoiled() {
                    0 if status == GNTST_BAD_PAGE => {
                        let resized = self.guest.resized();
                        self.describe(Failure::Verb(resized))
                    }
                    0 => Error::new(format!("page {pfn:#x} of `{name}` could not be copied: grant status {status}")),
                    n => Error::new(format!("`{name}` changed {n} grants that the snapshot was using"))
                        .hint("The guest runs on. A guest that does this on purpose can't be snapshotted; look into it"),
                }
            }
            Failure::Cancelled => {
                Error::new("the snapshot was cancelled").hint("The guest runs on; no image was made.")
            }
            Failure::NoMemory => Error::new(format!("the stub domain has too little memory for `{name}`"))
                .hint("Give it a larger pool: luthier down && luthier up --pool MIB"),
            Failure::Busy => Error::new("the stub domain has as many snapshots in progress as it can hold")
                .hint("Try again when one has ended"),
            Failure::Target { estimate_us } => Error::new(format!(
                "`{name}` would have been suspended for about {} ms, more than the target",
                estimate_us / 1000
            ))
            .hint("The guest runs on; no image was made. A larger --downtime, or without --strict"),
            Failure::Protocol => Error::new("the stub domain did not understand the shim")
                .hint("Install stub and shim of one release, then: luthier down && luthier up"),
        }
    }

    /// Writes what is left and makes the image whole.
    fn commit(
        mut self,
        mut writer: ImageWriter,
        report: handoff::Report,
        rounds: Vec<crate::api::Round>,
    ) -> Result<Value> {
        let state =
            self.guest.take_state().ok_or_else(|| Error::new("the guest's state was not recorded"))?;
        writer.set_state(state);
        let suspended = self.guest.suspended_time();
        self.costs.learn(&self.guest.uuid(), Cost::of(&report));
        let seen = Seen {
            rounds: &rounds,
            pages: self.guest.pages(),
            freeze: self.guest.freeze_time(),
            suspended,
            total: self.began.elapsed(),
        };
        let mut figures = figures(&report, &seen);
        figures.insert("policy".into(), json!(self.policy.name()));
        figures.insert("networks".into(), self.networks.clone());
        if let handoff::Policy::Downtime { target_us, .. } = self.plan.policy {
            figures.insert("target_ms".into(), json!(f64::from(target_us) / 1e3));
        }
        if let Some(parent) = writer.parent() {
            let why = self.guest.lost().or(self.read_all);
            figures.insert("parent".into(), json!(parent.manifest().id));
            figures.insert("read".into(), json!(if why.is_some() { "all" } else { "changed" }));
            figures.insert("read_why".into(), json!(why));
        }
        figures.extend(self.guest.disks().figures()?);
        if let Some(group) = &self.group {
            figures.insert("group".into(), group.clone());
        }
        let report = Value::Object(figures.clone());
        let image = match self.group {
            None => Made::Image(writer.commit(report)?),
            Some(_) => Made::Pending(writer.prepare(report)?),
        };
        self.guest.disks().keep();
        if self.plan.keep_log {
            let manifest = image.manifest();
            let kept = self.guest.keep_log(&manifest.id, manifest.contents()).unwrap_or_else(|e| {
                tracing::error!(guest = self.guest.name(), error = %e.message, "keeping the log of its writes");
                false
            });
            figures.insert("log_kept".into(), json!(kept));
        }
        figures.insert("total_ms".into(), json!(ms(self.began.elapsed())));
        figures.insert("bytes".into(), json!(disk_usage(image.path())));
        figures.insert("image".into(), json!(image.manifest().id));
        figures.insert("path".into(), json!(image.path()));
        figures.insert("guest".into(), json!(self.guest.name()));
        figures.insert("contents".into(), json!(image.manifest().contents()));
        Ok(Value::Object(figures))
    }
}

/// The slots of a verb's bulk.
fn slots_of(bulk: &[u8], count: u16) -> Result<Vec<u32>> {
    let (slots, rest) = bulk.as_chunks::<4>();
    if !rest.is_empty() || slots.len() != usize::from(count) || slots.len() > WINDOW_SLOTS {
        return Err(Error::new("the stub domain sent a malformed list of pages"));
    }
    Ok(slots.iter().map(|b| u32::from_le_bytes(*b)).collect())
}

/// An image, or one that is to be decided upon.
enum Made {
    Image(Image),
    Pending(Pending),
}

impl Made {
    fn manifest(&self) -> &Manifest {
        match self {
            Self::Image(image) => image.manifest(),
            Self::Pending(pending) => pending.manifest(),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Image(image) => image.path(),
            Self::Pending(pending) => pending.image().path(),
        }
    }
}

/// How a snapshot without an image ended.
enum End {
    /// The stub said so, and has forgotten it.
    Told(Error),
    /// The connection can't be trusted any more.
    Broken(Error),
}

fn stub_went() -> Error {
    Error::new("the stub domain went away during the snapshot")
        .hint("The guest runs on; no image was made. Start the stub again: luthier up")
}

/// Bytes that a folder's files take on the disk: holes cost nothing.
fn disk_usage(dir: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(dir) else { return 0 };
    files.flatten().filter_map(|f| f.metadata().ok()).map(|m| m.blocks() * 512).sum()
}
