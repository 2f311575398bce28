//! What must hold after every step, asserted in release too. Owns the checks, all of them cheap; a violation is a bug of this
//! crate, never of a message, and going on could lose data.

use crate::ids::{Index, Term};
use crate::raft::Raft;
use crate::role::Standing;

/// What the last check saw, for what may only grow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    term: Term,
    commit: Index,
}

impl Raft {
    /// Asserts what must hold between any two inputs.
    pub(crate) fn check(&mut self) {
        self.check_marks();
        self.check_roles();
        assert!(self.hard.term >= self.watch.term, "the term never falls");
        assert!(self.log.commit() >= self.watch.commit, "the commit index never falls");
        self.watch = Watch { term: self.hard.term, commit: self.log.commit() };
    }

    fn check_marks(&self) {
        let (base, last) = (self.log.base(), self.log.last());
        let (commit, applied) = (self.log.commit(), self.log.applied());
        assert!(base.index <= commit, "only committed entries are purged: {base}, commit {commit}");
        assert!(commit <= last.index, "what is committed is in the log: commit {commit} of {last}");
        assert!(applied <= self.log.handed(), "only what was handed out is applied");
        assert!(self.log.handed() <= commit, "only committed entries are applied");
        assert!(self.log.durable() <= last.index, "what is durable is in the log");
        assert!(last.term <= self.hard.term, "no entry is of a later term: {last} in term {}", self.hard.term);
        assert!(self.log.tail.unwritten() <= last.index.next(), "only what is in the log is written");
        assert!(self.log.snapshot() <= applied, "a snapshot holds only what is applied");
        assert!(base.index <= self.log.snapshot(), "only what a snapshot holds is purged");
        assert!(
            self.log.durable() >= base.index || self.log.tail.waiting_since().is_some(),
            "what is purged is durable"
        );
        assert!(self.outbox.durable() <= self.outbox.issued(), "only what was asked for becomes durable");
        assert!(self.history.latest().0 <= last.index, "the configuration in force is in snapshot or log");
    }

    fn check_roles(&self) {
        let own = self.config.id;
        match &self.standing {
            Standing::Follower => assert!(self.leader != Some(own), "a follower follows another"),
            Standing::PreCandidate(_) => assert!(self.leader.is_none(), "who asks to campaign has no leader"),
            Standing::Candidate(_) => {
                assert!(self.leader.is_none(), "who campaigns has no leader");
                assert!(self.hard.vote == Some(own), "a candidate votes for itself");
            }
            Standing::Leader(leader) => {
                assert!(self.leader == Some(own), "a leader follows nobody");
                assert!(self.hard.vote == Some(own), "a leader has its own vote");
                assert!(!leader.peers.contains_key(&own), "a leader does not replicate to itself");
                assert!(leader.first <= self.log.last().index, "the no-op of a term is in its log");
                assert!(!self.removed, "who was removed does not lead");
                let target = leader.transfer.as_ref().map(|transfer| transfer.target);
                assert!(target != Some(own), "leadership goes to another");
                for progress in leader.peers.values() {
                    assert!(progress.matched() < progress.next(), "next is behind matched");
                    assert!(progress.next() <= self.log.last().index.next(), "next is in or just behind the log");
                }
            }
        }
    }
}
