//! Limits and timeouts of a core. Owns their defaults and the check that they fit together.

use std::time::Duration;

use bytes::Bytes;

use crate::ids::{EntryId, Index, MemberId, Term};

/// Settings that a core receives once, when it starts.
///
/// Settings may differ between members if they obey two rules. [`Config::validate`] checks these rules only among the
/// settings of one member:
///
/// - `leader_lease` plus `clock_drift` of each member is shorter than `election_timeout` of every other; otherwise a
///   lease read may be stale;
/// - `election_timeout` of each member is at least twice the `heartbeat_interval` of every other; otherwise members
///   campaign although the leader is alive.
///
/// A change that is rolled out one member at a time must obey both rules at every step. To raise lease and timeout,
/// first raise the timeout on every member. To lower them, first lower the lease on every member.
#[derive(Clone, Debug)]
pub struct Config {
    /// ID of this member.
    pub id: MemberId,
    /// Longest time between two messages from a leader to a member. At most half the shortest election timeout of any
    /// member. Default: 150 ms.
    pub heartbeat_interval: Duration,
    /// Shortest election timeout. A follower that receives nothing from a leader campaigns after a random time of at
    /// least this timeout and less than twice this timeout. Default: 1 s.
    pub election_timeout: Duration,
    /// Validity of a lease. After a quorum has answered a heartbeat round, the leader may serve lease reads for this
    /// time, counted from the start of the round. The sum of lease and `clock_drift` must be shorter than the election
    /// timeout of this and every other member, because other members elect a new leader when their own timeouts end.
    /// Default: 500 ms.
    pub leader_lease: Duration,
    /// Maximum drift between two members' clocks during one lease. If the monotonic clock and the wall clock of this
    /// member drift apart by more than this, a lease read needs a new round, because earlier rounds no longer prove a
    /// lease. Default: 50 ms.
    pub clock_drift: Duration,
    /// Whether linearizable reads are served from the lease, without a heartbeat round. Default: off, because leases
    /// rely on clocks.
    pub lease_reads: bool,
    /// Whether campaigns start with a pre-vote (Raft thesis §9.6). Without pre-votes, all members need the same
    /// `election_timeout`. Otherwise a member that cannot win may campaign more often than the other members. Its term
    /// then stays ahead of theirs, and every candidate that requests its vote learns the newer term and steps down.
    /// Default: on.
    pub pre_vote: bool,
    /// Number of entries that are applied between two snapshots. After that number, [`crate::Output::SnapshotDue`]
    /// requests the next snapshot. Default: 1,024.
    pub snapshot_threshold: u64,
    /// Number of entries before a snapshot that are kept for followers that lag. A leader keeps up to eight times as
    /// many for a follower that still answers. Default: 1,024.
    pub snapshot_trailing: u64,
    /// Maximum number of entries in one append. Default: 64.
    pub max_append_entries: usize,
    /// Maximum payload bytes in one append; a single larger entry is sent alone. Default: 1 MiB.
    pub max_append_bytes: usize,
    /// Maximum number of appends in flight to one follower. Default: 256.
    pub max_inflight_messages: usize,
    /// Maximum number of bytes in flight to one follower. Default: 16 MiB.
    pub max_inflight_bytes: usize,
    /// Limits on the memory of the log. [`crate::Raft::set_limits`] changes them while the core runs.
    pub limits: Limits,
    /// Maximum number of entries by which a learner may lag the leader when it becomes a voter. Default: 64.
    pub catch_up_entries: u64,
    /// Time after which an unfinished leadership transfer is aborted. Default: 1 s, which is also the default election
    /// timeout.
    pub transfer_timeout: Duration,
    /// Whether a payload adds content, so that it may not use the reserve of the members' volumes. Called only while no
    /// quorum of voters is above its reserve. Depends on nothing but the payload. Default: every payload does.
    pub adds_content: fn(&Bytes) -> bool,
    /// Seed of the random part of this member's election timeouts. Every member needs a different seed.
    pub seed: u64,
}

/// Limits on the memory of the log, in bytes of entries ([`crate::Entry::weight`]). They may change while a core runs,
/// and they may differ between members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Maximum bytes of entries in memory. Above this limit, the oldest entries leave the memory once the disk holds
    /// them. 0: entries leave as soon as they may. [`usize::MAX`]: entries leave only when they are purged. Default: 64
    /// MiB.
    pub log_bytes: usize,
    /// Maximum bytes of entries that a leader has not committed, or that its own disk does not hold yet; proposals above
    /// this limit are refused. A follower ignores further entries while its disk lags by twice as much. Default: 64 MiB.
    pub unsettled_bytes: usize,
    /// While the driver has this many bytes of entries to apply, the core gives it no further entries. Default: 16 MiB.
    pub applying_bytes: usize,
    /// Maximum bytes of entries that are being read from the disk for other members. One read of
    /// [`Config::max_append_bytes`] is always possible. Default: 8 MiB.
    pub read_back_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { log_bytes: 64 << 20, unsettled_bytes: 64 << 20, applying_bytes: 16 << 20, read_back_bytes: 8 << 20 }
    }
}

