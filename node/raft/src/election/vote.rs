//! Whom to trust, by log. Owns the answer to RequestVote; the vote is durable before the answer leaves (tikv#8381).

use crate::ids::{EntryId, MemberId};
use crate::message::{Body, HardState, Message};
use crate::raft::Raft;
use crate::role::Standing;

impl Raft {
    /// RequestVote of this term (Raft thesis §3.4, §3.6.1). Answered whether or not the own configuration gives either side a
    /// vote: it may lag (etcd#12359). Whoever trusts a leader of before gives no vote that this one did not ask for: another
    /// message may have brought the newer term here, and a lease may rest on this member's word.
    pub(crate) fn on_vote(&mut self, from: MemberId, last: EntryId, transfer: bool) {
        let granted = self.would_vote(from) && last >= self.log.last();
        let granted = granted && (transfer || self.hard.vote.is_some() || !self.trusts_leader());
        let reply = Message { term: self.hard.term, body: Body::VoteReply { granted } };
        if !granted {
            self.outbox.send(from, reply);
            return;
        }
        if self.hard.vote.is_none() {
            self.set_hard_state(HardState { term: self.hard.term, vote: Some(from) });
            self.follow(self.hard.term, None);
            self.wait_anew();
        }
        assert!(self.hard.vote == Some(from), "a vote is given to who has it");
        assert!(!self.is_leader(), "a leader votes for nobody else");
        self.outbox.send_after(self.hard_state_io(), from, reply);
    }

    /// Whether the vote of this term is free for `from`, or its already.
    pub(crate) fn would_vote(&self, from: MemberId) -> bool {
        match self.hard.vote {
            Some(vote) => vote == from,
            None => self.leader.is_none() && !matches!(self.standing, Standing::Leader(_)),
        }
    }

    /// Answer to RequestVote.
    pub(crate) fn on_vote_reply(&mut self, from: MemberId, granted: bool) {
        if let Standing::Candidate(_) = self.standing {
            self.count_voice(from, granted);
        }
    }
}
