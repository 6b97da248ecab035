//! What goes in and what comes out of a [`Node`](crate::Node).

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::clock::Clock;
use crate::error::Why;
use crate::message::{Body, emit};
use crate::{Config, GroupId, Mode, Name, Options, Point};

/// Answers that wait for the driver; beyond, messages are dropped and come again.
const WAITING_MAX: usize = 4096;

/// What happened on this host: by the shim, or by the stub's jobs and its switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local<'a> {
    /// Answers [`Output::Prepare`]: this many jobs have begun, at most [`JOBS_MAX`](crate::JOBS_MAX); maybe none.
    Prepared {
        /// The group.
        group: GroupId,
        /// Jobs.
        jobs: u8,
    },
    /// Answers [`Output::Prepare`]: the shim can't take part.
    Refused {
        /// The group.
        group: GroupId,
        /// Why, naming the guest; cut to 200 octets.
        why: &'a str,
    },
    /// All jobs stand at the barrier (or there are none). Not asked for in classic mode.
    Ready {
        /// The group.
        group: GroupId,
    },
    /// Answers [`Output::Go`]: the last guest is cut.
    Flipped {
        /// The group.
        group: GroupId,
        /// For each peer: the last datagram that went to it before this host's last cut. A peer to whom
        /// nothing went may be left out.
        points: &'a [Point],
    },
    /// Answers [`Output::Expect`]: all that was sent before the cut has come; no need to wait longer.
    Drained {
        /// The group.
        group: GroupId,
    },
    /// Answers [`Output::Close`]: images, disks and channel state are durable; this is the shim's part,
    /// at most [`PART_MAX`](crate::PART_MAX) octets.
    Stored {
        /// The group.
        group: GroupId,
        /// The part.
        part: &'a [u8],
    },
    /// It can't go on here: a job failed, a guest left, what was stored is lost, or the manifest that came
    /// does not have this host's part. (That the shim is gone is [`Node::shim_lost`](crate::Node::shim_lost).)
    Failed {
        /// The group.
        group: GroupId,
        /// Why, naming the guest; cut to 200 octets.
        why: &'a str,
    },
    /// Answers [`Output::Manifest`] (there this is the commit point) or [`Output::Commit`]: the manifest
    /// is durable here.
    Committed {
        /// The group.
        group: GroupId,
        /// At the coordinator: what the others get; if empty, asked for by [`Output::Question`].
        /// Elsewhere ignored.
        manifest: &'a [u8],
    },
    /// Answers [`Output::Question`]; or unasked, after a restart: this host has it committed.
    Decision {
        /// The group.
        group: GroupId,
        /// The manifest; none if this host does not have it committed.
        manifest: Option<&'a [u8]>,
        /// Unasked, at the coordinator: its members, as [`Output::Prepare`] told. Empty if not known: then
        /// it is told to all, but not revoked when all of them have given it up.
        members: &'a [u64],
    },
    /// After a restart: something complete of this group is here, undecided. Answered in time by
    /// [`Output::Commit`] or [`Output::Abort`].
    Ask {
        /// The group.
        group: GroupId,
        /// Its members, as [`Output::Prepare`] told; empty if not known.
        members: &'a [u64],
    },
    /// The operator wants it no more. Too late once [`Output::Manifest`] was given out.
    Cancel {
        /// The group.
        group: GroupId,
    },
}

