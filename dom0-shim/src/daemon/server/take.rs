//! `luthier snapshot`: from the request to the thread that takes the snapshot.

use std::fs;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use store::{ImageId, ImageWriter, MemoryFigures, Meta, Rest};

use super::attach::check_kind;
use super::ground::Ground;
use super::{Attached, Server, Teller, lock, on_hang_up};
use crate::api::{Event, SnapshotOptions};
use crate::daemon::desk::Claim;
use crate::daemon::disks::{Disks, Found};
use crate::daemon::guest::{Guest, LogPlan, Parts};
use crate::daemon::link::Connection;
use crate::daemon::mailbox::Mailbox;
use crate::daemon::plan::{Known, plan};
use crate::daemon::sink::Sink;
use crate::daemon::snapshot::Snapshot;
use crate::error::{Error, Result};
use crate::xl;

/// The longest that a member of a group may take to suspend: less than the 20 s after which its stub gives
/// the group up, which knows no guest's name.
const MEMBER_SUSPENDS: Duration = Duration::from_secs(15);

impl Server {
    /// Answers a client's request: a client that hangs up wants its snapshot no more.
    pub(super) fn snapshot(
        &self,
        client: &UnixStream,
        teller: &Teller,
        guest: &str,
        options: &SnapshotOptions,
    ) -> Result<Value> {
        if options.to.is_some() {
            return Err(Error::new("--to is for networks").hint("Use it with --net"));
        }
        let tell = &mut |event| {
            let _ = teller.tell(event);
        };
        self.snapshot_with(guest, options, tell, &mut |mailbox| {
            let cancel = mailbox.clone();
            on_hang_up(client, move || cancel.cancel())
        })
    }

    /// Takes a snapshot of an attached guest. `tell` hears of its begin and its rounds; `begun`
    /// gets, once, where it can be cancelled.
    pub(in crate::daemon) fn snapshot_with(
        &self,
        guest: &str,
        options: &SnapshotOptions,
        tell: &mut dyn FnMut(Event),
        begun: &mut dyn FnMut(&Mailbox) -> Result<()>,
    ) -> Result<Value> {
        self.snapshot_as(guest, options, None, tell, begun)
    }

