//! Effects of preferred leaders: they campaign a little earlier, are the first choice as successors, and receive the
//! leadership when they keep up (Raft thesis §3.10). Owns these three effects. None of them affects a vote, so none of
//! them can violate safety. A preferred member that is down delays an election by at most half an election timeout.

use crate::ids::MemberId;
use crate::raft::Raft;
use crate::standing::Standing;
use crate::state::progress::PeerProgress;
use crate::state::role::RoleState;
use crate::state::timeout::TimeoutRange;

/// Number of election timeouts for which a new leader leads before it transfers leadership to a preferred member.
const SETTLED_AFTER: u32 = 2;
/// Minimum number of election timeouts between two transfers to a preferred member, even if the transfers are in
/// different terms. This pause prevents repeated transfers to a member that cannot keep the leadership.
const RETRY_AFTER: u32 = 10;

impl Raft {
    /// Starts a new wait for a leader. Preferred members draw shorter timeouts than other members.
    pub(crate) fn wait_for_leader(&mut self) {
        let configuration = &self.history.latest().1;
        let range = if !self.preference.any(|id| configuration.is_voter(id)) {
            TimeoutRange::Whole
        } else if self.preference.contains(self.config.id) {
            TimeoutRange::First
        } else {
            TimeoutRange::Second
        };
        self.timer.redraw(self.clocks.monotonic(), range);
    }

    /// Returns whether `id` is preferred and holds every committed entry.
    pub(crate) fn is_preferred(&self, id: MemberId, progress: &PeerProgress) -> bool {
        self.preference.contains(id) && progress.matched() >= self.log.commit()
    }

    /// Postpones the transfer from a new leader to a preferred member. Does not shorten a longer wait that began after
    /// a transfer in an earlier term.
    pub(crate) fn settle_before_transfer(&mut self) {
        let settled = self.config.election_timeout.saturating_mul(SETTLED_AFTER);
        self.preference.postpone_transfer(self.clocks.monotonic().saturating_add(settled));
    }

    /// Transfers leadership from a leader that is not preferred to a preferred voter that keeps up.
    pub(crate) fn transfer_to_preferred(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let now = self.clocks.monotonic();
        let is_free = !leader.is_transferring() && !leader.is_retiring() && self.preference.is_transfer_due(now);
        let configuration = &self.history.latest().1;
        let is_settled = self.term_is_committed() && !configuration.is_joint();
        if !is_free || !is_settled || self.preference.contains(self.config.id) {
            return;
        }
        let is_fit = |id: MemberId, progress: &PeerProgress| {
            self.is_preferred(id, progress)
                && self.standing_of(progress) == Standing::Above
                && configuration.voters.contains(&id)
                && self.keeps_up(progress)
        };
        let Some(target) = leader.peers().iter().find(|(id, progress)| is_fit(**id, progress)).map(|(id, _)| *id)
        else {
            return;
        };
        let retry_after = self.config.election_timeout.saturating_mul(RETRY_AFTER);
        self.preference.postpone_transfer(now.saturating_add(retry_after));
        let started = self.start_transfer(Some(target));
        assert!(started == Ok(target), "a leader without a transfer can transfer leadership to a voter");
    }
}
