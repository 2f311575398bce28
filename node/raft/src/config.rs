//! Limits and timeouts, checked when built. Owns no default that could surprise: see each field.

use std::time::Duration;

use crate::ids::{EntryId, Index, MemberId, Term};

/// What a core is told once, at its start.
///
/// Members may differ in everything but two rules, which [`Config::validate`] can only check for one of them: the
/// `leader_lease` and `clock_drift` of each must be shorter than the `election_timeout` of every other (else a read by lease may
/// be stale), and the `election_timeout` of each at least twice the `heartbeat_interval` of every other (else elections without
/// need). A change that is rolled through one member at a time must keep to them at every step: to raise lease and timeout, raise
/// the timeout everywhere first; to lower them, lower the lease everywhere first.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who this is.
    pub id: MemberId,
    /// A leader says something to everybody at least this often. At most half the shortest election timeout of any member.
    /// Default 150 ms.
    pub heartbeat_interval: Duration,
    /// A follower that hears nothing campaigns after a time drawn from [1×, 2×) of this. Default 1 s.
    pub election_timeout: Duration,
    /// How long a quorum round proves leadership for lease reads; with `clock_drift` always shorter than the election timeout,
    /// this member's and every other's: another leader is elected when *their* timeouts end. Default 500 ms.
    pub leader_lease: Duration,
    /// Bound on how far two members' clocks may drift apart during one lease. When a member's own two clocks part by more, the
    /// bound is taken for broken: reads take a round until one began since. Default 50 ms.
    pub clock_drift: Duration,
    /// Serve linearizable reads from the lease, without a quorum round. Off by default: it trusts clocks.
    pub lease_reads: bool,
    /// Ask before disturbing: campaigns start with a pre-vote (Raft thesis §9.6). Without it all members need the same
    /// `election_timeout`: one that cannot win and campaigns more often than the others is always some terms ahead of them, and
    /// whoever asks it for its vote steps back. Default on.
    pub pre_vote: bool,
    /// Entries applied behind the last snapshot before [`crate::Output::SnapshotDue`]. Default 1,024.
    pub snapshot_threshold: u64,
    /// Entries kept behind a snapshot for slow followers; for one that still answers its leader keeps up to eight times as
    /// many. Default 1,024.
    pub snapshot_trailing: u64,
    /// At most this many entries in one append. Default 64.
    pub max_append_entries: usize,
    /// At most this many payload bytes in one append (a single larger entry goes alone). Default 1 MiB.
    pub max_append_bytes: usize,
    /// Appends in flight to one follower before it must answer. Default 256.
    pub max_inflight_messages: usize,
    /// Bytes in flight to one follower before it must answer. Default 16 MiB.
    pub max_inflight_bytes: usize,
    /// Payload bytes proposed but not yet committed before proposals are refused. Default 64 MiB.
    pub max_uncommitted_bytes: usize,
    /// A learner may become a voter when it is at most this many entries behind the leader's last. Default 64.
    pub catch_up_entries: u64,
    /// A leadership transfer that has not happened by then is given up. Default: the election timeout.
    pub transfer_timeout: Duration,
    /// Seed of this member's election timeouts; two members must not share one.
    pub seed: u64,
}

impl Config {
    /// The defaults, for a member and the seed of its time-outs.
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
            max_uncommitted_bytes: 64 << 20,
            catch_up_entries: 64,
            transfer_timeout: Duration::from_secs(1),
            seed,
        }
    }

    /// # Errors
    /// The first impossible field.
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
            ("max_uncommitted_bytes", self.max_uncommitted_bytes == 0),
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

/// Why a core was not started; each message names the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Member IDs are never zero.
    #[error("id: zero is not a member ID")]
    ZeroId,
    /// A duration or limit is zero.
    #[error("{field}: must be greater than zero")]
    Zero {
        /// Which one.
        field: &'static str,
    },
    /// Followers would campaign between two heartbeats.
    #[error("election_timeout: {election_ms} ms is less than twice the heartbeat interval of {heartbeat_ms} ms")]
    ElectionTooShort {
        /// As configured.
        election_ms: u64,
        /// As configured.
        heartbeat_ms: u64,
    },
    /// The restored log is not what the core left behind; starting on it could lose acknowledged entries.
    #[error("restored log: expected an entry at index {expected} in a term of at least {term}, found {found}")]
    BrokenLog {
        /// Where the next entry should have been.
        expected: Index,
        /// Terms never fall along a log.
        term: Term,
        /// What was there.
        found: EntryId,
    },
    /// A new leader could be elected inside an old one's lease.
    #[error(
        "leader_lease: {lease_ms} ms plus clock_drift {drift_ms} ms is not shorter than the election timeout of {election_ms} ms"
    )]
    LeaseTooLong {
        /// As configured.
        lease_ms: u64,
        /// As configured.
        drift_ms: u64,
        /// As configured.
        election_ms: u64,
    },
}