impl Config {
    /// Returns the default settings for a member; `seed` becomes the seed of its election timeouts.
    #[must_use]
    pub fn new(id: MemberId, seed: u64) -> Self {
        Self {
            id,
            heartbeat_interval: Duration::from_millis(150),
            election_timeout: Duration::from_secs(1),
            leader_lease: Duration::from_millis(500),
            clock_drift: Duration::from_millis(50),
            lease_reads: false,
            pre_vote: true,
            snapshot_threshold: 1024,
            snapshot_trailing: 1024,
            max_append_entries: 64,
            max_append_bytes: 1 << 20,
            max_inflight_messages: 256,
            max_inflight_bytes: 16 << 20,
            limits: Limits::default(),
            catch_up_entries: 64,
            transfer_timeout: Duration::from_secs(1),
            adds_content: |_| true,
            seed,
        }
    }

    /// Checks each field, and the relations between fields.
    ///
    /// # Errors
    /// Returns an error for the first field that is zero or does not fit another field.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.id.0 == 0 {
            return Err(ConfigError::ZeroId);
        }
        let zero = [
            ("heartbeat_interval", self.heartbeat_interval.is_zero()),
            ("election_timeout", self.election_timeout.is_zero()),
            ("leader_lease", self.leader_lease.is_zero()),
            ("snapshot_threshold", self.snapshot_threshold == 0),
            ("max_append_entries", self.max_append_entries == 0),
            ("max_append_bytes", self.max_append_bytes == 0),
            ("max_inflight_messages", self.max_inflight_messages == 0),
            ("max_inflight_bytes", self.max_inflight_bytes == 0),
            ("limits.unsettled_bytes", self.limits.unsettled_bytes == 0),
            ("transfer_timeout", self.transfer_timeout.is_zero()),
        ];
        if let Some((field, _)) = zero.into_iter().find(|(_, is_zero)| *is_zero) {
            return Err(ConfigError::Zero { field });
        }
        let election_ms = milliseconds(self.election_timeout);
        if self.election_timeout < self.heartbeat_interval.saturating_mul(2) {
            let heartbeat_ms = milliseconds(self.heartbeat_interval);
            return Err(ConfigError::ElectionTooShort { election_ms, heartbeat_ms });
        }
        if self.leader_lease.saturating_add(self.clock_drift) >= self.election_timeout {
            let (lease_ms, drift_ms) = (milliseconds(self.leader_lease), milliseconds(self.clock_drift));
            return Err(ConfigError::LeaseTooLong { lease_ms, drift_ms, election_ms });
        }
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reason why a core was not started; each message names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The member ID is zero.
    #[error("id: zero is not a member ID")]
    ZeroId,
    /// A duration or limit is zero.
    #[error("{field}: must be greater than zero")]
    Zero {
        /// Name of the field.
        field: &'static str,
    },
    /// The election timeout is so short that followers would campaign between two heartbeats.
    #[error("election_timeout: {election_ms} ms is less than twice the heartbeat interval of {heartbeat_ms} ms")]
    ElectionTooShort {
        /// Configured election timeout.
        election_ms: u64,
        /// Configured heartbeat interval.
        heartbeat_ms: u64,
    },
    /// The restored log has a gap, or its terms decrease. Starting with it could lose acknowledged entries.
    #[error("restored log: expected an entry at index {expected} in a term of at least {term}, found {found}")]
    BrokenLog {
        /// Index of the next entry in a log without gaps.
        expected: Index,
        /// Term of the preceding entry; terms never decrease along a log.
        term: Term,
        /// Entry that was found instead.
        found: EntryId,
    },
    /// The lease is so long that another member could be elected before the lease ends.
    #[error(
        "leader_lease: {lease_ms} ms plus clock_drift {drift_ms} ms is not shorter than the election timeout of {election_ms} ms"
    )]
    LeaseTooLong {
        /// Configured leader lease.
        lease_ms: u64,
        /// Configured clock drift.
        drift_ms: u64,
        /// Configured election timeout.
        election_ms: u64,
    },
}
