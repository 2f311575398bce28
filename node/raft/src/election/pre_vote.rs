//! "Would you vote for me?" (Raft thesis §9.6). Owns the answer, which promises nothing and changes nothing; a member cut off
//! and back again disturbs nobody.

use crate::ids::{EntryId, MemberId, Term};
use crate::message::{Body, Message};
use crate::raft::Raft;
use crate::role::Standing;

impl Raft {
    /// A member asks whether it could win `asked`. No, while a leader is heard; no, if its log is behind.
    pub(crate) fn on_pre_vote(&mut self, from: MemberId, asked: Term, last: EntryId) {
        let free = asked > self.hard.term || (asked == self.hard.term && self.would_vote(from));
        let granted = free && last >= self.log.last() && !self.trusts_leader();
        let term = if granted { asked } else { self.hard.term };
        self.outbox.send(from, Message { term, body: Body::PreVoteReply { granted } });
    }

    /// Answer to a pre-vote.
    pub(crate) fn on_pre_vote_reply(&mut self, from: MemberId, term: Term, granted: bool) {
        let concerns_this = !granted || term == self.hard.term.next();
        if concerns_this && matches!(self.standing, Standing::PreCandidate(_)) {
            self.count_voice(from, granted);
        }
    }
}
