//! A host whose images are to be kept on another one: before its members begin, that one is asked whether
//! it takes part; when all is sealed here, it gets everything, and says what it has. Only when that is what
//! was sent does the stub hear that this host is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use handoff::{GroupId, GroupOrder};
use store::group::Part;
use store::group::keep::Received;

use super::Host;
use super::participant::Participant;
use super::running::State;
use crate::daemon::fault;
use crate::error::{Error, Result};

/// What a thread beside the members' has done.
#[derive(Debug)]
pub(in crate::daemon) enum Errand {
    /// The host that is to keep the images takes part, by this switch.
    Reached(String),
    /// It has them.
    Kept(Received),
}

/// Where an errand is called off.
pub(super) type Stop = Arc<AtomicBool>;

impl Participant {
    /// Asks the host that is to keep the images of the running group. The members begin when it has
    /// answered.
    pub(super) fn reach(&mut self) {
        self.run_errand(|host, to, name, stop| host.reach(to, name, stop).map(Errand::Reached));
    }

    /// Sends what is sealed.
    fn send_images(&mut self) {
        self.run_errand(|host, to, name, stop| host.keep(to, name, stop).map(Errand::Kept));
    }

    fn run_errand(
        &mut self,
        work: impl FnOnce(&dyn Host, &str, &str, &AtomicBool) -> Result<Errand> + Send + 'static,
    ) {
        let Some(active) = &mut self.active else { return };
        let stop = Stop::default();
        active.errand = Some(Arc::clone(&stop));
        let (host, inbox) = (Arc::clone(&self.host), self.inbox.clone());
        let (group, name) = (active.about.group, active.about.name.clone());
        let to = active.to.clone().unwrap_or_default();
        std::thread::spawn(move || inbox.errand(group, work(&*host, &to, &name, &stop)));
    }

    /// An errand has ended.
    pub(super) fn errand(&mut self, group: GroupId, done: Result<Errand>, now: Instant) {
        let Some(active) = self.active.as_mut().filter(|a| a.about.group == group) else { return };
        active.errand = None;
        let goes_on = matches!(active.state, State::Running | State::Sending(_));
        match done {
            Err(why) if goes_on => self.fail(why, now),
            Ok(Errand::Reached(switch)) if goes_on => {
                if switch == active.switch_text() {
                    let to = active.to.clone().unwrap_or_default();
                    let why = Error::new(format!("storage `{to}` is this host itself"));
                    self.fail(why.hint(format!("Say --to {}", self.host.host())), now);
                } else {
                    active.kept_on = Some(switch);
                    self.start_members();
                }
            }
            Ok(Errand::Kept(received)) => self.kept(&received, now),
            _ => {}
        }
        self.clear_if_given_up();
    }

    /// All is sealed here, as this part.
    pub(super) fn sealed(&mut self, part: Vec<u8>) {
        fault::at("group-sealed");
        let Some(active) = &mut self.active else { return };
        let group = active.about.group;
        if active.kept_on.is_none() {
            return self.stored(part);
        }
        active.state = State::Sending(part);
        self.phase(group, "sending");
        self.send_images();
    }

    fn kept(&mut self, received: &Received, now: Instant) {
        let Some(active) = &mut self.active else { return };
        let State::Sending(part) = &mut active.state else { return };
        let part = std::mem::take(part);
        let to = active.to.clone().unwrap_or_default();
        match Part::decode(&part) {
            Ok(sent) if received.is(&sent) => {
                fault::at("group-kept");
                self.stored(part);
            }
            Ok(_) => {
                let why = Error::new(format!("storage `{to}` has something else than what was sent there"));
                self.fail(why.hint("Nothing of it is kept: try again, and look at that host's disk"), now);
            }
            Err(why) => self.fail(why.into(), now),
        }
    }

    /// This host is done, whatever comes.
    fn stored(&mut self, part: Vec<u8>) {
        let Some(active) = &mut self.active else { return };
        let group = active.about.group;
        active.state = State::Sealed;
        self.send(GroupOrder::Stored { group }, &part);
        fault::at("group-stored");
        self.phase(group, "stored");
    }
}

/// Calls an errand off.
pub(super) fn call_off(errand: Option<&Stop>) {
    if let Some(stop) = errand {
        stop.store(true, Ordering::SeqCst);
    }
}
