//! libxl's configurations of guests, kept for as long as `xl list -l` would print the same again.
//!
//! Running xl takes as long as reading thousands of pages. libxl puts a configuration together from
//! its own file of the domain, from xenstore, and from what the scheduler is told
//! (`libxl_retrieve_domain_configuration`, Xen 4.17 to 4.20). So a configuration is kept with the
//! marks of the file and with the scheduler's numbers, which are compared before it is used; and
//! everything that libxl reads in xenstore is watched. xenstored answers in order: once it has
//! answered a question, every event of what was changed before has come.
//!
//! What this module must never do: give a configuration that may have changed. In any doubt, xl is
//! asked.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::time::Duration;

use privcmd::{CpuShare, xenstore};
use serde_json::Value;

use super::lock;
use super::server::uuid_text;
use super::xen::Xen;
use crate::error::Result;
use crate::xl::{self, Listed};

/// Where libxl keeps its files of domains (`libxl__userdata_path`).
const FILES: &str = "/var/lib/xen";

/// The releases of Xen whose libxl is known to read nothing else.
const KNOWN: std::ops::RangeInclusive<(u32, u32)> = (4, 17)..=(4, 20);

/// Domains that are watched. Beyond, all are forgotten: those that are gone, too.
const MAX_WATCHED: usize = 1024;

/// Events at a time beyond which some may have been lost: far fewer than [`xenstore::Client`] keeps.
const MANY_EVENTS: usize = 512;

/// The configurations, shared by all threads.
#[derive(Default)]
pub(super) struct Configs(Mutex<Known>);

impl Configs {
    /// What `xl list -l` prints of this domain.
    ///
    /// # Errors
    /// Those of [`xl::find`].
    pub(super) fn of(&self, xen: &Xen, domid: u16, uuid: &[u8; 16]) -> Result<Listed> {
        let facts = Facts::of(xen, domid, uuid);
        let ticket = match facts.map(|facts| lock(&self.0).look(domid, facts)) {
            Some(Look::Kept(listed)) => return Ok(listed),
            Some(Look::Ask(ticket)) => Some(ticket),
            Some(Look::Blind) | None => None,
        };
        tracing::debug!(domid, "asking xl for a configuration");
        let listed = xl::find(&domid.to_string())?;
        if let Some(ticket) = ticket.filter(|_| may_keep(&listed)) {
            lock(&self.0).kept.fill(domid, ticket, &listed);
        }
        Ok(listed)
    }
}

/// Whether all that libxl reads for this configuration is looked at here: it asks other kinds of
/// guests' device models, and finds these devices at their back ends.
fn may_keep(listed: &Listed) -> bool {
    let none = |key| listed.config.get(key).and_then(Value::as_array).is_none_or(Vec::is_empty);
    listed.kind() == "pvh" && ["pcidevs", "usbctrls", "usbdevs"].into_iter().all(none)
}

/// What can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    uuid: [u8; 16],
    /// Inode, length, and times of writing and of renaming: libxl replaces the file by a new one.
    file: (u64, u64, (i64, i64), (i64, i64)),
    share: CpuShare,
}

impl Facts {
    /// `None`: they can't be had, or not all that matters is known.
    fn of(xen: &Xen, domid: u16, uuid: &[u8; 16]) -> Option<Self> {
        if !KNOWN.contains(&xen.version()) {
            return None;
        }
        let file = fs::metadata(format!("{FILES}/userdata-d.{domid}.{}.libxl-json", uuid_text(uuid))).ok()?;
        let times = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
        let share = xen.cpu_share(domid).ok().flatten()?;
        Some(Self { uuid: *uuid, file: (file.ino(), file.len(), times.0, times.1), share })
    }
}

/// What libxl reads of a domain in xenstore; a watch is on all below, too.
fn paths(domid: u16) -> [String; 4] {
    let domain = |node: &str| format!("/local/domain/{domid}/{node}");
    [format!("/libxl/{domid}"), domain("name"), domain("memory"), domain("cpu")]
}

#[derive(Default)]
struct Known {
    store: Option<xenstore::Client>,
    watched: BTreeSet<u16>,
    kept: Kept,
}

/// What is to be done.
enum Look {
    Kept(Listed),
    /// Ask xl, and tell [`Kept::fill`].
    Ask(u64),
    /// Ask xl: xenstore can't be watched.
    Blind,
}

impl Known {
    fn look(&mut self, domid: u16, facts: Facts) -> Look {
        match self.hear(domid) {
            Ok(()) => match self.kept.get(domid, &facts) {
                Some(listed) => Look::Kept(listed.clone()),
                None => Look::Ask(self.kept.begin(domid, facts)),
            },
            Err(e) => {
                tracing::warn!(error = %e, "watching the configurations of guests");
                *self = Self::default();
                Look::Blind
            }
        }
    }

