//! Promotion of learners to voters. Owns the limit on their lag and the check that the new voters answer. The lag is
//! limited, because otherwise there might be no majority of voters that holds recent entries.

use crate::configuration::Configuration;
use crate::ids::MemberId;
use crate::membership::request::{Change, ChangeRefusal};
use crate::quorum::majority::majority;
use crate::raft::Raft;
use crate::state::leader::Leader;

impl Raft {
    /// Refuses a new voter that is not a learner, or that lags the leader by more than the configured number of
    /// entries.
    pub(crate) fn check_caught_up(
        &self,
        leader: &Leader,
        current: &Configuration,
        change: &Change,
    ) -> Result<(), ChangeRefusal> {
        let limit = self.config.catch_up_entries;
        for member in change.voters.difference(&current.voters) {
            if !current.learners.contains(member) {
                return Err(ChangeRefusal::NotLearner { member: *member });
            }
            let lag = self.lag(leader, *member);
            if lag > limit {
                return Err(ChangeRefusal::LearnerBehind { learner: *member, lag, limit });
            }
        }
        Ok(())
    }

    /// Returns the number of entries by which the member lags the leader.
    fn lag(&self, leader: &Leader, member: MemberId) -> u64 {
        let last = self.log.last().index.0;
        match leader.peer(member) {
            Some(progress) if !progress.needs_snapshot() => {
                assert!(progress.matched().0 <= last, "no member is ahead of the leader");
                last - progress.matched().0
            }
            _ => last,
        }
    }

    /// Refuses a change unless a majority of the requested voters answered within an election timeout. Without this
    /// majority, neither the change nor later entries could be committed.
    pub(crate) fn check_reachable(&self, leader: &Leader, change: &Change) -> Result<(), ChangeRefusal> {
        let is_active = |member: &MemberId| {
            let progress = leader.peer(*member);
            progress.is_some_and(|progress| progress.is_active(self.clocks.monotonic(), self.config.election_timeout))
        };
        let voters = change.voters.len();
        let reachable = change.voters.iter().filter(|id| **id == self.config.id || is_active(id)).count();
        if reachable < majority(voters) {
            return Err(ChangeRefusal::QuorumAtRisk { reachable, voters });
        }
        Ok(())
    }
}
