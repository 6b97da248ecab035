//! How a snapshot is to be taken: the options of `luthier snapshot`, as the command line takes
//! them and as they travel to the daemon.

use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a snapshot is to be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(default)]
pub struct SnapshotOptions {
    /// When to stop copying live and suspend the guest
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub policy: PolicyName,
    /// How long the guest may be suspended, in ms or s; only with the policy downtime
    ///
    /// Copying goes on live until what is left can be copied in that time, or until it is clear
    /// that the guest writes too fast for it. Then the snapshot does its best, and the result
    /// says what was expected and what it was; see also --strict and --throttle. The time that
    /// the guest's own kernel takes to freeze is not counted.
    #[arg(long = "downtime", value_name = "TIME", default_value = "30ms", value_parser = time_us)]
    pub downtime_us: u32,
    /// Refuse, without suspending the guest, when the downtime can't be met
    #[arg(long)]
    pub strict: bool,
    /// Slow the guest down when it writes faster than pages can be copied
    ///
    /// The last resort: lowers the cap of the guest's CPU time step by step (`xl sched-credit2`), and
    /// gives back what it was when the guest goes on, also after a crash of luthierd or of the stub.
    /// Works with Xen's schedulers credit2 and credit; with others the snapshot goes on without.
    #[arg(long)]
    pub throttle: bool,
    /// Build on an earlier image of this guest: store only the pages that differ
    ///
    /// If that image was taken with --keep-log and nothing came in between, only what was
    /// written to since is read; else all is read and compared. The image needs its parent until
    /// it is merged: luthier help merge.
    #[arg(long, value_name = "IMAGE")]
    pub parent: Option<String>,
    /// Go on logging the guest's writes, for a next snapshot with --parent
    ///
    /// The guest pays a fault for the first write to each page, once. The log ends with the next
    /// snapshot, unless that keeps it too, with `luthier detach`, and when xl migrates or saves
    /// the guest. Not for guests that give memory back without wiping it (Linux wipes it) and are
    /// resized meanwhile: Xen does not log what they take again.
    #[arg(long)]
    pub keep_log: bool,
    /// Leave a disk out, by its name (xvda); all: every disk
    ///
    /// Disks are snapshotted at the same moment as the memory: volumes of LVM (thin ones, and ordinary
    /// ones if their volume group has room for it), files on a file system with reflinks (XFS,
    /// Btrfs), and qcow2 files that QEMU serves. A guest with another one is refused, unless it is left
    /// out; the image says so then, and a restored guest finds that disk as it is by then.
    #[arg(long = "no-disk", value_name = "DISK")]
    pub no_disk: Vec<String>,
    /// Of a network: keep all its guests' images on this host
    ///
    /// It must have the network, and needs no guests there. Each host sends its images when they are
    /// complete, by the command that its own /etc/luthier/storage.toml has for this name, and deletes them
    /// when the whole group is committed, which comes after every page was verified there. Snapshots of
    /// disks stay where the disks are.
    #[arg(long, value_name = "HOST", value_parser = keeper)]
    pub to: Option<String>,
    /// How pages travel and are stored: auto, none, or some of lz4, delta and blocks
    ///
    /// auto uses lz4 where it gains time, as measured while it goes on. delta: the difference to
    /// what was sent before for the same page. blocks: parts of pages that were sent before.
    #[arg(long, value_name = "CODECS", default_value = "auto", value_parser = codecs)]
    pub codec: handoff::Codecs,
    /// How long the guest may take to answer the request to suspend, in seconds; 15 at most with --net
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub suspend_timeout: u32,
    /// Leave out pages of live rounds that are dirty again
    #[arg(long, value_enum, default_value_t, value_name = "WHEN", help_heading = MEASURE)]
    pub skip: SkipWhen,
    /// Leave pages that are dirty in most rounds for the last one
    #[arg(long, help_heading = MEASURE)]
    pub defer_hot: bool,
    /// Pages granted and mapped before the last round: a number, or auto
    #[arg(long, value_name = "PAGES", default_value = "auto", value_parser = Prepare::from_str, help_heading = MEASURE)]
    pub prepare: Prepare,
    /// Memory for the pages of the last round, in MiB [default: the stub's whole pool]
    #[arg(long, value_name = "MIB", help_heading = MEASURE)]
    pub pool: Option<NonZeroU32>,
    /// Pages that one hypercall copies
    #[arg(long, value_name = "PAGES", default_value_t = handoff::COPY_BATCH, value_parser = clap::value_parser!(u16).range(1..=i64::from(handoff::MAX_COPY_BATCH)), help_heading = MEASURE)]
    pub copy_batch: u16,
}

