//! Proposals of this member, as leader, whose outcome is open. Owns the map from entries to them. Does not own the
//! outcome (`replication/proposal.rs`).

use std::collections::BTreeMap;

use crate::ids::{Index, ProposalId, Term};

/// Proposals by the entry that carries them.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct OpenProposals(BTreeMap<(Index, Term), ProposalId>);

impl OpenProposals {
    /// The entry at `index` carries the proposal.
    pub(crate) fn insert(&mut self, index: Index, term: Term, proposal: ProposalId) {
        let earlier = self.0.insert((index, term), proposal);
        assert!(earlier.is_none(), "an entry carries one proposal: {term}/{index}");
    }

    /// Removes the first proposal whose entry is at or before `index`.
    pub(crate) fn take_through(&mut self, index: Index) -> Option<(Index, Term, ProposalId)> {
        let first = self.0.first_entry().filter(|first| first.key().0 <= index)?;
        let ((at, term), proposal) = first.remove_entry();
        Some((at, term, proposal))
    }

    /// Forgets proposals whose entry is at or before `index`, because their outcome can no longer be known here.
    pub(crate) fn forget_through(&mut self, index: Index) {
        self.0 = self.0.split_off(&(index.next(), Term::default()));
        assert!(self.0.first_key_value().is_none_or(|((at, _), _)| *at > index), "only later proposals stay open");
    }
}
