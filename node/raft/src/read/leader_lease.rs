//! Lease reads: a recent round confirms a read, without a new round (Raft thesis §6.4.1). Owns the decision whether the
//! lease is valid. Lease reads are off by default, because they rely on clocks: from the start of a round at the leader
//! until the end of a follower's shortest election timeout, the monotonic clocks of leader and follower must drift
//! apart by less than the configured bound. A pause of the process does no harm, because the leader reads the clock
//! when it serves the read.
//!
//! The lease requires that the two clocks of this member agree (`state/clocks.rs`). If the machine was suspended or a
//! clock was set, one of the two clocks is ahead of the other. From then on, earlier rounds prove no lease, and reads
//! need a new round.

use std::time::Duration;

use crate::quorum::joint;
use crate::raft::Raft;
use crate::state::role::RoleState;

impl Raft {
    /// Returns whether this leader holds a lease: a quorum answered a round that began less than `leader_lease` ago,
    /// and the clocks have agreed since the start of that round. A leader that asked a member to campaign has no lease
    /// for the rest of the term.
    pub(crate) fn holds_lease(&self) -> bool {
        let RoleState::Leader(leader) = &self.role else { return false };
        if !self.config.lease_reads || leader.is_lease_over() || leader.is_transferring() {
            return false;
        }
        let own = self.config.id;
        let answered = joint::reached(self.history.latest().1.electorate(), |id| match leader.peer(id) {
            _ if id == own => Some(Duration::MAX),
            Some(progress) => progress.acked_round_began(),
            None => None,
        });
        let Some(began) = answered.flatten().filter(|began| self.clocks.are_sound_since(*began)) else { return false };
        assert!(began == Duration::MAX || began <= self.clocks.monotonic(), "an answered round has begun");
        self.clocks.monotonic() < began.saturating_add(self.config.leader_lease)
    }
}