/// The heading of options that are for measuring more than for use.
const MEASURE: &str = "For measurements";

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self {
            policy: PolicyName::default(),
            downtime_us: 30_000,
            strict: false,
            throttle: false,
            parent: None,
            keep_log: false,
            no_disk: Vec::new(),
            to: None,
            codec: handoff::Codecs::Auto,
            suspend_timeout: 30,
            skip: SkipWhen::Policy,
            defer_hot: false,
            prepare: Prepare::Auto,
            pool: None,
            copy_batch: handoff::COPY_BATCH,
        }
    }
}

impl SnapshotOptions {
    /// Whether they go together. The daemon asks too: it believes no client.
    ///
    /// # Errors
    /// What does not, and what to say instead.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: &str, hint: &str| Err(Error::new(what).hint(hint));
        if self.strict && self.policy != PolicyName::Downtime {
            return refuse("--strict is about a downtime", "Use it with --policy downtime, the default");
        }
        if self.keep_log && !self.policy.is_live() {
            return refuse(
                "--keep-log needs a live policy",
                "xen-save logs no writes: choose another --policy",
            );
        }
        if self.downtime_us == 0 || self.downtime_us > MAX_DOWNTIME_US {
            return refuse("the downtime must be above 0 and at most 60 s", "As in --downtime 30ms");
        }
        if let Some(why) = self.to.as_deref().and_then(|to| keeper(to).err()) {
            return refuse("the name after --to can't be a host's", &why);
        }
        if self.copy_batch == 0 || self.copy_batch > handoff::MAX_COPY_BATCH {
            return refuse("a hypercall copies 1 to 512 pages", "As in --copy-batch 64");
        }
        if !(1..=3600).contains(&self.suspend_timeout) {
            return refuse("the guest may take 1 to 3600 s to suspend", "As in --suspend-timeout 30");
        }
        Ok(())
    }

    /// The policy in the stub's words.
    pub fn handoff_policy(&self) -> handoff::Policy {
        use handoff::Policy as P;
        match self.policy {
            PolicyName::Downtime => P::Downtime { target_us: self.downtime_us, strict: self.strict },
            PolicyName::LiveSave => P::LiveSave,
            PolicyName::ImprovedLiveSave => P::ImprovedLiveSave,
            PolicyName::XenMigrate451 => P::XenMigrate451,
            PolicyName::XenMigrate => P::XenMigrate,
            PolicyName::SmartStop => P::SmartStop,
            PolicyName::PoolFit => P::PoolFit,
            PolicyName::XenSave => P::XenSave,
        }
    }
}

/// Policies by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyName {
    /// Suspend the guest when it would be suspended no longer than --downtime
    #[default]
    Downtime,
    /// Suspend when few pages are left, after 29 live rounds, or after three times the guest's
    /// memory (the Live Save paper)
    LiveSave,
    /// The same with fewer rounds while the guest writes faster than pages are stored (the same
    /// paper)
    ImprovedLiveSave,
    /// Suspend as soon as what is left fits the stub's pool: the shortest snapshot, with a
    /// suspended time bounded by the pool
    PoolFit,
    /// Suspend at a local minimum of what is left, once rounds stop shrinking (CloudNet)
    SmartStop,
    /// As Xen's live migration today: 5 live rounds, or fewer than 50 pages left
    XenMigrate,
    /// As Xen's live migration of version 4.5.1
    #[serde(rename = "xen-migrate-4.5")]
    #[value(name = "xen-migrate-4.5")]
    XenMigrate451,
    /// Suspend first, then copy everything (as plain xl save does)
    XenSave,
}

impl PolicyName {
    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Downtime => "downtime",
            Self::LiveSave => "live-save",
            Self::ImprovedLiveSave => "improved-live-save",
            Self::PoolFit => "pool-fit",
            Self::SmartStop => "smart-stop",
            Self::XenMigrate => "xen-migrate",
            Self::XenMigrate451 => "xen-migrate-4.5",
            Self::XenSave => "xen-save",
        }
    }

    /// Whether it copies while the guest runs.
    pub fn is_live(self) -> bool {
        self != Self::XenSave
    }
}

/// Whether pages that are dirty again are left out of live rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SkipWhen {
    /// As the policy has it
    #[default]
    Policy,
    /// Never
    Never,
    /// In every live round
    Always,
}

impl From<SkipWhen> for handoff::Skip {
    fn from(when: SkipWhen) -> Self {
        match when {
            SkipWhen::Policy => Self::Policy,
            SkipWhen::Never => Self::Never,
            SkipWhen::Always => Self::Always,
        }
    }
}

