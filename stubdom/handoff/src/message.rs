//! What is said. Names are those of the Live Save paper and of Xen's headers.

use heapless::String;
use serde::{Deserialize, Serialize};

use crate::group::{GroupNews, GroupOrder};
use crate::net::{NetAnswer, NetOrder, RequestId};
use crate::plan::Plan;
use crate::report::{Progress, Report, Round};

/// The version of this protocol. It changes whenever a message changes its shape: the two ends
/// are installed together and never need to understand an older one, only to refuse it clearly.
pub const VERSION: u16 = 6;

/// Says "this is Luthier's handoff" before anything else is believed: "LUTH".
pub const MAGIC: u32 = 0x4854_554c;

/// The most page slots in one window. Two windows of a guest fit the top 16 frames of its grant
/// table (512 version 1 entries a frame).
pub const WINDOW_SLOTS: usize = 4096;

/// The most bytes of dirty bitmap in one `Dirty` reply.
pub const BITMAP_CHUNK: usize = 32 * 1024;

/// A snapshot in progress: chosen by the shim, never used twice on one connection.
pub type Job = u32;

/// Free text that goes with an error.
pub type Detail = String<200>;

/// The most octets of a [`Why`].
pub const WHY_MAX: usize = 340;

/// Why there is no group snapshot: what another host's shim said, with its next step, behind the names of
/// that host.
pub type Why = String<WHY_MAX>;

/// The first message each way. It must keep this shape in every version to come, so that a
/// mismatch can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`VERSION`] of the sender.
    pub version: u16,
    /// From the stub: pages in its pool. From the shim: 0.
    pub pool_pages: u32,
}

impl Hello {
    /// The hello of this build.
    pub fn new(pool_pages: u32) -> Self {
        Self { magic: MAGIC, version: VERSION, pool_pages }
    }

    /// Whether the peer speaks this version.
    pub fn fits(&self) -> bool {
        self.magic == MAGIC && self.version == VERSION
    }
}

/// From the shim to the stub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// As for NetAnswer.
#[allow(clippy::large_enum_variant)]
pub enum ToStub {
    /// Opens the connection; the stub answers with its own.
    Hello(Hello),
    /// Take a snapshot.
    Start {
        /// Its number from now on.
        job: Job,
        /// The guest's domain id: the owner of the grants in the window.
        guest: u16,
        /// The number of slots: the guest's populated frames.
        pages: u32,
        /// How.
        plan: Plan,
    },
    /// Answers the verb `seq` of `job`. Bulk as the outcome says.
    Reply {
        /// The snapshot.
        job: Job,
        /// The verb's number.
        seq: u16,
        /// What came of it.
        result: Result<Outcome, VerbError>,
    },
    /// End the snapshot without an image (the operator's wish, or the store failed).
    Cancel {
        /// The snapshot.
        job: Job,
    },
    /// An order to the network switch.
    Net {
        /// Its number, for the answer.
        request: RequestId,
        /// What to do.
        order: NetOrder,
    },
    /// Of a group snapshot. Bulk as the order says.
    Group(GroupOrder),
}

/// From the stub to the shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
// As for NetAnswer.
#[allow(clippy::large_enum_variant)]
pub enum ToShim {
    /// Answers the shim's hello, whatever its version.
    Hello(Hello),
    /// Asks for something that only the control domain can do. One verb of a job is open at a
    /// time. Bulk as the verb says.
    Verb {
        /// The snapshot.
        job: Job,
        /// Counts a job's verbs, from 0, wrapping.
        seq: u16,
        /// What to do.
        verb: Verb,
    },
    /// Store these pages: last write wins. Bulk: `count` [`PageEntry`](crate::PageEntry) and
    /// the contents.
    Pages {
        /// The snapshot.
        job: Job,
        /// Pages in this message, at most [`PAGES_PER_MESSAGE`](crate::PAGES_PER_MESSAGE).
        count: u16,
    },
    /// A round has ended.
    Round {
        /// The snapshot.
        job: Job,
        /// What happened in it.
        round: Round,
    },
    /// Where the snapshot stands, some times a second.
    Progress {
        /// The snapshot.
        job: Job,
        /// The figures.
        progress: Progress,
    },
    /// The snapshot has ended: every page was sent (commit), or why not (discard).
    Ended {
        /// The snapshot.
        job: Job,
        /// What came of it.
        result: Result<Report, Failure>,
    },
    /// Answers an order to the network switch. Bulk as the answer says.
    Net {
        /// The order's number.
        request: RequestId,
        /// The answer, or a part of it.
        answer: NetAnswer,
    },
    /// Of a group snapshot. Bulk as the news says.
    Group(GroupNews),
}

