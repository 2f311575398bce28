//! Versions that run at the same time during a rolling upgrade: settings that are changed on one member after another,
//! and hints that the older version does not know. Owns the differences that two members of a cluster may have, and the
//! rules for these differences. Does not own the choice of each member's version, which is made at random at each
//! start.

use std::time::Duration;

use raft::{Body, Config, Message};

use world::seed::Random;

/// A message on which no member may depend, because a version that does not know the message drops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// `TimeoutNow`. If it is dropped, the leadership transfer times out.
    HandOver,
    /// `ProposeRefused`. If it is dropped, the proposer gets no answer, as if the network had lost the message.
    Refusal,
    /// A heartbeat that only carries the commit index. If it is dropped, the next round carries the commit index too.
    Commit,
}

impl Hint {
    /// All hints.
    pub const ALL: [Self; 3] = [Self::HandOver, Self::Refusal, Self::Commit];

    /// Returns the kind of hint to which a message belongs; `None` if every version knows the message.
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
    /// Limits and times. Each member has its own ID and seed instead of those given here.
    pub config: Config,
    /// The hints that are unknown to this version.
    pub unknown: Vec<Hint>,
}

impl Version {
    /// Creates an older version with these settings. Chooses at random which hints the older version does not know.
    #[must_use]
    pub fn older(random: &mut Random, config: Config) -> Self {
        Self { config, unknown: Hint::ALL.into_iter().filter(|_| random.coin()).collect() }
    }
}

/// Adjusts two configurations, so that one cluster may contain members with the first and members with the second. Each
/// lease, extended by the drift of clocks, must be shorter than both election timeouts ([`Config::leader_lease`]). If a
/// configuration has no pre-vote, the two election timeouts must be equal ([`Config::pre_vote`]).
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