    /// Forgets what has changed until now, and has this domain watched from now on.
    fn hear(&mut self, domid: u16) -> std::result::Result<(), xenstore::Error> {
        if self.watched.len() >= MAX_WATCHED && !self.watched.contains(&domid) {
            *self = Self::default();
        }
        let store = match &mut self.store {
            Some(store) => store,
            none => none.insert(xenstore::Client::open()?),
        };
        let token = domid.to_string();
        if !self.watched.contains(&domid) {
            for path in paths(domid) {
                store.watch(&path, &token)?;
            }
            self.watched.insert(domid);
        }
        // Whatever the answer: what was changed before it was told of before it. So were the first
        // events of new watches, which tell of nothing.
        store.read(&format!("/local/domain/{domid}/name"))?;
        let mut events = 0;
        while let Some(event) = store.wait(Duration::ZERO)? {
            events += 1;
            self.kept.changed(&event.token);
        }
        if events >= MANY_EVENTS {
            self.kept = Kept { tickets: self.kept.tickets, ..Kept::default() };
        }
        Ok(())
    }
}

/// What xl said, and of what.
#[derive(Default)]
struct Kept {
    tickets: u64,
    by_domain: HashMap<u16, Entry>,
}

struct Entry {
    /// Which question it is the answer to.
    ticket: u64,
    facts: Facts,
    /// None while xl is being asked.
    listed: Option<Listed>,
}

impl Kept {
    fn get(&self, domid: u16, facts: &Facts) -> Option<&Listed> {
        self.by_domain.get(&domid).filter(|entry| entry.facts == *facts)?.listed.as_ref()
    }

    /// Xl is asked from now on; the facts are from before.
    fn begin(&mut self, domid: u16, facts: Facts) -> u64 {
        self.tickets += 1;
        self.by_domain.insert(domid, Entry { ticket: self.tickets, facts, listed: None });
        self.tickets
    }

    /// Something of a domain has changed: what is known, and what xl is saying just now, may be from
    /// before.
    fn changed(&mut self, token: &str) {
        if let Ok(domid) = token.parse() {
            self.by_domain.remove(&domid);
        }
    }

    /// What xl said, if nothing was heard since it was asked, and nobody has asked again.
    fn fill(&mut self, domid: u16, ticket: u64, listed: &Listed) {
        if let Some(entry) = self.by_domain.get_mut(&domid).filter(|entry| entry.ticket == ticket) {
            entry.listed = Some(listed.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use privcmd::{CpuCap, Scheduler};
    use serde_json::json;

    use super::*;

    fn facts(file: u64, weight: u16) -> Facts {
        let cap = CpuCap { scheduler: Scheduler::Credit2, percent: 0 };
        Facts { uuid: [1; 16], file: (file, 10, (5, 0), (5, 0)), share: CpuShare { cap, weight } }
    }

    fn listed(name: &str) -> Listed {
        Listed { domid: 3, config: json!({"c_info": {"name": name, "type": "pvh"}}) }
    }

    fn name(kept: &Kept, facts: &Facts) -> Option<String> {
        kept.get(3, facts).map(|listed| listed.name().to_owned())
    }

    #[test]
    fn what_xl_said_serves_until_something_of_the_domain_changes() {
        let mut kept = Kept::default();
        let ticket = kept.begin(3, facts(1, 256));
        assert_eq!(name(&kept, &facts(1, 256)), None);
        kept.fill(3, ticket, &listed("web"));
        kept.changed("4");
        kept.changed("not of ours");
        assert_eq!(name(&kept, &facts(1, 256)).as_deref(), Some("web"));
        // libxl has written its file anew; the scheduler was told something; another guest has its id.
        assert_eq!(name(&kept, &facts(2, 256)), None);
        assert_eq!(name(&kept, &facts(1, 100)), None);
        assert_eq!(name(&kept, &Facts { uuid: [2; 16], ..facts(1, 256) }), None);
        kept.changed("3");
        assert_eq!(name(&kept, &facts(1, 256)), None);
    }

    #[test]
    fn what_changed_while_xl_was_asked_is_not_kept() {
        let mut kept = Kept::default();
        let early = kept.begin(3, facts(1, 256));
        kept.changed("3");
        kept.fill(3, early, &listed("old"));
        assert_eq!(name(&kept, &facts(1, 256)), None);
        // Nor is it taken for the answer to a later question.
        let early = kept.begin(3, facts(1, 256));
        kept.changed("3");
        let late = kept.begin(3, facts(1, 256));
        kept.fill(3, early, &listed("old"));
        assert_eq!(name(&kept, &facts(1, 256)), None);
        kept.fill(3, late, &listed("new"));
        assert_eq!(name(&kept, &facts(1, 256)).as_deref(), Some("new"));
    }

    #[test]
    fn configurations_that_libxl_asks_others_for_are_not_kept() {
        assert!(may_keep(&listed("web")));
        let mut hvm = listed("web");
        hvm.config["c_info"]["type"] = json!("hvm");
        assert!(!may_keep(&hvm));
        for key in ["pcidevs", "usbctrls", "usbdevs"] {
            let mut with = listed("web");
            with.config[key] = json!([]);
            assert!(may_keep(&with));
            with.config[key] = json!([{"devid": 0}]);
            assert!(!may_keep(&with), "{key}");
        }
    }
}
