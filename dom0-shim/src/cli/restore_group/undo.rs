//! What a restore has done so far, to be undone should it fail.

use std::sync::Mutex;
use std::thread;

use serde_json::Value;

use super::crew::at_once;
use super::frozen::freeze;
use super::hosts::{Host, Hosts, Waiting};

/// A domain that was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) host: Host,
    pub(super) name: String,
    pub(super) domid: u64,
    /// Clones of disks that it got.
    pub(super) disks: Value,
}

/// What was done, to be undone. Hosts that work at the same time all write it down here.
pub(super) struct Undo<'a> {
    hosts: &'a dyn Hosts,
    network: String,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    frozen: Vec<Host>,
    made: Vec<Made>,
    imported: Vec<(Host, String)>,
}

impl<'a> Undo<'a> {
    pub(super) fn new(hosts: &'a dyn Hosts, network: &str) -> Self {
        Self { hosts, network: network.to_owned(), done: Mutex::default() }
    }

    fn note(&self, write: impl FnOnce(&mut Done)) {
        write(&mut self.done.lock().unwrap_or_else(|e| e.into_inner()));
    }

    /// A host's network is about to be frozen.
    pub(super) fn frozen(&self, host: &Host) {
        self.note(|done| done.frozen.push(host.clone()));
    }

    /// A domain was made.
    pub(super) fn made(&self, made: Made) {
        self.note(|done| done.made.push(made));
    }

    /// An image was copied to a host.
    pub(super) fn imported(&self, host: &Host, image: &str) {
        self.note(|done| done.imported.push((host.clone(), image.to_owned())));
    }

    /// Thaws the networks by what waits for it on the hosts, all at once; where that fails, as ever.
    pub(super) fn thaw_by(&self, thaws: Vec<Box<dyn Waiting>>) {
        let all_done = thread::scope(|scope| {
            let going: Vec<_> = thaws.into_iter().map(|thaw| scope.spawn(|| thaw.go().is_ok())).collect();
            // All of them, before the next is looked at.
            let done: Vec<bool> = going.into_iter().map(|thaw| thaw.join().unwrap_or(false)).collect();
            done.into_iter().all(|done| done)
        });
        match all_done {
            true => self.note(|done| done.frozen.clear()),
            false => self.thaw(),
        }
    }

    /// Thaws the networks; what can't be is thawed by the stub itself after a minute.
    pub(super) fn thaw(&self) {
        let mut frozen = Vec::new();
        self.note(|done| frozen = std::mem::take(&mut done.frozen));
        let _ = at_once(&frozen, |host| {
            if let Err(e) = freeze(self.hosts, host, &self.network, false) {
                eprintln!("luthier: {}: the stub does it itself after a minute", e.message);
            }
            Ok(())
        });
    }

    /// Takes everything back; returns what could not be.
    pub(super) fn everything(self) -> Vec<String> {
        let mut done = Done::default();
        self.note(|all| {
            done.made = std::mem::take(&mut all.made);
            done.imported = std::mem::take(&mut all.imported);
        });
        let mut left = Vec::new();
        for Made { host, name, domid, disks } in done.made.iter().rev() {
            let args = ["restore-member", "destroy", name, &domid.to_string()];
            if let Err(e) = self.hosts.ask(host, &args, disks.to_string().as_bytes()) {
                left.push(format!("domain {name} ({})", e.message));
            }
        }
        for (host, image) in &done.imported {
            if let Err(e) = self.hosts.ask(host, &["rm", image], &[]) {
                left.push(format!("image {image} ({})", e.message));
            }
        }
        self.thaw();
        left
    }
}
