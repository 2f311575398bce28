//! Ledger of a cluster's events, and the safety properties (Raft thesis figure 3.2) that are checked at each event.
//! Does not own the driver (`cluster.rs`).

use std::collections::{BTreeMap, BTreeSet};

use raft::{Entry, EntryId, Index, MemberId, Payload, ProposalId, ReadContext, Term};

/// Leaders, votes, committed entries and reads so far.
#[derive(Debug, Default)]
pub struct Safety {
    leaders: BTreeMap<Term, MemberId>,
    committed: BTreeMap<Index, (Term, u64, Vec<u8>)>,
    votes: BTreeMap<(MemberId, Term), MemberId>,
    pub commit: Index,
    /// Highest commit index in the cluster at the start of each read.
    pub reads: BTreeMap<ReadContext, Index>,
    pub proposals: BTreeMap<ProposalId, Vec<u8>>,
    happened: BTreeSet<Vec<u8>>,
    dropped: BTreeSet<Vec<u8>>,
}

impl Safety {
    /// Checks election safety: at most one leader per term (Raft thesis figure 3.2).
    pub fn leads(&mut self, at: MemberId, term: Term) {
        let leader = self.leaders.entry(term).or_insert(at);
        assert_eq!(*leader, at, "two leaders in term {term}");
    }

    /// Checks that a member votes at most once in each term, also across restarts.
    pub fn votes(&mut self, at: MemberId, term: Term, candidate: MemberId) {
        let vote = self.votes.entry((at, term)).or_insert(candidate);
        assert_eq!(*vote, candidate, "{at} voted twice in term {term}");
    }

    /// Checks state machine safety: no two members apply different entries at the same index (Raft thesis figure 3.2).
    pub fn applies(&mut self, entries: &[Entry]) {
        for entry in entries {
            let content = match &entry.payload {
                Payload::Normal(content) => content.to_vec(),
                other => format!("{other:?}").into_bytes(),
            };
            let applied = (entry.id.term, entry.time_ms, content.clone());
            let first = self.committed.entry(entry.id.index).or_insert_with(|| applied.clone());
            assert_eq!(*first, applied, "two different entries are applied at index {}", entry.id.index);
            if let Payload::Normal(_) = &entry.payload {
                assert!(
                    !self.dropped.contains(&content),
                    "{} at {}: a dropped proposal was applied",
                    String::from_utf8_lossy(&content),
                    entry.id
                );
                let other = self.committed.range(..entry.id.index).next_back();
                assert!(
                    other.is_none_or(|(_, (_, time_ms, _))| *time_ms < entry.time_ms),
                    "time stamps grow along the log"
                );
                self.happened.insert(content);
            }
        }
    }

    /// Returns the ID of the entry that was applied at an index.
    pub fn committed_at(&self, index: Index) -> Option<EntryId> {
        self.committed.get(&index).map(|(term, _, _)| EntryId { term: *term, index })
    }

    pub fn drops(&mut self, proposal: ProposalId) {
        if let Some(content) = self.proposals.get(&proposal) {
            assert!(!self.happened.contains(content), "an applied proposal is reported as dropped");
            self.dropped.insert(content.clone());
        }
    }

    /// Checks that a read sees at least everything that was committed when the read began.
    pub fn reads_at(&mut self, context: ReadContext, index: Index) {
        let began = self.reads[&context];
        assert!(index >= began, "read {context} at {index}, but {began} was committed when it began");
    }

    /// Asserts that each proposal was applied at most once.
    pub fn assert_each_once(&self) {
        let mut seen = BTreeSet::new();
        for (index, (_, _, content)) in &self.committed {
            if content.starts_with(b"p") {
                assert!(
                    seen.insert(content),
                    "{} was applied twice, the second time at {index}",
                    String::from_utf8_lossy(content)
                );
            }
        }
    }
}
