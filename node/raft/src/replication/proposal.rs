//! How a proposal enters the log, here or at the leader. Owns refusals, forwarding, and the memory of forwarded names that
//! makes a doubled message harmless.

use std::collections::BTreeMap;

use crate::ids::{Index, MemberId, ProposalId, Term};
use crate::message::{Body, Message, Payload};
use crate::output::{DropReason, Output};
use crate::raft::{ProposeError, Raft};
use crate::role::Standing;

/// Proposals with the names that their proposers know them by.
type Proposals = Vec<(ProposalId, Payload)>;

impl Raft {
    pub(crate) fn start_proposals(&mut self, proposals: Proposals) -> Result<(), ProposeError> {
        if proposals.iter().any(|(_, payload)| is_reserved(payload)) {
            return Err(ProposeError::Reserved);
        }
        if !self.is_leader() {
            let Some(leader) = self.leader else { return Err(ProposeError::NoLeader) };
            if !proposals.is_empty() {
                self.outbox.send(leader, Message { term: self.hard.term, body: Body::Propose { proposals } });
            }
            return Ok(());
        }
        match self.refusal(&proposals) {
            Some(DropReason::Transferring) => Err(ProposeError::Transferring),
            Some(_) => Err(ProposeError::Overloaded),
            None => {
                for (proposal, payload) in proposals {
                    let index = self.append(payload);
                    assert!(index > self.log.commit(), "a proposal is open when it enters the log");
                    self.proposed.insert((index, self.hard.term), proposal);
                }
                Ok(())
            }
        }
    }

    /// A member hands proposals over. Each name is dealt with once in a term: a copy could otherwise happen twice, or make a
    /// refusal a lie.
    pub(crate) fn on_propose(&mut self, from: MemberId, mut proposals: Proposals) {
        let term = self.hard.term;
        if self.seen.is_blind(term) {
            return;
        }
        proposals.retain(|(proposal, payload)| !is_reserved(payload) && self.seen.is_new(term, from, *proposal));
        if proposals.is_empty() {
            return;
        }
        let refusal = if self.is_leader() { self.refusal(&proposals) } else { Some(DropReason::LeaderChanged) };
        if let Some(reason) = refusal {
            let proposals = proposals.into_iter().map(|(proposal, _)| proposal).collect();
            self.outbox.send(from, Message { term, body: Body::ProposeRefused { proposals, reason } });
            return;
        }
        for (_, payload) in proposals {
            self.append(payload);
        }
    }

    /// The leader did not take these over.
    pub(crate) fn on_propose_refused(&mut self, proposals: Vec<ProposalId>, reason: DropReason) {
        for proposal in proposals {
            self.outbox.push(Output::Dropped { proposal, reason });
        }
    }

    /// Why the leader takes none of these now.
    fn refusal(&self, proposals: &[(ProposalId, Payload)]) -> Option<DropReason> {
        let Standing::Leader(leader) = &self.standing else { return Some(DropReason::NoLeader) };
        if leader.transfer.is_some() || leader.retiring {
            return Some(DropReason::Transferring);
        }
        let bytes: usize = proposals.iter().map(|(_, payload)| payload.len()).sum();
        let is_idle = leader.uncommitted_bytes == 0;
        let fits = leader.uncommitted_bytes.saturating_add(bytes) <= self.config.max_uncommitted_bytes;
        (!is_idle && !fits).then_some(DropReason::Overloaded)
    }

    /// The log is committed up to `index`: the fate of this member's own proposals up to there is known. Not earlier: one
    /// that was truncated here may still be in another log, and win (Raft thesis figure 3.7).
    pub(crate) fn settle_proposals(&mut self, index: Index) {
        while let Some(first) = self.proposed.first_entry().filter(|first| first.key().0 <= index) {
            let ((at, term), proposal) = first.remove_entry();
            assert!(at <= self.log.commit(), "only what is committed settles a proposal");
            if self.log.term_at(at).is_some_and(|decided| decided != term) {
                self.outbox.push(Output::Dropped { proposal, reason: DropReason::LeaderChanged });
            }
        }
    }
}

