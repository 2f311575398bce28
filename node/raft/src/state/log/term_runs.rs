//! The terms of the entries of a log. Consecutive entries of one term form a run, which is stored as its first entry.
//! An election therefore costs a few bytes, and a question about a term is a binary search. Owns the runs. Does not own
//! the entries (`state/log.rs`).
//!
//! The runs need no limit of their own. A run has 16 bytes in memory and at least one entry of the log, which is larger on
//! the disk, and both are purged together. A further run needs an elected leader, so at most one is added per election
//! timeout: a day of nothing but elections without a snapshot adds 1.4 MB.

use crate::ids::{EntryId, Index, Term};

/// The terms of the purge mark and of every entry after it.
#[derive(Clone, Debug, Hash)]
pub(crate) struct TermRuns {
    /// The purge mark, then the first entry of each later term. Both terms and indexes strictly increase.
    firsts: Vec<EntryId>,
    /// Index of the last entry.
    last: Index,
}

impl TermRuns {
    /// Returns the runs of an empty log whose purge mark is `floor`.
    pub(crate) fn after(floor: EntryId) -> Self {
        Self { firsts: vec![floor], last: floor.index }
    }

    /// Returns the runs of a log that a start found: its purge mark, the first entry of each later term, in order, and
    /// the index of the last entry.
    pub(crate) fn restored(floor: EntryId, firsts: &[EntryId], last: Index) -> Self {
        let mut runs = Self::after(floor);
        runs.firsts.extend_from_slice(firsts);
        runs.last = last;
        runs
    }

    /// Returns the purge mark.
    pub(crate) fn floor(&self) -> EntryId {
        self.firsts[0]
    }

    /// Returns the ID of the last entry; the purge mark if there is no later entry.
    pub(crate) fn last(&self) -> EntryId {
        EntryId { term: self.firsts[self.firsts.len() - 1].term, index: self.last }
    }

    /// Returns the term of the entry at `index`, also for the purge mark; `None` if the index is before the purge mark
    /// or after the last entry.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index > self.last {
            return None;
        }
        let runs = self.firsts.partition_point(|first| first.index <= index);
        runs.checked_sub(1).map(|run| self.firsts[run].term)
    }

    /// Returns the last entry at or before `index` whose term is at most `term`; the purge mark if there is no such
    /// entry.
    pub(crate) fn last_within(&self, index: Index, term: Term) -> EntryId {
        let floor = self.floor();
        let runs = self.firsts.partition_point(|first| first.term <= term);
        let end = self.firsts.get(runs).map_or(self.last, |later| Index(later.index.0.saturating_sub(1)));
        let index = index.min(end).max(floor.index);
        self.term_at(index).map_or(floor, |term| EntryId { term, index })
    }

    /// Records that an entry was appended.
    pub(crate) fn push(&mut self, id: EntryId) {
        let last = self.last();
        assert!(id.index == last.index.next(), "the log has no gaps: {id} follows {last}");
        assert!(id.term >= last.term, "terms never fall along the log: {id} follows {last}");
        if id.term > last.term {
            self.firsts.push(id);
        }
        self.last = id.index;
    }

    /// Records that the entries from `index` on were removed.
    pub(crate) fn truncate(&mut self, index: Index) {
        assert!(index > self.floor().index, "the purge mark is never truncated: {index} of {}", self.floor());
        let kept = self.firsts.partition_point(|first| first.index < index);
        self.firsts.truncate(kept);
        self.last = self.last.min(Index(index.0 - 1));
    }

    /// Makes the entry at `index` the purge mark.
    pub(crate) fn purge(&mut self, index: Index) {
        let (floor, last) = (self.floor(), self.last());
        assert!(
            floor.index <= index && index <= last.index,
            "the purge mark is an entry: {index} of {floor} to {last}"
        );
        let runs = self.firsts.partition_point(|first| first.index <= index);
        self.firsts.drain(..runs - 1);
        self.firsts[0].index = index;
    }
}

#[cfg(test)]
mod tests {
    use world::seed::{Random, Seed};

    use super::TermRuns;
    use crate::ids::{EntryId, Index, Term};

    fn entry_id(term: u64, index: u64) -> EntryId {
        EntryId { term: Term(term), index: Index(index) }
    }

