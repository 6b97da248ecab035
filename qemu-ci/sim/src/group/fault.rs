//! What goes wrong at a given step, and the mutants: ways to be wrong that must be caught.

/// A point of a group snapshot on one host, named by what has just happened or is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The stub tells its shim to prepare.
    Preparing,
    /// The shim's jobs have started.
    Prepared,
    /// All of the host's guests are ready.
    Ready,
    /// The word to flip is here.
    Flipping,
    /// A guest stands still and its vifs are cut.
    Standing,
    /// A guest runs again.
    Resumed,
    /// All of the host's guests are cut.
    Flipped,
    /// It is known what is to be waited for.
    Expecting,
    /// All channels are closed.
    Drained,
    /// A guest's image is about to be durable.
    Storing,
    /// The channel's frames are durable.
    ChannelStored,
    /// The part is about to be durable.
    PartStoring,
    /// The part is durable, and nobody knows.
    PartStored,
    /// The coordinator has all parts.
    Manifest,
    /// The manifest is durable and not renamed.
    ManifestStored,
    /// The manifest is renamed, and nobody knows.
    Renamed,
    /// The stub knows of the commit.
    Committed,
    /// A participant has the manifest, and has not renamed.
    Committing,
    /// A participant has renamed, and nobody knows.
    CommittedToo,
    /// It is given up; nothing was deleted yet.
    Aborting,
    /// Everything of it was deleted.
    Aborted,
    /// All know.
    Ended,
    /// A message of the protocol was taken.
    Took,
    /// A message of the protocol was sent.
    Said,
}

impl Step {
    /// All that happen once for each host or guest.
    pub const ALL: [Step; 22] = [
        Step::Preparing,
        Step::Prepared,
        Step::Ready,
        Step::Flipping,
        Step::Standing,
        Step::Resumed,
        Step::Flipped,
        Step::Expecting,
        Step::Drained,
        Step::Storing,
        Step::ChannelStored,
        Step::PartStoring,
        Step::PartStored,
        Step::Manifest,
        Step::ManifestStored,
        Step::Renamed,
        Step::Committed,
        Step::Committing,
        Step::CommittedToo,
        Step::Aborting,
        Step::Aborted,
        Step::Ended,
    ];
}

/// Who is at the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The host that was asked.
    Coordinator,
    /// Another.
    Participant,
}

/// What is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Victim {
    /// The shim is killed; only its disk is left. Guests and stub go on.
    Shim,
    /// The stub crashes; guests go on, their network does not.
    Stub,
    /// The host loses power: guests, stub and shim.
    Host,
    /// The host's cable is pulled.
    Cable,
    /// A job fails.
    Job,
    /// The operator cancels.
    Operator,
}

/// Something that goes wrong, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub step: Step,
    /// At whom.
    pub role: Role,
    /// How many such steps are let pass before.
    pub skip: u32,
    /// What.
    pub victim: Victim,
    /// After how many milliseconds it is back.
    pub back_ms: u64,
}

/// A way to be wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// As built.
    #[default]
    None,
    /// Frames from after the cut are delivered before it.
    DeliverEarly,
    /// The epoch on the wire is one bit.
    OneBitEpoch,
    /// A datagram that comes twice counts twice.
    NoDuplicateSuppression,
    /// All ports of a host change colour with the first.
    EpochPerHost,
    /// What is left in a guest's ring is taken after its cut.
    RingAfterFlip,
    /// What waits for a guest at its cut is not recorded.
    ForgetBacklog,
    /// What lies in a guest's ring at its cut is not recorded.
    ForgetGiven,
    /// Frames that were on their way are delivered and not recorded.
    NoRecord,
    /// Frames that were on their way are not waited for.
    NoDrain,
    /// The shim says that it is committed before the manifest has its name.
    CommitWithoutRename,
    /// A host is ready before its guests are.
    ReadyWithoutBarrier,
    /// Who aborts goes back to the epoch before.
    AbortGoesBack,
    /// Held frames are never looked at again.
    NeverRelease,
    /// A guest that stands still when a snapshot is given up is left so.
    AbortLeavesSuspended,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 14] = [
        Mutant::DeliverEarly,
        Mutant::OneBitEpoch,
        Mutant::NoDuplicateSuppression,
        Mutant::EpochPerHost,
        Mutant::RingAfterFlip,
        Mutant::ForgetBacklog,
        Mutant::ForgetGiven,
        Mutant::NoRecord,
        Mutant::NoDrain,
        Mutant::CommitWithoutRename,
        Mutant::ReadyWithoutBarrier,
        Mutant::AbortGoesBack,
        Mutant::NeverRelease,
        Mutant::AbortLeavesSuspended,
    ];
}
