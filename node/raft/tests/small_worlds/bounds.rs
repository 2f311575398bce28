//! How large a world is, and what is wrong with it. Owns the words; what they lead to is the world's.

/// How much of what may happen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) name: &'static str,
    pub(crate) voters: &'static [u64],
    pub(crate) learners: &'static [u64],
    /// Highest term.
    pub(crate) terms: usize,
    pub(crate) proposals: u8,
    /// The wanted voters and learners, once.
    pub(crate) change: Option<(&'static [u64], &'static [u64])>,
    /// Crashes, each followed by a restart.
    pub(crate) crashes: u8,
    /// Heartbeats that fall due.
    pub(crate) beats: u8,
    /// Messages that arrive and arrive again.
    pub(crate) doubles: u8,
    pub(crate) reads: u8,
    pub(crate) transfers: u8,
    /// Snapshots that members take of their own state, each after every entry that it applied; the log behind one is purged.
    pub(crate) snapshots: u8,
    /// Messages on their way at once; what is sent beyond that is lost.
    pub(crate) wire: usize,
    pub(crate) pre_vote: bool,
    pub(crate) time: Time,
    pub(crate) opening: Opening,
    /// The search gives up beyond that.
    pub(crate) states_max: usize,
    pub(crate) flaw: Flaw,
}

/// How clocks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    /// Each by itself, as far as it takes: a silence may end at any moment. No lease could hold.
    Free,
    /// In steps, mostly together; reads are by lease.
    InStep {
        /// How often.
        steps: u8,
        /// How often one goes alone, or stands still while the others go: as the configured bound allows.
        drifts: u8,
        /// Steps that a machine sleeps through, and notices.
        sleeps: u8,
    },
}

/// Where a search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// No member leads, and nothing happened.
    Start,
    /// One leads, and everybody knows.
    Led,
    /// One leads, and one that campaigned against it is still to be heard.
    Contested,
}

/// What is wrong around the cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// A crash loses the vote, though not the term.
    ForgetsVote,
    /// A write is acknowledged though a crash can still lose it.
    AcknowledgesEarly,
    /// A snapshot is installed and the log that it replaces stays.
    InstallsOverLog,
    /// A snapshot is installed and the state machine stays as it was.
    InstallsWithoutState,
    /// The log is purged when a snapshot is captured, before it is durable.
    PurgesEarly,
    /// One entry more is purged than the snapshot covers.
    PurgesTooMuch,
    /// A driver takes a lease that it saw a moment ago for one that still holds.
    KeepsLease,
    /// The lease of the member that leads first is longer than the others' election timeout allows.
    LeaseTooLong,
    /// Clocks part further than the configured bound.
    ClocksPart,
    /// A machine that slept does not show it by its wall clock.
    HidesSleep,
    /// A start is dated back, so that no leader of before the crash is trusted any more.
    StartsInThePast,
}
