//! What `luthier` and `luthierd` say to each other on the Unix socket: one JSON value a line.
//! A client sends one [`Request`] and reads [`Event`]s until `Done` or `Failed`. A client that
//! hangs up cancels what it asked for.

mod options;
mod schedule;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::Error;
pub use options::{PolicyName, Prepare, SkipWhen, SnapshotOptions};
pub use schedule::{MAX_EVERY_S, MAX_KEEP, ScheduleRequest, ScheduleWish};

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case")]
pub enum Request {
    /// What runs: the stub, the attached guests, the snapshots in progress.
    Status,
    /// Launch the stub domain and wait for it.
    Up {
        /// The stub's pool, in MiB; the configuration's if not given.
        pool: Option<u32>,
    },
    /// Destroy the stub domain.
    Down {
        /// Also when snapshots are in progress.
        force: bool,
    },
    /// Put a guest on the allow-list.
    Attach {
        /// Name or domain id.
        guest: String,
        /// Also give it a vif on this network, if it has none.
        net: Option<String>,
        /// The MAC address of that vif; xl makes one if not given.
        mac: Option<String>,
    },
    /// Take a guest off the allow-list.
    Detach {
        /// Name or domain id.
        guest: String,
    },
    /// Take a snapshot of an attached guest.
    Snapshot {
        /// Name or domain id.
        guest: String,
        /// How.
        #[serde(default)]
        options: SnapshotOptions,
    },
    /// Take one snapshot of all guests of a network, on all hosts.
    SnapshotNet {
        /// The network's name.
        net: String,
        /// As VNsnap was published.
        #[serde(default)]
        classic: bool,
        /// How each guest is taken.
        #[serde(default)]
        options: SnapshotOptions,
    },
    /// Something about periodic snapshots.
    Schedule {
        /// What.
        schedule: ScheduleRequest,
    },
    /// Something about networks.
    Net {
        /// What.
        net: NetRequest,
    },
}

/// What a client asks about networks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum NetRequest {
    /// Make one.
    Create {
        /// Its name.
        name: String,
        /// Its number; made of the name if not given.
        id: Option<u32>,
        /// Its MTU; what fits if not given.
        mtu: Option<u16>,
        /// Whether MAC addresses of vifs stay at their ports.
        pin: bool,
    },
    /// Delete one that no guest uses.
    Delete {
        /// Its name.
        name: String,
    },
    /// All that there are.
    List,
    /// One of them: ports, peers, addresses, figures.
    Show {
        /// Its name.
        name: String,
    },
    /// The other hosts' switches.
    Peers,
    /// The figures of one network or of all.
    Stats {
        /// Its name.
        name: Option<String>,
    },
    /// Copies of a network's frames until the client hangs up.
    Capture {
        /// Its name.
        name: String,
        /// The most octets of each frame.
        snaplen: u16,
        /// Frames until the end.
        count: Option<u64>,
    },
    /// Join other hosts' switches through one of them.
    Join {
        /// Where it is.
        address: String,
        /// Its public key.
        key: String,
    },
    /// Leave the other hosts' switches.
    Leave,
    /// This host's public key.
    Key,
    /// Take no frames from the network's guests, for a minute, or take them again.
    Freeze {
        /// Its name.
        name: String,
        /// Whether.
        on: bool,
    },
    /// Frames for guests that are being restored.
    Inject {
        /// The network's name.
        name: String,
        /// How many.
        count: u16,
        /// Records and frames as `handoff` has them, in hexadecimal.
        octets: String,
    },
    /// Whether this host is fit for networks, for `luthier check`.
    Fitness,
}

/// What the daemon answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// A snapshot began.
    Started {
        /// The image to be.
        image: String,
        /// The guest's populated pages.
        pages: u32,
    },
    /// Where it stands.
    Progress(Progress),
    /// A round has ended.
    Round(Round),
    /// A group snapshot has come so far on this host: begun, prepared, drained, stored.
    Phase {
        /// How far.
        phase: String,
    },
    /// What happens to a member of a group, on this host.
    Member {
        /// The guest.
        guest: String,
        /// `Started`, `Progress` or `Round`.
        told: Box<Event>,
    },
    /// A member of a group was cut, on this host.
    Cut {
        /// The guest.
        guest: String,
        /// Milliseconds since this host was asked to prepare: `ready_ms`, `suspend_ms`, `cut_ms`,
        /// `resume_ms`.
        times: Value,
    },
    /// Captured frames.
    Captured {
        /// The frames, in the order in which they entered the switch.
        frames: Vec<Frame>,
        /// Frames left out since the beginning, as somebody was too slow.
        missed: u64,
    },
    /// The request was done.
    Done {
        /// What the request returns.
        result: Value,
    },
    /// The request was not done.
    Failed {
        /// Why.
        error: Error,
    },
}

/// A captured frame.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Frame {
    /// Microseconds since 1970 when it entered the switch.
    pub time_us: u64,
    /// Who sent it: `DOMID/DEVID` of a vif, or another switch's id.
    pub from: String,
    /// Its length in octets.
    pub len: u32,
    /// Its first octets, in hexadecimal.
    pub octets: String,
}

/// Where a snapshot stands.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The present round, from 1.
    pub round: u16,
    /// Pages left in this round.
    pub remaining: u32,
    /// Pages sent since the start.
    pub sent: u64,
    /// Pages a second that the guest dirtied in the last round.
    pub dirty_rate: u32,
    /// Pages a second that are copied.
    pub copy_rate: u32,
    /// Estimated milliseconds to the end of this round.
    pub estimate_ms: Option<u64>,
}

/// One round.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Round {
    /// From 1.
    pub round: u16,
    /// Whether the guest ran.
    pub live: bool,
    /// Pages to be sent at its begin; 0 in images of earlier versions.
    #[serde(default)]
    pub asked: u32,
    /// Pages sent.
    pub sent: u32,
    /// Of these, zero pages.
    pub zero: u32,
    /// Pages left for later, because dirty again.
    pub skipped: u32,
    /// Pages dirty at the end.
    pub dirtied: u32,
    /// Duration.
    pub ms: f64,
}

/// A line of a table of rounds, as `snapshot` and `show` print it.
impl std::fmt::Display for Round {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { round, live, sent, zero, skipped, dirtied, ms, .. } = self;
        let how = if *live { "live" } else { "suspended" };
        write!(
            f,
            "  round {round:>2} {how:9} {sent:>8} sent {zero:>8} zero {skipped:>8} skipped {dirtied:>8} dirty after it  {ms:>9.1} ms"
        )
    }
}

impl From<handoff::Round> for Round {
    fn from(r: handoff::Round) -> Self {
        let handoff::Round { round, live, asked, sent, zero, skipped, dirtied, micros } = r;
        Self { round, live, asked, sent, zero, skipped, dirtied, ms: micros as f64 / 1000.0 }
    }
}

impl From<handoff::Progress> for Progress {
    fn from(p: handoff::Progress) -> Self {
        let handoff::Progress { round, remaining, sent, dirty_rate, copy_rate } = p;
        let estimate_ms = (u64::from(remaining) * 1000).checked_div(u64::from(copy_rate));
        Self { round, remaining, sent, dirty_rate, copy_rate, estimate_ms }
    }
}
