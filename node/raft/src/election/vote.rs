//! Votes: which candidate gets this member's vote, by the candidate's log. Owns the answer to RequestVote; it is sent
//! only after the vote is durable (tikv#8381).

use crate::ids::{EntryId, MemberId};
use crate::message::{Body, HardState, Message};
use crate::raft::Raft;
use crate::state::role::RoleState;

impl Raft {
    /// A member requests this member's vote in this term (Raft thesis §3.4, §3.6.1). The answer does not depend on who
    /// has a vote in this member's configuration, because that configuration may lag (etcd#12359). While the previous
    /// leader's lease may still be valid, the vote is refused unless that leader asked for this election: another
    /// message may have brought the newer term here, and the lease may rest on this member's answers.
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

    /// Whether the vote of this term is free, or already given to `from`.
    pub(crate) fn would_vote(&self, from: MemberId) -> bool {
        match self.hard.vote() {
            Some(vote) => vote == from,
            None => !self.leader.is_known() && !matches!(self.role, RoleState::Leader(_)),
        }
    }

    /// A member answered RequestVote.
    pub(crate) fn on_vote_reply(&mut self, from: MemberId, granted: bool) {
        if let RoleState::Candidate(_) = self.role {
            self.count_vote(from, granted);
        }
    }
}
