//! Pre-votes: "would you vote for me?" (Raft thesis §9.6). Owns the answer, which promises nothing and changes no
//! state. A member that was cut off therefore does not disturb the cluster when it returns.

use crate::ids::{EntryId, MemberId, Term};
use crate::message::{Body, Message};
use crate::raft::Raft;
use crate::state::role::RoleState;

impl Raft {
    /// Handles a pre-vote: the member `from` asks whether it could win an election in the term `asked`. Refuses while
    /// this member trusts a leader, or if the log of `from` lags this member's log.
    pub(crate) fn on_pre_vote(&mut self, from: MemberId, asked: Term, last: EntryId) {
        let free = asked > self.hard.term() || (asked == self.hard.term() && self.would_vote(from));
        let granted = free && last >= self.log.last() && !self.trusts_leader();
        let term = if granted { asked } else { self.hard.term() };
        self.outbox.send(from, Message { term, body: Body::PreVoteReply { granted } });
    }

    /// Handles a member's answer to a pre-vote.
    pub(crate) fn on_pre_vote_reply(&mut self, from: MemberId, term: Term, granted: bool) {
        let concerns_this = !granted || term == self.hard.term().next();
        if concerns_this && matches!(self.role, RoleState::PreCandidate(_)) {
            self.count_vote(from, granted);
        }
    }
}