impl Local<'_> {
    pub(crate) fn group(&self) -> GroupId {
        match self {
            Self::Prepared { group, .. }
            | Self::Refused { group, .. }
            | Self::Ready { group }
            | Self::Flipped { group, .. }
            | Self::Drained { group }
            | Self::Stored { group, .. }
            | Self::Failed { group, .. }
            | Self::Committed { group, .. }
            | Self::Decision { group, .. }
            | Self::Ask { group, .. }
            | Self::Cancel { group } => *group,
        }
    }
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "some in a snapshot, and one at a time")]
pub enum Output {
    /// Seal this and send it.
    Send {
        /// To whom.
        to: u64,
        /// At most [`MESSAGE_MAX`](crate::MESSAGE_MAX) octets.
        octets: Vec<u8>,
    },
    /// Take part. Ports of the network below `epoch - 1` get that first. The shim starts a job for each guest of the network. Answer `Prepared` or `Refused`; then
    /// (together mode) `Ready`.
    Prepare {
        /// The group.
        group: GroupId,
        /// How.
        mode: Mode,
        /// Its name.
        name: Name,
        /// The shims' own words.
        options: Options,
        /// All switches that take part, this one included: to be kept for [`Local::Ask`].
        members: Vec<u64>,
    },
    /// Cut all guests: together mode: now; classic mode: each when its own policy says so. Answer `Flipped`.
    Go {
        /// The group.
        group: GroupId,
    },
    /// All are cut: this is the last that each peer sent before. Who is not named sent nothing. Say
    /// `Drained` when all of it has come (not in classic mode); `Close` comes then, or after `drain_ms`.
    Expect {
        /// The group.
        group: GroupId,
        /// For each peer that sent something.
        points: Vec<Point>,
    },
    /// Close all channels: what has not come is lost. Store everything, and answer `Stored`.
    Close {
        /// The group.
        group: GroupId,
    },
    /// At the coordinator: every member has stored everything. Make this the manifest, durable, and answer
    /// `Committed`: the commit point. `Failed` if that can't be.
    Manifest {
        /// The group.
        group: GroupId,
        /// The part of each member, by switch.
        parts: Vec<(u64, Vec<u8>)>,
    },
    /// It is committed: rename what is here, answer `Committed`. The shim checks that its own part is in
    /// there.
    Commit {
        /// The group.
        group: GroupId,
        /// What the coordinator's shim wrote.
        manifest: Vec<u8>,
    },
    /// It is given up: delete what is here of it, let all guests run.
    Abort {
        /// The group.
        group: GroupId,
        /// Why, and because of whom.
        why: Why,
        /// Abort-forward: ports of the network below this epoch get it, without capture, and what was held for
        /// them is delivered. None for a group that was beaten by another one that was begun at once: no port
        /// anywhere has been cut, and the epoch stays as it is.
        settle: Option<u32>,
    },
    /// Ports of the network below this epoch get it (no snapshot of it runs here): other hosts have it.
    Settle {
        /// The network.
        network: u32,
        /// The epoch.
        epoch: u32,
    },
    /// Ask the shim what it has of this group: answer `Decision` or `Ask`.
    Question {
        /// The group.
        group: GroupId,
    },
    /// At the coordinator: the end. Given up; or committed, confirmed by at least one other member (so that it
    /// can't be revoked any more), and known to all that can be reached.
    Ended {
        /// The group.
        group: GroupId,
        /// Those that have not said yet that they have it, as they can't be reached; or why it was given
        /// up ([`Cause::Beaten`](crate::Cause::Beaten) names the group that goes on instead).
        result: Result<Vec<u64>, Why>,
    },
}

/// The way out, which coordinator and participant share.
pub(crate) struct Io {
    pub(crate) me: u64,
    life: u64,
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    /// The time that counts, at this call.
    pub(crate) now: u64,
    pub(crate) out: VecDeque<Output>,
    /// What this switch says to itself: a coordinator takes part like all others.
    pub(crate) own: VecDeque<Body>,
}

impl Io {
    pub(crate) fn new(me: u64, life: u64, config: Config) -> Self {
        let config = config.scaled();
        let clock = Clock::new(config.sign_ms);
        Self { me, life, config, clock, now: 0, out: VecDeque::new(), own: VecDeque::new() }
    }

    pub(crate) fn send(&mut self, to: u64, body: Body) {
        if to == self.me {
            self.own.push_back(body);
        } else if self.out.len() < WAITING_MAX {
            self.out.push_back(Output::Send { to, octets: emit(self.life, &body) });
        }
    }

    pub(crate) fn send_version(&mut self, to: u64) {
        if self.out.len() < WAITING_MAX {
            self.out.push_back(Output::Send { to, octets: alloc::vec![crate::VERSION] });
        }
    }

    pub(crate) fn tell(&mut self, output: Output) {
        self.out.push_back(output);
    }

    /// Whether it is time to say something again.
    pub(crate) fn due(&self, retry: &mut crate::clock::Retry) -> bool {
        retry.due(self.now, self.config.retry_ms, self.config.retry_max_ms)
    }
}
