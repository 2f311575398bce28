//! The small worlds and their bounds. Owns these constants. Does not own what a bound means (`bounds.rs`) or which
//! worlds a test run searches (`small_worlds.rs`). A further message in flight multiplies the states of a world by
//! about ten, and of a world with a crash by about sixty, so each world has as many as every run can afford.

use super::bounds::{Bounds, Flaw, Opening, Time};
use super::clocks::UNLIMITED;

/// Base of all worlds: three members elect leaders in two terms, and each leader appends its no-op.
const PLAIN: Bounds = Bounds {
    name: "",
    voters: &[1, 2, 3],
    learners: &[],
    terms: 2,
    proposals: 0,
    change: None,
    crashes: 0,
    heartbeats: 0,
    duplicates: 0,
    reads: 0,
    transfers: 0,
    forgeries: 0,
    evicts: false,
    snapshots: 0,
    in_flight: 2,
    pre_vote: false,
    time: Time::Independent,
    opening: Opening::Start,
    states_max: 10_000_000,
    flaw: Flaw::None,
};

pub(crate) const ENTRY: Bounds = Bounds { name: "an entry", proposals: 1, ..PLAIN };

pub(crate) const CRASH: Bounds = Bounds { name: "an entry, a crash", crashes: 1, in_flight: 1, ..ENTRY };

pub(crate) const CRASH_WITHOUT_ENTRY: Bounds = Bounds { name: "a crash", proposals: 0, ..CRASH };

pub(crate) const PRE_VOTE: Bounds =
    Bounds { name: "pre-votes, a crash", crashes: 1, in_flight: 1, pre_vote: true, ..PLAIN };

pub(crate) const PRE_VOTE_WITHOUT_CRASH: Bounds = Bounds { name: "pre-votes", crashes: 0, ..PRE_VOTE };

pub(crate) const READ: Bounds = Bounds {
    name: "a read, a leadership transfer, a duplicated message",
    duplicates: 1,
    reads: 1,
    transfers: 1,
    in_flight: 1,
    ..PLAIN
};

/// One reconfiguration, through a joint configuration, that replaces a voter with another member.
pub(crate) const CHANGE: Bounds = Bounds {
    name: "a joint change that replaces a voter",
    voters: &[1, 2],
    learners: &[3],
    change: Some((&[1, 3], &[])),
    heartbeats: 1,
    in_flight: 3,
    ..PLAIN
};

pub(crate) const CHANGE_AND_CRASH: Bounds =
    Bounds { name: "a joint change that replaces a voter, a crash", crashes: 1, heartbeats: 0, in_flight: 2, ..CHANGE };

/// The two voters become three, so that a majority needs one more member than before only once it is caught up.
pub(crate) const PROMOTION_AND_CRASH: Bounds = Bounds {
    name: "a learner is promoted, a crash",
    voters: &[1, 2],
    learners: &[3],
    change: Some((&[1, 2, 3], &[])),
    crashes: 1,
    ..PLAIN
};

/// One member takes a snapshot and purges its log. A member that lacks the purged entries installs the snapshot.
pub(crate) const SNAPSHOT: Bounds = Bounds { name: "a snapshot", snapshots: 1, in_flight: 3, ..PLAIN };

/// The installed snapshot replaces a log, and further entries follow the snapshot. The one heartbeat lets the leader
/// send a failed snapshot again.
pub(crate) const SNAPSHOT_AND_ENTRY: Bounds =
    Bounds { name: "a snapshot, an entry, a heartbeat", proposals: 1, heartbeats: 1, in_flight: 1, ..SNAPSHOT };

/// A crash may happen between any two steps of an install, or between a snapshot and the purge that follows it.
pub(crate) const SNAPSHOT_AND_CRASH: Bounds =
    Bounds { name: "a snapshot, an entry, a crash", proposals: 1, crashes: 1, in_flight: 1, ..SNAPSHOT };

