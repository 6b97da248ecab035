//! `/var/lib/luthier/net.json`: the networks of this host, and the switches to join through.
//! Written whole, aside, and renamed, so that a crash leaves the old one or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use handoff::MAX_NETWORKS;
use serde::{Deserialize, Serialize};

use super::place::Peer;
use crate::error::{Context, Error, Result};

/// The most switches to join through: any one of them tells all the others.
pub(super) const MAX_SEEDS: usize = 16;

/// A network, as the operator made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::daemon) struct Network {
    /// What guests' vifs say: `bridge=NAME`.
    pub(in crate::daemon) name: String,
    /// The same on all hosts.
    pub(in crate::daemon) id: u32,
    /// The longest packet inside.
    pub(in crate::daemon) mtu: u16,
    /// Whether MAC addresses of vifs stay at their ports.
    pub(in crate::daemon) pin: bool,
}

/// All that is remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    /// Grows with each connection to a stub, also when the clock goes back.
    pub(super) incarnation: u64,
    /// The networks, by name.
    pub(super) networks: Vec<Network>,
    /// From `luthier net join`; those of `net.toml` come on top.
    pub(super) seeds: Vec<Peer>,
    /// Whether this host left the others, and is not to join again by itself.
    pub(super) left: bool,
}

/// The number of a network that was made without one: made of its name, so that hosts agree. 24
/// bits (FNV-1a, folded), as in VXLAN; never 0.
pub(super) fn id_of(name: &str) -> u32 {
    let hash = name.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    ((hash >> 24) ^ (hash & 0x00ff_ffff)).max(1)
}

impl State {
    /// The network of this name.
    pub(super) fn find(&self, name: &str) -> Result<&Network> {
        self.networks.iter().find(|n| n.name == name).ok_or_else(|| {
            Error::new(format!("network {name} does not exist here")).hint(format!(
                "`luthier net list` shows those that do; make it: luthier net create {name} --id N"
            ))
        })
    }

    /// Adds a network. Exactly the same one again is no error.
    pub(super) fn add(&mut self, new: Network) -> Result<()> {
        check_name(&new.name)?;
        if let Some(old) = self.networks.iter().find(|n| n.name == new.name) {
            if *old == new {
                return Ok(());
            }
            return Err(Error::new(format!(
                "network {} exists already, with --id {} --mtu {}",
                old.name, old.id, old.mtu
            ))
            .hint("Delete it first, or take another name"));
        }
        if let Some(other) = self.networks.iter().find(|n| n.id == new.id) {
            return Err(Error::new(format!("number {} is taken by network {}", new.id, other.name))
                .hint("Name another with --id, the same on all hosts"));
        }
        if self.networks.len() >= MAX_NETWORKS {
            return Err(Error::new(format!(
                "there are {MAX_NETWORKS} networks already, as many as a stub holds"
            ))
            .hint("Delete one that is not used: luthier net list"));
        }
        self.networks.push(new);
        self.networks.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// The next incarnation.
    pub(super) fn raise(&mut self) -> u64 {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        self.incarnation = self.incarnation.saturating_add(1).max(clock);
        self.incarnation
    }

    fn check(&self) -> Result<()> {
        let mut seen = State::default();
        self.networks.iter().try_for_each(|n| seen.add(n.clone()))?;
        if self.seeds.len() > MAX_SEEDS {
            return Err(Error::new("too many seeds"));
        }
        Ok(())
    }
}

/// Refuses what can't be a network's name.
fn check_name(name: &str) -> Result<()> {
    // All digits would be a number where a vif says `bridge=`.
    if handoff::is_net_name(name) && !name.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(());
    }
    Err(Error::new(format!("`{name}` can't be a network's name"))
        .hint("1 to 15 of a-z, 0-9, - and _, and not only digits"))
}

/// Where the state is kept.
#[derive(Debug)]
pub(super) struct Keeper {
    path: PathBuf,
}

