//! IDs of proposals that other members forwarded to this member. Owns the memory of these IDs, which is bounded and
//! makes duplicated messages harmless. Does not own the answer to a forwarded proposal (`replication/proposal.rs`).

use std::collections::BTreeMap;

use crate::ids::{MemberId, ProposalId, Term};

/// The proposals forwarded to this member in one term.
#[derive(Clone, Debug, Hash)]
pub(crate) struct SeenProposals {
    /// Term in which this member started. The member may have led this term before a crash and does not know which
    /// proposals it accepted before the crash. It cannot lead this term again.
    started_in: Term,
    term: Term,
    ids: BTreeMap<MemberId, IdSpans>,
}

/// Number of senders in one term from which on no further one outside the configuration is heard.
const SENDERS_MAX: usize = 32;

impl SeenProposals {
    pub(crate) fn started_in(term: Term) -> Self {
        Self { started_in: term, term, ids: BTreeMap::new() }
    }

    /// Returns whether this member cannot know which proposals of `term` it accepted.
    pub(crate) fn is_blind(&self, term: Term) -> bool {
        term <= self.started_in
    }

    /// Returns whether so many senders are remembered that a new one must be ignored unless it is in the configuration. The
    /// outcome of its proposals then stays unknown to it, which is always safe.
    pub(crate) fn has_no_place_for(&self, term: Term, from: MemberId) -> bool {
        self.term == term && self.ids.len() >= SENDERS_MAX && !self.ids.contains_key(&from)
    }

    /// Records the proposal. Returns whether it is new.
    pub(crate) fn is_new(&mut self, term: Term, from: MemberId, proposal: ProposalId) -> bool {
        assert!(term >= self.term, "the term never falls");
        if self.term != term {
            self.term = term;
            self.ids.clear();
        }
        self.ids.entry(from).or_default().insert(proposal.0)
    }
}

/// A set of numbers, stored as spans. When the set has too many spans, all numbers of its smallest gap count as seen. A
/// late proposal from that gap is then ignored, and its outcome stays unknown to its proposer, which is always safe.
/// Large gaps are kept, because a large gap separates the IDs that a proposer used before a restart from the IDs after
/// it. The proposer's next IDs may lie at the edge of such a gap and must not count as seen.
#[derive(Clone, Debug, Default, Hash)]
struct IdSpans(BTreeMap<u64, u64>);

impl IdSpans {
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
        assert!(self.0.len() <= Self::COUNT_MAX, "the memory of proposal IDs is bounded");
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
    use super::{IdSpans, SENDERS_MAX, SeenProposals};
    use crate::ids::{MemberId, ProposalId, Term};

    /// A sender can claim any ID.
    #[test]
    fn the_number_of_senders_is_bounded_in_each_term() {
        let mut seen = SeenProposals::started_in(Term(1));
        for id in (1..=SENDERS_MAX as u64).map(MemberId) {
            assert!(!seen.has_no_place_for(Term(2), id));
            assert!(seen.is_new(Term(2), id, ProposalId(7)));
        }
        assert!(seen.has_no_place_for(Term(2), MemberId(100)));
        assert!(!seen.has_no_place_for(Term(2), MemberId(1)), "a known sender is heard");
        assert!(!seen.has_no_place_for(Term(3), MemberId(100)), "a new term begins anew");
    }

    #[test]
    fn a_number_is_new_once_in_any_order() {
        let mut spans = IdSpans::default();
        for number in [5, 3, 4, 9, u64::MAX, 0, 1, 2, 10, 8, 7, 6] {
            assert!(spans.insert(number), "{number} was not seen before");
        }
        for number in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, u64::MAX] {
            assert!(!spans.insert(number), "{number} was seen before");
        }
        assert_eq!(spans.0.len(), 2, "neighbours share a span");
    }

    #[test]
    fn scattered_numbers_do_not_grow_the_set_without_bound() {
        let mut spans = IdSpans::default();
        for number in 0..10_000 {
            assert!(spans.insert(number * 2 + 100));
        }
        assert!(spans.0.len() <= IdSpans::COUNT_MAX);
        assert!(!spans.insert(101), "a closed gap counts as seen");
        assert!(!spans.insert(100), "no seen number is forgotten");
    }

    /// After a restart, a proposer chooses a new random first ID, which may be far below all IDs that it used before.
    #[test]
    fn lower_ids_of_a_restarted_proposer_are_new() {
        let mut spans = IdSpans::default();
        for number in 0..IdSpans::COUNT_MAX as u64 {
            assert!(spans.insert((1 << 63) + number * 2));
        }
        for number in 0..10_000 {
            assert!(spans.insert(1_000 + number), "{number} after the restart");
        }
        assert!(!spans.insert(1_005), "no seen number is forgotten");
    }
}
