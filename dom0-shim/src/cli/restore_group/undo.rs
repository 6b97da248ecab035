//! What a restore has done so far, to be undone should it fail.

use std::sync::Mutex;

use serde_json::Value;

use super::frozen::Frozen;
use super::hosts::{Host, Hosts};

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
    /// Where the network is frozen.
    pub(super) frozen: Frozen<'a>,
    done: Mutex<Done>,
}

#[derive(Default)]
struct Done {
    made: Vec<Made>,
    imported: Vec<(Host, String)>,
}

impl<'a> Undo<'a> {
    pub(super) fn new(hosts: &'a dyn Hosts, network: &str) -> Self {
        Self { hosts, frozen: Frozen::new(hosts, network), done: Mutex::default() }
    }

    fn note(&self, write: impl FnOnce(&mut Done)) {
        write(&mut self.done.lock().unwrap_or_else(|e| e.into_inner()));
    }

    /// A domain was made.
    pub(super) fn made(&self, made: Made) {
        self.note(|done| done.made.push(made));
    }

    /// An image was copied to a host.
    pub(super) fn imported(&self, host: &Host, image: &str) {
        self.note(|done| done.imported.push((host.clone(), image.to_owned())));
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
        self.frozen.thaw();
        left
    }
}
