//! Reads without a round, on the strength of a recent one (Raft thesis §6.4.1). Opt-in. It assumes that between the start of
//! a round at the leader and the end of a follower's shortest election timeout the two monotonic clocks drift apart by less
//! than the configured bound, pauses of the process being no matter, as the clock is read when the read is served.

use std::time::Duration;

use crate::quorum::joint;
use crate::raft::Raft;
use crate::role::Standing;

impl Raft {
    /// Whether a quorum answered a round that began within the lease; never again once somebody was told to campaign.
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
        let end = answered.flatten().map(|began| began.saturating_add(self.config.leader_lease));
        end.is_some_and(|end| self.now.monotonic < end)
    }
}
