//! Votes: which candidate receives this member's vote, depending on the candidate's log. Owns the answer to
//! RequestVote. A granted vote is sent only after it is durable (tikv#8381).

use crate::ids::{EntryId, MemberId};
use crate::message::{Body, HardState, Message};
use crate::raft::Raft;
use crate::state::role::RoleState;

impl Raft {
    /// Handles a request for this member's vote in this term (Raft thesis §3.4, §3.6.1). The answer does not depend on
    /// the voters in this member's configuration, because that configuration may be outdated (etcd#12359). While the
    /// previous leader's lease may still be valid, the vote is refused unless that leader requested this election.
    /// `admits` makes the same check only for a request of a newer term. The check is repeated here, because an earlier
    /// message may already have raised this member's term to the term of the request.
    pub(crate) fn on_vote(&mut self, from: MemberId, last: EntryId, transfer: bool) {
        let granted = self.would_vote(from) && last >= self.log.last();
        let granted = granted && (transfer || self.hard.vote().is_some() || !self.trusts_leader());
        let reply = Message { term: self.hard.term(), body: Body::VoteReply { granted } };
        if !granted {
            self.outbox.send(from, reply);
            return;
        }
        if self.hard.vote().is_none() {
            self.hard.set(HardState { term: self.hard.term(), vote: Some(from) });
            self.follow(self.hard.term(), None);
            self.wait_for_leader();
        }
        assert!(self.hard.vote() == Some(from), "a vote is granted to the candidate that has it");
        assert!(!self.is_leader(), "a leader votes for no other member");
        self.outbox.send_after(self.hard_state_io(), from, reply);
    }

    /// Returns whether this member has not voted in this term yet, or has voted for `from`.
    pub(crate) fn would_vote(&self, from: MemberId) -> bool {
        match self.hard.vote() {
            Some(vote) => vote == from,
            None => !self.leader.is_known() && !matches!(self.role, RoleState::Leader(_)),
        }
    }

    /// Handles a member's answer to RequestVote.
    pub(crate) fn on_vote_reply(&mut self, from: MemberId, granted: bool) {
        if let RoleState::Candidate(_) = self.role {
            self.count_vote(from, granted);
        }
    }
}