/// Entries that only the core itself makes.
fn is_reserved(payload: &Payload) -> bool {
    matches!(payload, Payload::Noop | Payload::Configuration(_))
}

/// The names forwarded to this member in one term.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Seen {
    /// The term that this member started in: it may have led it before a crash, and does not know what it took over then.
    /// It cannot lead it again.
    started_in: Term,
    term: Term,
    names: BTreeMap<MemberId, Spans>,
}

impl Seen {
    pub(crate) fn started_in(term: Term) -> Self {
        Self { started_in: term, term, names: BTreeMap::new() }
    }

    /// Whether nothing true can be said about proposals of this term.
    fn is_blind(&self, term: Term) -> bool {
        term <= self.started_in
    }

    /// Whether the name is new; it is not any more.
    fn is_new(&mut self, term: Term, from: MemberId, proposal: ProposalId) -> bool {
        assert!(term >= self.term, "the term never falls");
        if self.term != term {
            self.term = term;
            self.names.clear();
        }
        self.names.entry(from).or_default().insert(proposal.0)
    }
}

/// A set of numbers as first-to-last spans. When it grows too long, its smallest gap counts as seen: a proposal that is still on
/// its way there is ignored, its outcome unknown to its proposer, which is always safe. A large gap lies before or behind the
/// names of a proposer's other start, and those that it will use come from there.
#[derive(Clone, Debug, Default, Hash)]
struct Spans(BTreeMap<u64, u64>);

impl Spans {
    const COUNT_MAX: usize = 1024;

    fn insert(&mut self, number: u64) -> bool {
        let below = self.0.range(..=number).next_back().map(|(first, last)| (*first, *last));
        if below.is_some_and(|(_, last)| number <= last) {
            return false;
        }
        let first = match below {
            Some((first, last)) if last + 1 == number => first,
            _ => number,
        };
        let above = number.checked_add(1).and_then(|next| self.0.remove(&next));
        self.0.insert(first, above.unwrap_or(number));
        if self.0.len() > Self::COUNT_MAX {
            self.close_smallest_gap();
        }
        assert!(self.0.len() <= Self::COUNT_MAX, "the memory of names is bounded");
        true
    }

    fn close_smallest_gap(&mut self) {
        let gaps =
            self.0.iter().zip(self.0.iter().skip(1)).map(|((below, last), (above, _))| (above - last, *below, *above));
        let Some((_, below, above)) = gaps.min() else { return };
        if let Some(last) = self.0.remove(&above) {
            self.0.insert(below, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Spans;

    #[test]
    fn a_number_is_new_once_in_any_order() {
        let mut spans = Spans::default();
        for number in [5, 3, 4, 9, u64::MAX, 0, 1, 2, 10, 8, 7, 6] {
            assert!(spans.insert(number), "{number} was not seen before");
        }
        for number in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, u64::MAX] {
            assert!(!spans.insert(number), "{number} was seen before");
        }
        assert_eq!(spans.0.len(), 2, "neighbours share a span");
    }

    #[test]
    fn scattered_numbers_do_not_grow_it_without_bound() {
        let mut spans = Spans::default();
        for number in 0..10_000 {
            assert!(spans.insert(number * 2 + 100));
        }
        assert!(spans.0.len() <= Spans::COUNT_MAX);
        assert!(!spans.insert(101), "a gap closed for want of room counts as seen");
        assert!(!spans.insert(100), "and nothing seen is forgotten");
    }

    /// A proposer that starts anew draws where its names begin, also far below all that it used.
    #[test]
    fn another_start_with_lower_names_is_not_taken_for_seen() {
        let mut spans = Spans::default();
        for number in 0..Spans::COUNT_MAX as u64 {
            assert!(spans.insert((1 << 63) + number * 2));
        }
        for number in 0..10_000 {
            assert!(spans.insert(1_000 + number), "{number} of the new start");
        }
        assert!(!spans.insert(1_005), "nothing seen is forgotten");
    }
}
