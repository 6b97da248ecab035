//! Which switches are up, and which of their lives is the present one.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A switch that is up.
#[derive(Clone, Copy, Debug)]
struct Switch {
    /// As the membership tells.
    incarnation: u64,
    /// Which life its messages are from; none before the first.
    life: Option<u64>,
    /// A message told of a new life, and the membership has not yet.
    reborn: bool,
    /// The version that it speaks, if it is another.
    version: Option<u8>,
    /// The membership says that it is up, whatever networks it has.
    listed: bool,
}

/// What a message's life says of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Same,
    New,
    Old,
}

/// What became of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Came,
    /// It is there, but has forgotten everything.
    Anew,
}

/// All switches that are up, besides this one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Switches(BTreeMap<u64, Switch>);

impl Switches {
    pub(crate) fn has(&self, id: u64) -> bool {
        self.0.contains_key(&id)
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = u64> {
        self.0.keys().copied()
    }

    /// The version that it speaks, if it is another than this one's.
    pub(crate) fn version(&self, id: u64) -> Option<u8> {
        self.0.get(&id)?.version
    }

    /// It spoke this version, which is another; whether it is known at all.
    pub(crate) fn set_version(&mut self, id: u64, version: u8) -> bool {
        let Some(switch) = self.0.get_mut(&id) else { return false };
        switch.version = Some(version);
        true
    }

    /// The membership says that it is up; `listed`: in the list of all.
    pub(crate) fn see(&mut self, id: u64, incarnation: u64, listed: bool) -> Change {
        let Some(switch) = self.0.get_mut(&id) else {
            let switch = Switch { incarnation, life: None, reborn: false, version: None, listed };
            self.0.insert(id, switch);
            return Change::Came;
        };
        switch.listed |= listed;
        if switch.incarnation == incarnation {
            return Change::None;
        }
        switch.incarnation = incarnation;
        if core::mem::take(&mut switch.reborn) {
            // Its messages have told already.
            return Change::None;
        }
        *switch = Switch { life: None, version: None, ..*switch };
        Change::Anew
    }

    /// A list of all came: those that are not in it are listed no more.
    pub(crate) fn unlist(&mut self, list: &[(u64, u64)]) -> Vec<u64> {
        let missing = |id: u64| !list.iter().any(|(listed, _)| *listed == id);
        let gone: Vec<u64> = self.ids().filter(|id| missing(*id)).collect();
        for id in &gone {
            if let Some(switch) = self.0.get_mut(id) {
                switch.listed = false;
            }
        }
        gone
    }

    pub(crate) fn is_listed(&self, id: u64) -> bool {
        self.0.get(&id).is_some_and(|switch| switch.listed)
    }

    /// Whether it is gone now, as far as it is still the one of this incarnation.
    pub(crate) fn is_of(&self, id: u64, incarnation: u64) -> bool {
        self.0.get(&id).is_some_and(|switch| switch.incarnation <= incarnation && !switch.reborn)
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// A message of this life came; none if the switch is not known.
    pub(crate) fn meet(&mut self, id: u64, life: u64) -> Option<Life> {
        let switch = self.0.get_mut(&id)?;
        switch.version = None;
        Some(match switch.life {
            Some(known) if known > life => Life::Old,
            Some(known) if known < life => {
                *switch = Switch { life: Some(life), reborn: true, ..*switch };
                Life::New
            }
            _ => {
                switch.life = Some(life);
                Life::Same
            }
        })
    }
}
