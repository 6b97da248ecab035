//! `luthier snapshot --net`, and what group snapshots need of this host.

use std::cell::RefCell;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::channel;
use std::time::SystemTime;

use handoff::{GroupMode, GroupOrder, ToStub};
use serde_json::{Value, json};
use store::GroupName;
use store::group::keep::Received;

use super::stub::cut_off;
use super::take::Tie;
use super::uuid_text;
use super::{Server, Teller, lock, on_hang_up};
use crate::api::{Event, SnapshotOptions};
use crate::daemon::group::{About, Host, Member, Said, Taken, Wish};
use crate::daemon::net::Host as _;
use crate::error::{Error, Result};

/// A wish for a snapshot of a network.
pub(super) struct GroupWish<'a> {
    pub(super) net: &'a str,
    pub(super) classic: bool,
    /// How many groups of its schedule stay.
    pub(super) keep: Option<u16>,
    pub(super) options: SnapshotOptions,
}

impl Server {
    /// Answers a client's request: a client that hangs up wants the group no more.
    pub(super) fn snapshot_net(
        &self,
        client: &UnixStream,
        teller: &Teller,
        net: &str,
        classic: bool,
        options: SnapshotOptions,
    ) -> Result<Value> {
        let (tell, cancel) = (
            &mut |event| {
                teller.tell(event);
            },
            &mut |name: &str| {
                let (groups, name) = (self.groups.clone(), name.to_owned());
                on_hang_up(client, move || groups.cancel(&name))
            },
        );
        self.group_with(GroupWish { net, classic, keep: None, options }, tell, cancel)
    }

    /// Takes a snapshot of a whole network. `tell` hears how it goes; `begun` gets, once, the name
    /// by which it can be cancelled.
    pub(super) fn group_with(
        &self,
        ask: GroupWish<'_>,
        tell: &mut dyn FnMut(Event),
        begun: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Value> {
        let GroupWish { net, classic, keep, options } = ask;
        check_options(&options)?;
        let network = self.net.find(net)?;
        self.link.connection()?;
        // Found at once here; other hosts find theirs when they are asked.
        let members = self.members(network.id)?;
        if let Some(to) = options.to.as_ref().filter(|to| !members.is_empty() && **to != self.host()) {
            self.storage.shell(to)?;
        }
        let name = GroupName::unused(&self.options.images, &network.name, SystemTime::now())?.to_string();
        let mode = if classic { GroupMode::Classic } else { GroupMode::Together };
        let (sender, events) = channel();
        tracing::info!(group = name, ?mode, "group snapshot asked for");
        tell(Event::Phase { phase: "asked".into() });
        begun(&name)?;
        self.groups.begin(Wish { network: network.id, mode, name, keep, options, client: sender });
        for event in events {
            match event {
                Event::Done { result } => return Ok(result),
                Event::Failed { error } => return Err(error),
                other => tell(other),
            }
        }
        Err(Error::new("the group snapshot has ended without an answer").hint("luthierd's log may say why"))
    }
}

/// Refuses options that make no sense for a group.
fn check_options(options: &SnapshotOptions) -> Result<()> {
    options.check()?;
    if options.parent.is_some() || options.keep_log {
        return Err(Error::new("snapshots of a network stand alone: no --parent, no --keep-log")
            .hint("Codecs make them small as well: --codec lz4"));
    }
    if !options.policy.is_live() {
        return Err(Error::new("a guest that is suspended from the first page on can wait for nobody")
            .hint("Choose a live policy"));
    }
    Ok(())
}

impl Host for Server {
    fn host(&self) -> String {
        crate::remote::own_name()
    }

    fn switch(&self) -> Result<u64> {
        self.net.switch()
    }

    fn members(&self, network: u32) -> Result<Vec<Member>> {
        let network = self.net.numbered(network)?;
        let stub = self.link.connection()?.stub;
        let busy = self.desk.snapshots();
        let mut members: Vec<Member> = Vec::new();
        for (guest, vif) in self.vifs()?.into_iter().filter(|(_, vif)| vif.says(&network.name, network.id)) {
            if vif.backend_domid != stub {
                return Err(cut_off(&guest, &vif));
            }
            let vifs: Vec<String> = vif.mac.into_iter().collect();
            if let Some(member) = members.iter_mut().find(|m| m.guest == guest) {
                member.vifs.extend(vifs);
                continue;
            }
            let who = lock(&self.allowed).find(&guest)?.clone();
            self.xen.check_attached(&who)?;
            if busy.contains(&who.domid) {
                return Err(Error::new(format!("a snapshot of `{guest}` is in progress"))
                    .hint("Wait until it has ended: luthier status"));
            }
            members.push(Member { guest, uuid: uuid_text(&who.uuid), vifs });
        }
        Ok(members)
    }

    fn take(
        &self,
        member: &Member,
        about: &About,
        options: &SnapshotOptions,
        said: &mut dyn FnMut(Said),
    ) -> Result<Taken> {
        let said = RefCell::new(said);
        let say = |what| (said.borrow_mut())(what);
        let tie = Tie {
            group: json!({"name": about.name, "network": about.group.network, "epoch": about.group.epoch}),
            enlisted: &mut |job| say(Said::Enlisted(job)),
        };
        let figures = self.snapshot_as(
            &member.guest,
            options,
            Some(tie),
            &mut |event| say(Said::Tell(event)),
            &mut |mailbox| {
                let mailbox = mailbox.clone();
                say(Said::Begun(Arc::new(move || mailbox.cancel())));
                Ok(())
            },
        )?;
        let text = |name: &str| figures.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Taken { image: text("image"), contents: text("contents"), figures })
    }

    fn reach(&self, to: &str, name: &str, stop: &AtomicBool) -> Result<String> {
        self.storage.reach(to, name, stop)
    }

    fn keep(&self, to: &str, name: &str, stop: &AtomicBool) -> Result<Received> {
        self.storage.keep(to, &self.options.images, name, stop)
    }

    fn send(&self, order: GroupOrder, bulk: &[u8]) -> Result<()> {
        self.link.connection()?.send(&ToStub::Group(order), bulk)
    }
}
