//! When a learner may vote. Owns the gate: a voter far behind would make a majority of slow members.

use crate::ids::MemberId;
use crate::membership::change::{Change, ChangeError};
use crate::membership::configuration::Configuration;
use crate::raft::Raft;
use crate::replication::progress::State;
use crate::role::leader::Leader;

impl Raft {
    /// New voters are learners that are at most the configured number of entries behind.
    pub(crate) fn check_caught_up(
        &self,
        leader: &Leader,
        current: &Configuration,
        change: &Change,
    ) -> Result<(), ChangeError> {
        let limit = self.config.catch_up_entries;
        for member in change.voters.difference(&current.voters) {
            if !current.learners.contains(member) {
                return Err(ChangeError::NotLearner { member: *member });
            }
            let behind = self.entries_behind(leader, *member);
            if behind > limit {
                return Err(ChangeError::LearnerBehind { learner: *member, behind, limit });
            }
        }
        Ok(())
    }

    fn entries_behind(&self, leader: &Leader, member: MemberId) -> u64 {
        let last = self.log.last().index.0;
        match leader.peers.get(&member) {
            Some(progress) if !matches!(progress.state, State::Snapshot { .. }) => {
                assert!(progress.matched().0 <= last, "nobody is ahead of the leader");
                last - progress.matched().0
            }
            _ => last,
        }
    }

    /// A majority of the wanted voters answered lately, so the change can commit, and so can what follows.
    pub(crate) fn check_reachable(&self, leader: &Leader, change: &Change) -> Result<(), ChangeError> {
        let is_active = |member: &MemberId| {
            let progress = leader.peers.get(member);
            progress.is_some_and(|progress| progress.is_active(self.now.monotonic, self.config.election_timeout))
        };
        let voters = change.voters.len();
        let reachable = change.voters.iter().filter(|id| **id == self.config.id || is_active(id)).count();
        if reachable < crate::quorum::majority::majority(voters) {
            return Err(ChangeError::QuorumAtRisk { reachable, voters });
        }
        Ok(())
    }
}