    /// The same as a member of a group: the guest waits at the barrier until the group's cut, and
    /// the image stays pending.
    pub(in crate::daemon) fn snapshot_as<'a>(
        &self,
        guest: &str,
        options: &'a SnapshotOptions,
        tie: Option<Tie<'a>>,
        tell: &mut dyn FnMut(Event),
        begun: &mut dyn FnMut(&Mailbox) -> Result<()>,
    ) -> Result<Value> {
        let began = Instant::now();
        options.check()?;
        let who = lock(&self.allowed).find(guest)?.clone();
        let domid = who.domid;
        let connection = self.link.connection()?;
        let info = self.xen.check_attached(&who)?;
        let claim = self.desk.snapshot(domid, &who.name)?;
        let order = Order { who, info, connection, options, began, tie };
        let result = self.take(&claim, order, tell, begun);
        // Whatever the snapshot could not undo itself.
        self.mender.take_over(domid, claim);
        result
    }

    fn take(
        &self,
        claim: &Claim,
        order: Order<'_>,
        tell: &mut dyn FnMut(Event),
        begun: &mut dyn FnMut(&Mailbox) -> Result<()>,
    ) -> Result<Value> {
        let Order { who, info, connection, options, began, tie } = order;
        let listed = self.configs.of(&self.xen, who.domid, &who.uuid)?;
        // A device may have been attached since.
        check_kind(&listed)?;
        let mut config = listed.config;
        xl::name_back_ends(&mut config, connection.stub);
        let networks = self.net.of_vifs(&xl::vifs(&config));
        let disks = Found::of(&who.name, who.domid, &config, &options.no_disk)?;
        let frames = self.xen.frames(who.domid)?;
        let images = &self.options.images;
        let uuid = uuid_text(&who.uuid);
        let ground = self.ground(&who, &uuid, &frames, options)?;
        fs::create_dir_all(images).map_err(|e| {
            Error::from(store::Error::from_io("making", images, e))
                .hint("Images can be kept elsewhere: luthierd --images DIR")
        })?;
        let created = SystemTime::now();
        let meta = Meta {
            guest: who.name.clone(),
            uuid,
            created,
            xen: self.xen.store_version(),
            vcpus: info.online_vcpus.max(1),
            memory: MemoryFigures { max_kib: info.max_pages * 4, target_kib: info.tot_pages * 4 },
            extents: frames.clone(),
            policy: options.policy.name().into(),
        };
        let id = ImageId::unused(images, &who.name, created);
        let disks = Disks::prepare(images, &id, &who.name, disks)?;
        let Ground { parent, base, read_all } = ground;
        let plan_base = if base.is_some() { handoff::Base::Log } else { handoff::Base::Everything };
        let writer = match parent {
            None => ImageWriter::create(images, id, meta)?,
            Some(parent) => {
                // What the log does not have is as it was.
                let rest = if base.is_some() { Rest::AsInParent } else { Rest::Required };
                ImageWriter::create_on(images, id, meta, parent, rest)?
            }
        };
        let image = writer.id().to_string();
        let (mailbox, mail) = Mailbox::new(Sink::new(writer, options.codec)?);
        claim.cancel_at(&mailbox);
        let longest = if tie.is_some() { MEMBER_SUSPENDS } else { Duration::MAX };
        let guest = Guest::new(Parts {
            xen: self.xen.clone(),
            journal: self.journal.clone(),
            who,
            stub: connection.stub,
            frames,
            config,
            suspend_timeout: Duration::from_secs(options.suspend_timeout.into()).min(longest),
            cancelled: mailbox.cancelled(),
            log: LogPlan::new(base, options.keep_log),
            kept: self.kept.clone(),
            prepare: options.prepare.wanted(),
            disks,
        })?;
        tracing::info!(image, pages = guest.pages(), policy = options.policy.name(), "snapshot begins");
        tell(Event::Started { image: image.clone(), pages: guest.pages() });
        begun(&mailbox)?;
        let cost = self.costs.of(&guest.uuid());
        let known = Known { capacity: guest.capacity(), cost, base: plan_base };
        let plan = handoff::Plan { barrier: tie.is_some(), ..plan(options, known) };
        let (policy, costs) = (options.policy, &self.costs);
        let (group, enlisted) = tie.map(|t| (t.group, t.enlisted)).unzip();
        let is_member = group.is_some();
        let snapshot = Snapshot {
            guest,
            connection,
            mailbox,
            mail,
            policy,
            plan,
            read_all,
            costs,
            networks,
            began,
            group,
            haste: Vec::new(),
        };
        let result = match enlisted {
            Some(enlisted) => snapshot.run(&self.link, tell, enlisted),
            None => snapshot.run(&self.link, tell, &mut |_| {}),
        };
        if result.is_ok() {
            let what = if is_member { "snapshot complete, its group decides" } else { "snapshot committed" };
            tracing::info!(image, "{what}");
        }
        result
    }
}

/// What [`Server::take`] is to do.
struct Order<'a> {
    who: Attached,
    info: privcmd::DomainInfo,
    connection: Arc<Connection>,
    options: &'a SnapshotOptions,
    began: Instant,
    tie: Option<Tie<'a>>,
}

/// What ties a snapshot to a group.
pub(in crate::daemon) struct Tie<'a> {
    /// For the image's manifest.
    pub(in crate::daemon) group: Value,
    /// Gets the job's number before the stub does.
    pub(in crate::daemon) enlisted: &'a mut dyn FnMut(handoff::Job),
}

/// A uuid as people write it.
pub(in crate::daemon) fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|b| format!("{b:02x}")).collect();
    let part = |range| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_reads_as_people_write_it() {
        let uuid = [0x0f, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
        assert_eq!(uuid_text(&uuid), "0f010203-0405-0607-0809-0a0b0c0d0eff");
    }
}