impl Keeper {
    /// Keeps it in this folder.
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join("net.json") }
    }

    /// Reads it; nothing is remembered before the first write.
    ///
    /// # Errors
    /// A file that can't be understood is left as it is: networks must not vanish silently.
    pub(super) fn load(&self) -> Result<State> {
        let path = self.path.display();
        let text = match fs::read(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(e) => return Err(e).context(format!("reading {path}")),
        };
        let state: Result<State> = serde_json::from_slice(&text).context("its JSON");
        state.and_then(|s| s.check().map(|()| s)).map_err(|e| {
            Error::new(format!("{path} is not a list of networks: {}", e.message))
                .hint("Repair it, or remove it and make the networks again: luthier net create")
        })
    }

    /// Writes it.
    pub(super) fn save(&self, state: &State) -> Result<()> {
        let writing = || format!("writing {}", self.path.display());
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).context(writing())?;
        let new = self.path.with_extension("new");
        let text = serde_json::to_vec_pretty(state).context(writing())?;
        let mut file = File::create(&new).context(writing())?;
        file.write_all(&text).and_then(|()| file.sync_all()).context(writing())?;
        fs::rename(&new, &self.path).context(writing())?;
        File::open(folder).and_then(|f| f.sync_all()).context(writing())
    }
}

#[cfg(test)]
mod tests {
    use super::super::place::{Address, PublicKey};
    use super::*;

    fn network(name: &str, id: u32) -> Network {
        Network { name: name.into(), id, mtu: 1400, pin: true }
    }

    #[test]
    fn what_is_saved_comes_back_and_a_damaged_file_is_left_alone() {
        let dir = std::env::temp_dir().join(format!("luthier-net-{}", std::process::id()));
        let keeper = Keeper::new(&dir);
        assert_eq!(keeper.load().unwrap(), State::default());
        let mut state = State { incarnation: 5, left: true, ..State::default() };
        state.add(network("red", 8)).unwrap();
        state.add(network("blue", 7)).unwrap();
        state.seeds.push(Peer { address: Address::parse("10.0.0.2", 9).unwrap(), key: PublicKey([7; 32]) });
        keeper.save(&state).unwrap();
        assert_eq!(keeper.load().unwrap(), state);
        assert_eq!(state.networks[0].name, "blue");
        for damaged in [
            "",
            "{}",
            "[]",
            r#"{"incarnation":1,"networks":[{"name":"A","id":1,"mtu":1400,"pin":true}],"seeds":[],"left":false}"#,
            r#"{"incarnation":1,"networks":[],"seeds":[],"left":false,"new":1}"#,
        ] {
            fs::write(dir.join("net.json"), damaged).unwrap();
            let error = keeper.load().unwrap_err();
            assert!(error.message.contains("net.json") && error.hint.is_some(), "{error}");
            assert_eq!(fs::read_to_string(dir.join("net.json")).unwrap(), damaged);
        }
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn a_network_has_a_name_and_a_number_of_its_own() {
        let mut state = State::default();
        state.add(network("blue", 7)).unwrap();
        state.add(network("blue", 7)).unwrap();
        assert!(state.add(network("blue", 8)).unwrap_err().message.contains("--id 7"));
        assert!(state.add(network("red", 7)).unwrap_err().message.contains("network blue"));
        for bad in ["", "42", "Blue", "sixteen-letters-"] {
            assert!(state.add(network(bad, 9)).unwrap_err().hint.is_some(), "{bad}");
        }
        for i in 1..MAX_NETWORKS {
            state.add(network(&format!("n{i}"), 100 + i as u32)).unwrap();
        }
        assert!(state.add(network("more", 9)).unwrap_err().message.contains("as many"));
        assert!(state.find("blue").is_ok());
        assert!(state.find("green").unwrap_err().hint.unwrap().contains("net create green"));
    }

    #[test]
    fn numbers_are_made_of_names_and_are_the_same_everywhere() {
        assert_eq!(id_of("blue"), id_of("blue"));
        assert_ne!(id_of("blue"), id_of("red"));
        assert!((1..1 << 24).contains(&id_of("blue")));
    }

    #[test]
    fn incarnations_grow_when_the_clock_goes_back() {
        let mut state = State { incarnation: u64::MAX - 9, ..State::default() };
        assert_eq!(state.raise(), u64::MAX - 8);
        assert_eq!(state.raise(), u64::MAX - 7);
        assert!(State::default().raise() > 1_700_000_000);
    }
}
