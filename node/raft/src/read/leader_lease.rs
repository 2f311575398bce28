//! Lease reads: reads that a recent round confirms, without a new one (Raft thesis §6.4.1). Owns the decision whether
//! the lease holds. Off by default, because it assumes that, between the start of a round at the leader and the end of
//! a follower's shortest election timeout, the monotonic clocks of the two drift apart by less than the configured
//! bound. A pause of the process does no harm, because the clock is read when the read is served.
//!
//! The bound holds only while the two clocks of this member agree (`state/clocks.rs`). If the machine was suspended or
//! a clock was set, one of them runs ahead. From then on, earlier rounds prove no lease, and reads need a new round.

use std::time::Duration;

use crate::quorum::joint;
use crate::raft::Raft;
use crate::state::role::RoleState;

impl Raft {
    /// Whether a quorum answered a round that began within the lease, and the clocks have agreed since it began. Never
    /// again in this term after a member was asked to campaign.
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