pub(crate) const SNAPSHOT_AND_CRASH_WITHOUT_ENTRY: Bounds =
    Bounds { name: "a snapshot, a crash", proposals: 0, ..SNAPSHOT_AND_CRASH };

/// A member learns the configuration from a snapshot.
pub(crate) const SNAPSHOT_AND_CHANGE: Bounds =
    Bounds { name: "a snapshot, a joint change that replaces a voter", snapshots: 1, in_flight: 2, ..CHANGE };

/// A voter is removed, and any member may receive a forged notice of its removal. Verifications reach any voter or none.
pub(crate) const REMOVAL: Bounds = Bounds {
    name: "a voter is removed, a forged notice",
    change: Some((&[1, 2], &[])),
    forgeries: 1,
    in_flight: 2,
    opening: Opening::Led,
    ..PLAIN
};

/// Entries are read back from the disk for a member that lacks them, while another leader may overwrite them.
pub(crate) const READ_BACK: Bounds = Bounds {
    name: "an entry that is read back",
    terms: 3,
    heartbeats: 2,
    evicts: true,
    in_flight: 1,
    opening: Opening::Reading,
    ..PLAIN
};

pub(crate) const LEASE: Bounds = Bounds {
    name: "a lease",
    reads: 1,
    in_flight: 1,
    time: Time::Together { steps: 3, drifts: 0, sleeps: 0 },
    ..PLAIN
};

pub(crate) const LEASE_AND_DRIFT: Bounds = Bounds {
    name: "a lease, clocks that drift apart, a heartbeat",
    reads: 2,
    heartbeats: 1,
    in_flight: 1,
    time: Time::Together { steps: 4, drifts: 1, sleeps: 0 },
    opening: Opening::Led,
    ..PLAIN
};

pub(crate) const LEASE_AND_TRANSFER: Bounds = Bounds {
    name: "a lease, clocks that drift apart, a leadership transfer",
    heartbeats: 0,
    transfers: 1,
    ..LEASE_AND_DRIFT
};

/// Members may crash although a lease relies on their acknowledgements.
pub(crate) const LEASE_AND_CRASHES: Bounds = Bounds {
    name: "a lease, two crashes",
    reads: 1,
    crashes: 2,
    time: Time::Together { steps: 2, drifts: 0, sleeps: 0 },
    opening: Opening::Led,
    ..PLAIN
};

/// The configuration changes from three voters to a single voter that does not lead, and that voter may crash. The set
/// of voters on which a lease relies therefore changes while the lease is valid.
pub(crate) const LEASE_AND_CHANGE: Bounds = Bounds {
    name: "a lease, a joint change to one voter, a crash",
    change: Some((&[2], &[])),
    crashes: 1,
    in_flight: 1,
    time: Time::Together { steps: 2, drifts: 0, sleeps: 0 },
    opening: Opening::Led,
    reads: 1,
    ..PLAIN
};

/// The machine of the leader or of a follower sleeps.
pub(crate) const LEASE_AND_SLEEP: Bounds = Bounds {
    name: "a lease, clocks that drift apart, a sleep",
    reads: 1,
    in_flight: 2,
    time: Time::Together { steps: 3, drifts: 1, sleeps: 1 },
    ..LEASE_AND_DRIFT
};

/// At the start, a vote request of the candidate that lost the election is still in flight.
pub(crate) const LEASE_CONTESTED: Bounds = Bounds {
    name: "a lease after a contested election",
    reads: 1,
    heartbeats: 1,
    time: Time::Together { steps: 2, drifts: 0, sleeps: 0 },
    opening: Opening::Contested,
    ..PLAIN
};

/// The world sets no limit on time. The number of states is finite nevertheless, because a state holds only ages.
pub(crate) const LEASE_WITHOUT_TIME_LIMIT: Bounds = Bounds {
    name: "a lease, any length of time",
    reads: 1,
    time: Time::Together { steps: UNLIMITED, drifts: 0, sleeps: 0 },
    opening: Opening::Led,
    ..PLAIN
};
