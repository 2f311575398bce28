//! Versions that run at the same time during a rolling upgrade: settings that change one member at a time, and hints
//! that the older version does not know. Owns what may differ between two members of a cluster, and the rules for it.
//! Does not own which member runs which version, which is drawn at each start.

use std::time::Duration;

use raft::{Body, Config, Message};

use world::seed::Random;

/// A message that no member may depend on: a version that does not know it drops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// `TimeoutNow`: without it, the leadership transfer times out.
    HandOver,
    /// `ProposeRefused`: without it, the proposer gets no answer, as if the network had lost it.
    Refusal,
    /// A heartbeat that only carries the commit index: the next round carries it too.
    Commit,
}

impl Hint {
    /// All hints.
    pub const ALL: [Self; 3] = [Self::HandOver, Self::Refusal, Self::Commit];

    /// Kind of hint that a message is; `None` if every version knows the message.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        match message.body {
            Body::TimeoutNow { .. } => Some(Self::HandOver),
            Body::ProposeRefused { .. } => Some(Self::Refusal),
            Body::Heartbeat { round: 0, .. } => Some(Self::Commit),
            _ => None,
        }
    }
}

/// Version of a member.
#[derive(Clone, Debug)]
pub struct Version {
    /// Limits and times; each member has its own ID and seed.
    pub config: Config,
    /// Hints that this version does not know.
    pub unknown: Vec<Hint>,
}

impl Version {
    /// An older version with these settings; a draw decides which hints it does not know.
    #[must_use]
    pub fn older(random: &mut Random, config: Config) -> Self {
        Self { config, unknown: Hint::ALL.into_iter().filter(|_| random.coin()).collect() }
    }
}

/// Adjusts two configurations until members may run either in one cluster: the lease of each, with the drift of clocks,
/// is shorter than the election timeout of both ([`Config::leader_lease`]); without pre-vote, both have the same
/// election timeout ([`Config::pre_vote`]).
pub fn keep_to_the_rules(one: &mut Config, other: &mut Config) {
    if !(one.pre_vote && other.pre_vote) {
        let longest = one.election_timeout.max(other.election_timeout);
        (one.election_timeout, other.election_timeout) = (longest, longest);
    }
    let shortest = one.election_timeout.min(other.election_timeout);
    for config in [&mut *one, &mut *other] {
        config.clock_drift = config.clock_drift.min(shortest / 20);
        let longest = shortest.saturating_sub(config.clock_drift + Duration::from_millis(1));
        config.leader_lease = config.leader_lease.min(longest);
        assert!(config.heartbeat_interval * 2 <= shortest, "an election timeout is at least two heartbeat intervals");
    }
}
