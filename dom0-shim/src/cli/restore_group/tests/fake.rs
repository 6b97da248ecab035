//! Two hosts that are played, and what was said to them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use handoff::ChannelRecord;
use serde_json::{Value, json};
use store::group::switch_text;

use super::super::hosts::{Held, Host, Hosts};
use super::super::release;
use super::LEFT;
use crate::error::{Error, Result};

/// Both hosts.
pub(super) struct Fake {
    pub(super) said: Arc<Mutex<Vec<String>>>,
    /// What runs, what is frozen, and which copies there are.
    pub(super) domains: Mutex<BTreeSet<String>>,
    pub(super) frozen: Arc<Mutex<BTreeSet<String>>>,
    pub(super) copies: Mutex<BTreeSet<String>>,
    /// The command that fails.
    pub(super) fails: Option<&'static str>,
    /// The copy has other pages.
    pub(super) bad_copy: bool,
    /// The copy that takes for ever, and when the test gives up.
    pub(super) slow: Option<&'static str>,
    pub(super) late: Instant,
    /// What was asked whether there is room for it.
    pub(super) rooms: Mutex<Vec<Value>>,
    /// What was here is kept on the host `vault`.
    pub(super) kept: bool,
    /// Minor release of the other host's Xen.
    pub(super) xen_there: Option<u32>,
    /// The other host's `luthier` is older than this one's.
    pub(super) is_old: bool,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            said: Arc::default(),
            domains: Mutex::default(),
            frozen: Arc::default(),
            copies: Mutex::default(),
            fails: None,
            bad_copy: false,
            slow: None,
            late: Instant::now() + Duration::from_secs(20),
            rooms: Mutex::default(),
            xen_there: None,
            is_old: false,
            kept: false,
        }
    }
}

pub(super) fn locked<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap()
}

impl Hosts for Fake {
    fn ask(&self, host: &Host, args: &[&str], input: &[u8]) -> Result<Value> {
        let line = format!("{host}: {}", args.join(" "));
        if self.fails.is_some_and(|fails| line.contains(fails)) {
            return Err(Error::new(format!("{line}: no")).hint("Try"));
        }
        locked(&self.said).push(line);
        let place = |name: &str| format!("{name} on {host}");
        Ok(match args {
            ["restore-member", "find"] => {
                let asked: Value = serde_json::from_slice(input).unwrap();
                let own = |i: &&Value| match host {
                    Host::Here if self.kept => false,
                    Host::There(name) if name != "vault" => i["image"].as_str().unwrap().starts_with("mail@"),
                    _ => ["web@", "db@"].iter().any(|own| i["image"].as_str().unwrap().starts_with(own)),
                };
                let with_xen = |i: &Value| {
                    let mut i = i.clone();
                    i["xen"] = json!({"major": 4, "minor": 17});
                    i
                };
                let found: Vec<Value> =
                    asked["images"].as_array().unwrap().iter().filter(own).map(with_xen).collect();
                let minor = if *host == Host::Here { 17 } else { self.xen_there.unwrap_or(17) };
                let answer = json!({"xen": {"major": 4, "minor": minor}, "images": found});
                if self.is_old && *host != Host::Here { answer } else { release::told(answer) }
            }
            ["restore-member", "disks"] => {
                let record = json!({"vdev": "xvda", "how": "thin", "source": "vg/web", "snapshot": "vg/x",
                    "to": {"pool": {"group": "vg", "pool": "pool"}}, "octets": 4096, "used": 1});
                json!({"disks": [[record]]})
            }
            ["restore-member", "room"] => {
                locked(&self.rooms).push(serde_json::from_slice(input).unwrap());
                Value::Null
            }
            ["restore-member", "make", image, ..] => {
                locked(&self.domains).insert(place(image));
                json!({"domid": 7, "disks": []})
            }
            ["restore-member", "destroy", name, "7"] => {
                let found = |domain: &String| domain.starts_with(name.trim_end_matches("-copy"));
                locked(&self.domains).retain(|domain| !found(domain));
                Value::Null
            }
            ["restore-member", "thaw", _] => {
                locked(&self.frozen).remove(&host.to_string());
                Value::Null
            }
            ["restore-member", "inject", _] => {
                assert!(!input.is_empty());
                Value::Null
            }
            ["rm", image] => {
                assert!(locked(&self.copies).remove(&place(image)));
                Value::Null
            }
            _ => Value::Null,
        })
    }

