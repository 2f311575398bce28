//! This member's own proposals that it appended as leader and whose outcome is not known yet. Owns the map from entries
//! to proposals. Does not own the outcome (`replication/proposal.rs`).

use std::collections::BTreeMap;

use crate::ids::{Index, ProposalId, Term};

/// Open proposals by index and term of the entry that carries the proposal.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct OpenProposals(BTreeMap<(Index, Term), ProposalId>);

impl OpenProposals {
    /// Records that the entry at `index` carries the proposal.
    pub(crate) fn insert(&mut self, index: Index, term: Term, proposal: ProposalId) {
        let earlier = self.0.insert((index, term), proposal);
        assert!(earlier.is_none(), "an entry carries one proposal: {term}/{index}");
    }

    /// Removes and returns the first proposal if its entry is at or before `index`.
    pub(crate) fn take_through(&mut self, index: Index) -> Option<(Index, Term, ProposalId)> {
        let first = self.0.first_entry().filter(|first| first.key().0 <= index)?;
        let ((at, term), proposal) = first.remove_entry();
        Some((at, term, proposal))
    }

    /// Forgets proposals whose entry is at or before `index`, because this member can no longer learn their outcome.
    pub(crate) fn forget_through(&mut self, index: Index) {
        self.0 = self.0.split_off(&(index.next(), Term::default()));
        assert!(self.0.first_key_value().is_none_or(|((at, _), _)| *at > index), "only later proposals stay open");
    }
}
