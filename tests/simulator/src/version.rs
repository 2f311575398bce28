//! Versions that run side by side while one replaces the other: settings that are rolled through one member at a time,
//! and hints that the older one does not know. Owns what may differ between two members of one cluster, and the rules
//! that such a roll keeps to; which member runs which is drawn at each of its starts.

use std::time::Duration;

use raft::{Body, Config, Message};

use world::seed::Random;

/// A kind of message that nothing may hang on: a version that does not know it drops it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// `TimeoutNow`: a transfer that does not happen times out.
    HandOver,
    /// `ProposeRefused`: a proposer that is not told goes without an answer, as when the network loses it.
    Refusal,
    /// A heartbeat that only tells the commit index: the next round tells it, too.
    Commit,
}

impl Hint {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::HandOver, Self::Refusal, Self::Commit];

    /// What kind of a hint a message is; `None`: none, every version knows it.
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

/// What a member runs.
#[derive(Clone, Debug)]
pub struct Version {
    /// Limits and times; ID and seed are each member's own.
    pub config: Config,
    /// Hints that it does not know.
    pub unknown: Vec<Hint>,
}

impl Version {
    /// An older one with these settings; it may not know some hints.
    #[must_use]
    pub fn older(random: &mut Random, config: Config) -> Self {
        Self { config, unknown: Hint::ALL.into_iter().filter(|_| random.coin()).collect() }
    }
}

/// Brings two configurations to where members may run either side by side: the lease of each, with the drift of clocks, is
/// shorter than the election timeout of both ([`Config::leader_lease`]), and without pre-votes that is the same for both
/// ([`Config::pre_vote`]).
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
        assert!(config.heartbeat_interval * 2 <= shortest, "no member campaigns between two heartbeats");
    }
}