/// A control verb. The shim checks each against the allow-list that was fixed at attach, and does them in
/// order. The stub may ask for one more before it has the answer to the last, where it is certain what comes
/// next: the last `Clean` along with `Suspend`, `Resume` along with `State`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// Begin (true) or end (false) to log the guest's writes. Answer: `Done`.
    LogDirty(bool),
    /// Fetch the dirty bitmap and, but for the last time, clear it. Answer: `Dirty` (several), then `Done`.
    Clean {
        /// The guest is suspended and this is the last time. Refused when it is not.
        last: bool,
    },
    /// Grant the stub read-only access to slots, in place of what this half granted before.
    /// Bulk: the slots, `count` × u32, at most [`WINDOW_SLOTS`]. Answer: `Window`.
    Window {
        /// Which half of the window: 0 or 1.
        half: u8,
        /// Leave out slots that are dirty already (log-dirty PEEK): they come again.
        skip_dirty: bool,
        /// How many slots.
        count: u16,
    },
    /// Grant the stub read-only access to slots beside the window, for as long as the snapshot
    /// lasts: what the last round will read. Bulk: the slots, `count` × u32, at most
    /// [`WINDOW_SLOTS`]. Answer: `Window`, or an error if they find no place.
    Prepare {
        /// How many were granted so before: the place of the first of these.
        at: u32,
        /// How many slots.
        count: u16,
    },
    /// Give the guest so much of its CPU time. Answer: `Done`.
    Throttle {
        /// 1 to 100; 100 is all that it had before the snapshot.
        percent: u8,
    },
    /// Take back every grant, the window's and the prepared ones. Answer: `Done`, or the error
    /// `Spoiled` if the guest had changed one of them.
    Revoke,
    /// Ask the guest to suspend and wait until it has. Answer: `Done`.
    Suspend,
    /// Record the HVM context and what else is not memory, while suspended. Answer: `Done`.
    State,
    /// Let the guest go on where it was. Answer: `Done`.
    Resume,
}

/// What came of a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was done.
    Done,
    /// A part of the dirty bitmap, bit `i` of byte `j` is slot `first + 8 j + i`. Bulk: the
    /// bytes, at most [`BITMAP_CHUNK`]. More follows, the end is `Done`.
    Dirty {
        /// A multiple of 64.
        first: u32,
    },
    /// The window is open. Bulk: a bitmap of `count` bits in the order of the verb's slots; a
    /// bit is set if the slot was left out because it is dirty. No bulk: none was left out.
    Window {
        /// The grant reference of the verb's first slot; the others follow, also those left out.
        first_ref: u32,
    },
}

/// Why a verb was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerbError {
    /// The class of the error.
    pub kind: VerbErrorKind,
    /// What the operator should know.
    pub detail: Detail,
}

/// Classes of [`VerbError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VerbErrorKind {
    /// The guest is not the one that was attached, or the request is not one of its snapshot's.
    NotAllowed,
    /// The guest has exited, crashed or was destroyed.
    GuestGone,
    /// Dirty logging is not to be had: someone else owns it, or a device is passed through.
    LogDirty,
    /// The guest did not answer the request to suspend.
    NoSuspend,
    /// The guest changed or took back a grant of the window.
    Spoiled,
    /// The guest's memory changed its shape since the start.
    Resized,
    /// Xen or Dom0's kernel refused.
    Hypervisor,
}

/// Why a snapshot ended without an image, as the stub knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Failure {
    /// A verb failed.
    Verb(VerbError),
    /// A page could not be copied.
    Copy {
        /// The page.
        slot: u32,
        /// Xen's status (`GNTST_*` of `grant_table.h`).
        status: i16,
    },
    /// The shim cancelled it.
    Cancelled,
    /// The stub has too little memory for this guest.
    NoMemory,
    /// The stub has as many snapshots as it can hold.
    Busy,
    /// The shim's answer makes no sense.
    Protocol,
    /// The target of the suspended time can't be met, and the operator wants no snapshot then.
    Target {
        /// What the suspended time would have been, in microseconds.
        estimate_us: u32,
    },
}
