//! Who should lead rather than others. Owns the wish and its three effects: preferred members are a little quicker to campaign,
//! come first among successors, and are handed the leadership when they keep up (Raft thesis §3.10). None of them touches a
//! vote, so none can cost safety, and a preferred member that is down costs half an election timeout at most.

use crate::election::timeout::Part;
use crate::ids::MemberId;
use crate::raft::Raft;
use crate::replication::progress::{Progress, State};
use crate::role::Standing;

/// Election timeouts that a leader leads before it hands over to a preferred member.
const SETTLED_AFTER: u32 = 2;
/// Election timeouts between two such hand-overs, in whatever terms: a member that cannot hold the leadership is not given it in
/// a circle.
const RETRY_AFTER: u32 = 10;

impl Raft {
    /// Waits for a leader from now on.
    pub(crate) fn wait_anew(&mut self) {
        let configuration = &self.history.latest().1;
        let part = if !self.preferred.iter().any(|id| configuration.is_voter(*id)) {
            Part::Whole
        } else if self.preferred.contains(&self.config.id) {
            Part::First
        } else {
            Part::Second
        };
        self.timeout.redraw(self.now.monotonic, part);
    }

    /// Whether a member is preferred and holds everything that is committed.
    pub(crate) fn is_preferred(&self, id: MemberId, progress: &Progress) -> bool {
        self.preferred.contains(&id) && progress.matched() >= self.log.commit()
    }

    /// A new leader leads for a while before it hands over; and what was tried in an earlier term is not tried again before its
    /// time.
    pub(crate) fn settle_before_handing_over(&mut self) {
        let settled = self.config.election_timeout.saturating_mul(SETTLED_AFTER);
        self.preference_due = self.preference_due.max(self.now.monotonic.saturating_add(settled));
    }

    /// A leader that is not preferred hands over to a voter that is, and that keeps up.
    pub(crate) fn hand_over_to_preferred(&mut self) {
        let Standing::Leader(leader) = &self.standing else { return };
        let now = self.now.monotonic;
        let is_free = leader.transfer.is_none() && !leader.retiring && self.preference_due <= now;
        let configuration = &self.history.latest().1;
        let is_settled = self.term_is_committed() && !configuration.is_joint();
        if !is_free || !is_settled || self.preferred.contains(&self.config.id) {
            return;
        }
        let last = self.log.last().index.0;
        let keeps_up = |id: MemberId, progress: &Progress| {
            self.is_preferred(id, progress)
                && configuration.voters.contains(&id)
                && progress.is_active(now, self.config.election_timeout)
                && !matches!(progress.state, State::Snapshot { .. })
                && last - progress.matched().0 <= self.config.catch_up_entries
        };
        let Some(target) = leader.peers.iter().find(|(id, progress)| keeps_up(**id, progress)).map(|(id, _)| *id)
        else {
            return;
        };
        self.preference_due = now.saturating_add(self.config.election_timeout.saturating_mul(RETRY_AFTER));
        let started = self.start_transfer(Some(target));
        assert!(started == Ok(target), "a free leader can hand over to a voter");
    }
}