    fn read(&self, host: &Host, args: &[&str]) -> Result<Vec<u8>> {
        assert_eq!(args, ["restore-member", "channels", "blue@20261122T081500Z", &switch_text(LEFT)]);
        locked(&self.said).push(format!("{host}: frames"));
        let mut bulk = Vec::new();
        for n in [1, 2] {
            let record = ChannelRecord {
                time_us: 5,
                network: 7,
                mac: [0, 0x16, 0x3e, 0, 0, n],
                checksum: 1,
                gso: 0,
                gso_size: 0,
                len: 60,
            };
            bulk.extend(record.emit());
            bulk.extend([n; 60]);
        }
        Ok(bulk)
    }

    fn copy(
        &self,
        (from, export): (&Host, &[&str]),
        (to, import): (&Host, &[&str]),
        give_up: &AtomicBool,
    ) -> Result<Value> {
        let (what, image, disks) = match (export, import) {
            (["restore-member", "export", image], ["restore-member", "import", disks @ ..]) => {
                (format!("{from} to {to}: {image}"), image, disks)
            }
            (["restore-member", "send", image], ["restore-member", "take"]) => {
                (format!("{from} to {to}, as it is: {image}"), image, &[][..])
            }
            _ => panic!("{export:?} {import:?}"),
        };
        let line = [&[what.as_str()], disks].concat().join(" ");
        if self.fails.is_some_and(|fails| line.contains(fails)) {
            return Err(Error::new(format!("{line}: no")).hint("Try"));
        }
        // One that takes for ever.
        while self.slow.is_some_and(|slow| line.contains(slow)) {
            assert!(Instant::now() < self.late, "it is still copied");
            if give_up.load(Ordering::Relaxed) {
                return Err(Error::new(format!("{line}: was stopped")));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        locked(&self.said).push(line);
        let copy = format!("{image}-2");
        locked(&self.copies).insert(format!("{copy} on {to}"));
        let n = if image.starts_with("web") { "01" } else { "02" };
        let contents = if self.bad_copy { "ff".repeat(32) } else { n.repeat(32) };
        Ok(json!({"image": copy, "contents": contents}))
    }

    fn hold(&self, host: &Host, args: &[&str]) -> Result<Box<dyn Held>> {
        assert_eq!(args, ["restore-member", "freeze", "blue"]);
        // It may be frozen though nobody heard of it.
        locked(&self.frozen).insert(host.to_string());
        self.ask(host, args, &[])?;
        let (said, frozen) = (Arc::clone(&self.said), Arc::clone(&self.frozen));
        Ok(Box::new(FakeHeld { host: host.to_string(), said, frozen, fails: self.fails }))
    }

    fn pause(&self, _time: Duration) {}
}

/// A network that is kept frozen.
struct FakeHeld {
    host: String,
    said: Arc<Mutex<Vec<String>>>,
    frozen: Arc<Mutex<BTreeSet<String>>>,
    fails: Option<&'static str>,
}

impl Held for FakeHeld {
    fn check(&mut self) -> Result<()> {
        match self.fails {
            Some("kept frozen") => Err(Error::new("kept frozen: no").hint("Try")),
            _ => Ok(()),
        }
    }

    fn tell(&mut self) {
        if self.fails != Some("go") {
            locked(&self.said).push(format!("{}: told to thaw", self.host));
            locked(&self.frozen).remove(&self.host);
        }
    }

    fn ended(self: Box<Self>) -> Result<()> {
        match self.fails {
            Some("go") => Err(Error::new("it is gone")),
            _ => Ok(()),
        }
    }
}
