//! Reads without a round, on the strength of a recent one (Raft thesis §6.4.1). Opt-in. It assumes that between the start of
//! a round at the leader and the end of a follower's shortest election timeout the two monotonic clocks drift apart by less
//! than the configured bound, pauses of the process being no matter, as the clock is read when the read is served.
//!
//! The bound is only worth something as long as the own two clocks agree: a machine that was suspended, or whose clock was
//! set, shows it by one of them running ahead. Then nothing that began before proves a lease, and reads take a round.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::fingerprint::Present;
use crate::ids::Now;
use crate::quorum::joint;
use crate::raft::Raft;
use crate::role::Standing;

/// What this member's two clocks say of each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clocks {
    /// When they were last compared from anew.
    since: Now,
    /// Rounds that began by then prove no lease.
    sound_from: Duration,
}

impl Clocks {
    pub(crate) fn new(now: Now) -> Self {
        Self { since: now, sound_from: now.monotonic }
    }

    pub(crate) fn fingerprint(&self, now: Now, present: Present, into: &mut impl Hasher) {
        let Self { since, sound_from } = self;
        let wall = i128::from(since.wall_ms) - i128::from(now.wall_ms);
        (wall, present.distance(since.monotonic), present.distance(*sound_from)).hash(into);
    }

    /// Compares them; they may part by `bound` within a `span`.
    pub(crate) fn compare(&mut self, now: Now, bound: Duration, span: Duration) {
        const MS: i128 = 1_000_000;
        let monotonic = now.monotonic.saturating_sub(self.since.monotonic);
        let wall_ns = (i128::from(now.wall_ms) - i128::from(self.since.wall_ms)) * MS;
        let apart_ns = (wall_ns - nanoseconds(monotonic)).abs();
        // The wall clock is told in whole ms.
        let is_jump = apart_ns > nanoseconds(bound) + MS;
        if is_jump {
            self.sound_from = now.monotonic;
        }
        if is_jump || monotonic >= span {
            self.since = now;
        }
    }
}

fn nanoseconds(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX)
}

impl Raft {
    /// Whether a quorum answered a round that began within the lease, and the clocks have agreed since; never again once
    /// somebody was told to campaign.
    pub(crate) fn holds_lease(&self) -> bool {
        let Standing::Leader(leader) = &self.standing else { return false };
        if !self.config.lease_reads || leader.lease_over || leader.transfer.is_some() {
            return false;
        }
        let own = self.config.id;
        let answered = joint::reached(&self.history.latest().1, |id| match leader.peers.get(&id) {
            _ if id == own => Some(Duration::MAX),
            Some(progress) => progress.heard(),
            None => None,
        });
        let Some(began) = answered.flatten().filter(|began| *began > self.clocks.sound_from) else { return false };
        assert!(began == Duration::MAX || began <= self.now.monotonic, "a round that was answered has begun");
        self.now.monotonic < began.saturating_add(self.config.leader_lease)
    }
}