    /// Returns the runs of a log with these terms. The first term is that of the purge mark, at index 10.
    fn runs(terms: &[u64]) -> TermRuns {
        let mut ids = (10..).zip(terms).map(|(index, term)| entry_id(*term, index));
        let mut runs = TermRuns::after(ids.next().expect("a purge mark"));
        ids.for_each(|id| runs.push(id));
        runs
    }

    /// A thousand entries of two terms need two elements, besides the purge mark.
    #[test]
    fn entries_of_one_term_share_a_run() {
        let terms: Vec<u64> = [1].into_iter().chain([2; 500]).chain([7; 500]).collect();
        let runs = runs(&terms);
        assert_eq!(runs.firsts, [entry_id(1, 10), entry_id(2, 11), entry_id(7, 511)]);
        assert_eq!(runs.last(), entry_id(7, 1010));
    }

    /// A leader that learns that the follower's entry is of term 5 skips its own entries of terms 6 and 8 at once.
    #[test]
    fn whole_terms_are_skipped() {
        let runs = runs(&[3, 3, 4, 4, 6, 6, 8]);
        assert_eq!(runs.last_within(Index(16), Term(5)), entry_id(4, 13));
        assert_eq!(runs.last_within(Index(12), Term(5)), entry_id(4, 12));
        assert_eq!(runs.last_within(Index(99), Term(9)), entry_id(8, 16), "not after the last entry");
        assert_eq!(runs.last_within(Index(4), Term(9)), entry_id(3, 10), "not before the purge mark");
        assert_eq!(runs.last_within(Index(16), Term(2)), entry_id(3, 10), "every known entry is of a later term");
    }

    #[test]
    #[should_panic(expected = "the log has no gaps")]
    fn a_gap_is_noticed() {
        runs(&[1]).push(entry_id(1, 12));
    }

    #[test]
    #[should_panic(expected = "terms never fall along the log")]
    fn a_term_that_falls_is_noticed() {
        runs(&[2]).push(entry_id(1, 11));
    }

    #[test]
    #[should_panic(expected = "the purge mark is never truncated")]
    fn a_truncated_purge_mark_is_noticed() {
        runs(&[1, 1]).truncate(Index(10));
    }

    #[test]
    #[should_panic(expected = "the purge mark is an entry")]
    fn a_purge_past_the_end_is_noticed() {
        runs(&[1, 1]).purge(Index(12));
    }

    /// Compares the runs with a list of all IDs, whose first one is the purge mark.
    #[test]
    fn runs_agree_with_a_list_of_all_ids() {
        let mut random = Random::new(Seed(1));
        let mut naive = vec![entry_id(2, 5)];
        let mut runs = TermRuns::after(naive[0]);
        for step in 0..10_000 {
            let last = naive[naive.len() - 1];
            match random.below(10) {
                0 if naive.len() > 1 => {
                    let place = random.between(1, naive.len() as u64 - 1) as usize;
                    runs.truncate(naive[place].index);
                    naive.truncate(place);
                }
                1 => {
                    let place = random.below(naive.len() as u64) as usize;
                    runs.purge(naive[place].index);
                    naive.drain(..place);
                }
                chance => {
                    let term = last.term.0 + if chance < 5 { random.below(3) } else { 0 };
                    let id = entry_id(term, last.index.0 + 1);
                    runs.push(id);
                    naive.push(id);
                }
            }
            let (floor, last) = (naive[0], naive[naive.len() - 1]);
            assert_eq!((runs.floor(), runs.last()), (floor, last), "step {step}");
            let mut terms: Vec<Term> = naive.iter().map(|id| id.term).collect();
            terms.dedup();
            assert_eq!(runs.firsts.len(), terms.len(), "step {step}: one element for each term");
            for index in (floor.index.0.saturating_sub(2)..=last.index.0 + 2).map(Index) {
                let known = naive.iter().find(|id| id.index == index);
                assert_eq!(runs.term_at(index), known.map(|id| id.term), "step {step}: index {index}");
                for term in (floor.term.0.saturating_sub(1)..=last.term.0 + 1).map(Term) {
                    let before = naive.iter().rfind(|id| id.index <= index && id.term <= term);
                    let before = *before.unwrap_or(&floor);
                    assert_eq!(runs.last_within(index, term), before, "step {step}: index {index}, term {term}");
                }
            }
        }
    }
}
