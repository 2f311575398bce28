//! One vote per term: a member votes for at most one candidate in a term, also across restarts, and a vote is on disk
//! before any other member learns of it (Raft thesis §3.4, §3.8).

use std::collections::BTreeMap;

use raft::{Body, HardState, MemberId, Message, Term};

use crate::invariant::{Checked, Disks, ensure};

const NAME: &str = "one vote per term";

/// Votes of which other members may know.
#[derive(Debug, Default)]
pub struct OneVotePerTerm {
    given: BTreeMap<(MemberId, Term), MemberId>,
    durable: BTreeMap<MemberId, HardState>,
}

impl OneVotePerTerm {
    /// Checks a message that a member sends.
    ///
    /// # Errors
    /// Returns a violation if the message contains a second vote in its term, or a vote that is not on disk.
    pub fn sent(&mut self, id: MemberId, to: MemberId, message: &Message, disks: &Disks) -> Checked {
        let candidate = match message.body {
            Body::VoteReply { granted: true } => to,
            // A candidate's request for votes implies that it voted for itself.
            Body::Vote { .. } => id,
            _ => return Ok(()),
        };
        let held = disks[&id].durable().hard_state;
        let durable = held == HardState { term: message.term, vote: Some(candidate) };
        self.vote(id, message.term, candidate)?;
        ensure(durable, NAME, || {
            format!("{id} reports its vote for {candidate} in term {}, but its disk holds {held:?}", message.term)
        })
    }

    /// Notes that a member leads. The member must have voted for itself, because every leader was a candidate first.
    ///
    /// # Errors
    /// Returns a violation if the member had voted for another member in this term.
    pub fn led(&mut self, id: MemberId, term: Term) -> Checked {
        self.vote(id, term, id)
    }

    fn vote(&mut self, id: MemberId, term: Term, candidate: MemberId) -> Checked {
        let first = *self.given.entry((id, term)).or_insert(candidate);
        ensure(first == candidate, NAME, || format!("{id} voted for both {first} and {candidate} in term {term}"))
    }

    /// Checks the term and vote on a member's disk.
    ///
    /// # Errors
    /// Returns a violation if the term decreased or the vote changed within a term.
    pub fn durable(&mut self, id: MemberId, held: HardState) -> Checked {
        let before = self.durable.insert(id, held).unwrap_or_default();
        let changed = before.term == held.term && before.vote.is_some() && before.vote != held.vote;
        ensure(held.term >= before.term && !changed, NAME, || {
            format!("the disk of {id} held {before:?} and now holds {held:?}")
        })
    }

    /// Checks the term and vote from which a member starts.
    ///
    /// # Errors
    /// Returns a violation if the term decreased or the vote changed within a term.
    pub fn restarted(&mut self, id: MemberId, held: HardState) -> Checked {
        self.durable(id, held)
    }
}
