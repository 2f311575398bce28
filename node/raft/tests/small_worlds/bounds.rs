//! Bounds of a small world and the flaw planted in it. Owns these parameters. Does not own their effects (`state.rs`,
//! `clocks.rs`, `snapshots.rs`).

/// Upper limits of a world: how often each event may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    pub(crate) voters: &'static [u64],
    pub(crate) learners: &'static [u64],
    /// Highest term.
    pub(crate) terms: usize,
    pub(crate) proposals: u8,
    /// Voters and learners that the only membership change asks for.
    pub(crate) change: Option<(&'static [u64], &'static [u64])>,
    /// Number of crashes. A restart follows each crash.
    pub(crate) crashes: u8,
    /// Number of heartbeats that leaders send because a heartbeat is due.
    pub(crate) heartbeats: u8,
    /// Number of messages that arrive twice.
    pub(crate) duplicates: u8,
    pub(crate) reads: u8,
    pub(crate) transfers: u8,
    /// Number of forged notices that a member was removed. With one or more, the search also chooses which voters
    /// answer a verification, and when.
    pub(crate) forgeries: u8,
    /// Whether entries leave the memory as soon as they are durable. The search then chooses when a read of the disk
    /// is answered, and whether the read was carried out at once or only then.
    pub(crate) evicts: bool,
    /// Number of snapshots that members take of their state; 0 means that no snapshot is due. Otherwise a snapshot is
    /// due after each applied entry, and the entries that the snapshot covers are purged.
    pub(crate) snapshots: u8,
    /// Maximum number of messages in flight. When more are sent, the search chooses which ones are lost.
    pub(crate) in_flight: usize,
    pub(crate) pre_vote: bool,
    pub(crate) time: Time,
    pub(crate) opening: Opening,
    /// Limit of visited states. A search that reaches the limit fails, because the other bounds are then too wide.
    pub(crate) states_max: usize,
    pub(crate) flaw: Flaw,
}

/// How clocks advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// Each clock advances by itself. An election timeout may therefore pass at any time, and no lease could be valid.
    Independent,
    /// The clocks advance in steps, usually all together. Reads use the lease.
    Together {
        /// Number of steps; `UNLIMITED` (`clocks.rs`) sets no limit.
        steps: u8,
        /// Number of times that one clock advances alone, or stands still while the others advance. The configured
        /// drift allows this number.
        drifts: u8,
        /// Number of steps during which a machine sleeps. The wall clock of that machine shows the sleep.
        sleeps: u8,
    },
}

/// State in which a search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// No member leads; all logs are empty.
    Start,
    /// One member leads, and all members know it.
    Led,
    /// One member leads, and vote requests of another candidate are still in flight.
    Contested,
    /// Member 1 leads, member 2 lacks the leader's entry, and the leader reads that entry from its disk.
    Reading,
}

/// Flaw planted in the disk, the driver or the clocks around the cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// A crash loses the vote but not the term.
    ForgetsVote,
    /// A write is acknowledged while a crash can still lose it.
    AcknowledgesEarly,
    /// A snapshot is installed, but the log that it replaces stays.
    InstallsOverLog,
    /// A snapshot is installed, but the state machine keeps its old state.
    InstallsWithoutState,
    /// The log is purged when a snapshot is captured, before the snapshot is durable.
    PurgesEarly,
    /// The purge removes one entry more than the snapshot covers.
    PurgesTooMuch,
    /// A driver assumes that a lease is still valid because it was valid a moment ago.
    KeepsLease,
    /// Member 1, the first leader, has a longer lease than the election timeout of the other members allows.
    LeaseTooLong,
    /// Clocks drift apart by one step more than the configured bound.
    ClocksDriftTooFar,
    /// The wall clock of a machine that slept does not show the sleep.
    HidesSleep,
    /// A driver reports a notice as proof: it answers a verification without asking a voter.
    TrustsNotices,
    /// A restarted member counts its start as earlier than it was, so it no longer trusts the leader from before the
    /// crash.
    StartsBackdated,
}