/// How many pages are made ready before the last round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prepare {
    /// As many as the guest's grant table has room for.
    #[default]
    Auto,
    /// So many at most.
    Pages(u32),
}

impl Prepare {
    /// The most pages that are wanted.
    pub fn wanted(self) -> u32 {
        match self {
            Self::Auto => u32::MAX,
            Self::Pages(pages) => pages,
        }
    }
}

impl FromStr for Prepare {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => text.parse().map(Self::Pages).map_err(|_| "a number of pages, or auto".into()),
        }
    }
}

/// The longest downtime that can be asked for: a minute.
const MAX_DOWNTIME_US: u32 = 60_000_000;

/// Reads a time such as `30ms`, `0.5ms` or `2s` into microseconds.
fn time_us(text: &str) -> std::result::Result<u32, String> {
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 1e3),
        (None, Some(number)) => (number, 1e6),
        (None, None) => return Err("a time with its unit, as in 30ms or 1s".into()),
    };
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let us = number.parse::<f64>().ok().filter(|_| plain).map(|n| (n * unit).round());
    match us {
        Some(us) if us >= 1.0 && us <= f64::from(MAX_DOWNTIME_US) => Ok(us as u32),
        Some(_) => Err("above 0 and at most 60s".into()),
        None => Err("a time with its unit, as in 30ms or 1s".into()),
    }
}

/// A name of the operator's list of hosts that keep images.
fn keeper(name: &str) -> std::result::Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && name.len() <= 64 && !name.starts_with('-') && name.chars().all(fits) {
        true => Ok(name.into()),
        false => Err("1 to 64 letters, digits and - _ .".into()),
    }
}

/// Reads `auto`, `none`, or a list of codecs.
fn codecs(text: &str) -> std::result::Result<handoff::Codecs, String> {
    match text {
        "auto" => return Ok(handoff::Codecs::Auto),
        "none" => return Ok(handoff::Codecs::Raw),
        _ => {}
    }
    let (mut lz4, mut delta, mut blocks) = (false, false, false);
    for word in text.split(',') {
        let codec = match word {
            "lz4" => &mut lz4,
            "delta" => &mut delta,
            "blocks" => &mut blocks,
            _ => return Err("auto, none, or some of lz4, delta and blocks with commas between them".into()),
        };
        *codec = true;
    }
    Ok(handoff::Codecs::Chosen { lz4, delta, blocks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_bounds() {
        assert_eq!(time_us("30ms"), Ok(30_000));
        assert_eq!(time_us("0.5ms"), Ok(500));
        assert_eq!(time_us("2s"), Ok(2_000_000));
        assert_eq!(time_us("60s"), Ok(MAX_DOWNTIME_US));
        for bad in
            ["", "30", "ms", "s", "-1ms", "+1ms", "0ms", "61s", "1e3ms", "infs", "nans", "30 ms", "1.2.3s"]
        {
            assert!(time_us(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn codecs_are_auto_none_or_a_list() {
        use handoff::Codecs;
        assert_eq!(codecs("auto"), Ok(Codecs::Auto));
        assert_eq!(codecs("none"), Ok(Codecs::Raw));
        assert_eq!(codecs("lz4"), Ok(Codecs::Chosen { lz4: true, delta: false, blocks: false }));
        assert_eq!(codecs("blocks,delta"), Ok(Codecs::Chosen { lz4: false, delta: true, blocks: true }));
        for bad in ["", "gzip", "lz4,", "lz4,auto", "LZ4"] {
            assert!(codecs(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn options_that_make_no_sense_together_are_refused_with_the_way_out() {
        let check = |change: fn(&mut SnapshotOptions)| {
            let mut options = SnapshotOptions::default();
            change(&mut options);
            options.check()
        };
        check(|_| {}).unwrap();
        check(|o| o.strict = true).unwrap();
        let bad: [fn(&mut SnapshotOptions); 5] = [
            |o| (o.strict, o.policy) = (true, PolicyName::PoolFit),
            |o| (o.keep_log, o.policy) = (true, PolicyName::XenSave),
            |o| o.downtime_us = 0,
            |o| o.copy_batch = 513,
            |o| o.suspend_timeout = 0,
        ];
        for bad in bad {
            assert!(check(bad).unwrap_err().hint.is_some());
        }
    }

    #[test]
    fn a_name_is_the_same_on_the_command_line_and_in_json() {
        use clap::ValueEnum;
        for policy in PolicyName::value_variants() {
            let name = policy.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(policy.name(), name);
            assert_eq!(serde_json::to_value(policy).unwrap(), name.as_str());
        }
    }
}
