//! Owns the settings for timing and batching of the protocol and for snapshots. Durations are strings in Go's notation
//! (`150ms`, `1.5s`), because people can read them and CEL can compare them.

use kube_core::Duration;
use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};
use std::time;

/// Timing and batching of the Raft protocol.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(
    crates(kube_core = "kube_core"),
    validation = Rule::new("duration(self.heartbeatInterval) + duration(self.heartbeatInterval) <= duration(self.electionTimeout)")
        .message("raise electionTimeout or lower heartbeatInterval: the election timeout must be at least twice the heartbeat interval, otherwise one late heartbeat starts an election")
        .field_path(".electionTimeout"),
    validation = Rule::new("duration(self.leaderLease) + duration('50ms') < duration(self.electionTimeout)")
        .message("lower leaderLease or raise electionTimeout: leaderLease plus 50ms for clock drift must be shorter than electionTimeout, so that a lease has ended before another member can be elected")
        .field_path(".leaderLease"),
    validation = Rule::new(
        "self == oldSelf || !(self.leaseReads || oldSelf.leaseReads) || \
         (duration(oldSelf.leaderLease) + duration('50ms') < duration(self.electionTimeout) && \
          duration(self.leaderLease) + duration('50ms') < duration(oldSelf.electionTimeout))")
        .message("change leaderLease and electionTimeout in two steps: members restart one at a time, and with leaseReads the lease of each member must be shorter than the election timeout of every other. To shorten both, first lower leaderLease alone; to lengthen both, first raise electionTimeout alone; wait until every member has restarted, then change the other field")
        .field_path(".leaderLease"),
    validation = Rule::new("duration(self.commitTimeout) >= duration(self.electionTimeout)")
        .message("raise commitTimeout to at least electionTimeout: otherwise the writes that wait during an election fail")
        .field_path(".commitTimeout"),
)]
#[serde(rename_all = "camelCase")]
pub struct RaftSettings {
    /// Interval between the leader's heartbeats: `10ms` to `10s`, at most half of the election timeout. Default: `150ms`.
    #[serde(default = "default_heartbeat_interval")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10ms') && duration(self) <= duration('10s')")
        .message("heartbeatInterval must be from 10ms to 10s"))]
    pub heartbeat_interval: Duration,

    /// Time without a leader after which a member starts an election, `100ms` to `60s`, at least twice the heartbeat
    /// interval. Each member draws its timeout anew each time, between once and twice this value. `300ms` shortens
    /// failover on a fast, quiet network and causes unnecessary elections on any other. Default: `1s`.
    #[serde(default = "default_election_timeout")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('60s')")
        .message("electionTimeout must be from 100ms to 60s"))]
    pub election_timeout: Duration,

    /// Time during which a leader may assume that no other member was elected, counted from the start of a round of
    /// heartbeats that a majority answered: `10ms` to `60s`. The lease plus 50ms for clock drift must be shorter than the
    /// election timeout. Default: `500ms`.
    #[serde(default = "default_leader_lease")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10ms') && duration(self) <= duration('60s')")
        .message("leaderLease must be from 10ms to 60s"))]
    pub leader_lease: Duration,

    /// Whether linearizable reads may rely on the leader lease instead of a round to a quorum. Such reads are faster,
    /// but stale if two members' clocks drift apart by more than 50ms during one lease (Raft thesis §6.4.1). While
    /// `leaseReads` is true, change `leaderLease` and `electionTimeout` one after the other, and wait in between until
    /// every member has restarted. Default: false.
    #[serde(default)]
    pub lease_reads: bool,

    /// Time that a write may wait to be committed before its client gets the answer that the outcome is unknown: `100ms`
    /// to `5m`, at least the election timeout. Default: `5s`.
    #[serde(default = "default_commit_timeout")]
    #[schemars(length(max = 16), regex(pattern = r"^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$"))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('100ms') && duration(self) <= duration('5m')")
        .message("commitTimeout must be from 100ms to 5m"))]
    pub commit_timeout: Duration,

    /// Largest number of log entries in one message to a peer, 1 to 4096. Default: 64.
    #[serde(default = "default_max_append_entries")]
    #[schemars(range(min = 1, max = 4096))]
    pub max_append_entries: i32,

    /// Whether a member asks the other members, before it starts an election, if it could win. If this field is true, a
    /// member that was disconnected does not depose the leader when it returns (Raft thesis §9.6). Default: true.
    #[serde(default = "default_pre_vote")]
    pub pre_vote: bool,
}

/// When members take snapshots, and how many they keep.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Snapshots {
    /// Length of the log after which a snapshot is due, in units of 64 KiB, 16 to 10,000,000. A snapshot is taken
    /// once the log since the last one is at least this long, and at least as long as that snapshot. 64 MiB of this
    /// length suffice, on a volume below 4Gi a 64th of it, so that a number above 1024 changes nothing. A sixteenth of
    /// the volume or 1,000,000 entries suffice in any case. Snapshots are written for at most a twentieth of the time.
    /// Default: 1024.
    #[serde(default = "default_threshold")]
    #[schemars(range(min = 16, max = 10_000_000))]
    pub threshold: i32,

    /// Number of newest snapshots kept on each member's volume, with the log since the oldest of them, 1 to 10. Each
    /// takes up to the quota and a sixteenth of `storage.size`. A member whose volume is short of space keeps one.
    /// Default: 3.
    #[serde(default = "default_retain")]
    #[schemars(range(min = 1, max = 10))]
    pub retain: i32,
}

impl Default for RaftSettings {
    fn default() -> Self {
        Self {
            heartbeat_interval: default_heartbeat_interval(),
            election_timeout: default_election_timeout(),
            leader_lease: default_leader_lease(),
            lease_reads: false,
            commit_timeout: default_commit_timeout(),
            max_append_entries: default_max_append_entries(),
            pre_vote: default_pre_vote(),
        }
    }
}

impl Default for Snapshots {
    fn default() -> Self {
        Self { threshold: default_threshold(), retain: default_retain() }
    }
}

fn default_heartbeat_interval() -> Duration {
    time::Duration::from_millis(150).into()
}

fn default_election_timeout() -> Duration {
    time::Duration::from_secs(1).into()
}

fn default_leader_lease() -> Duration {
    time::Duration::from_millis(500).into()
}

fn default_commit_timeout() -> Duration {
    time::Duration::from_secs(5).into()
}

fn default_max_append_entries() -> i32 {
    64
}

fn default_pre_vote() -> bool {
    true
}

fn default_threshold() -> i32 {
    1024
}

fn default_retain() -> i32 {
    3
}
