//! Commit, and the entries that enter the log. Owns the rule that raises the commit index, and its consequences at this
//! member.

use crate::ids::{EntryId, Index};
use crate::message::{Entry, Payload};
use crate::quorum::joint;
use crate::raft::Raft;
use crate::state::log::weight;
use crate::state::role::RoleState;

impl Raft {
    /// Commits the entries that a majority of each electorate holds durably. This member's own log counts only as far
    /// as its disk holds it (etcd#14370). Only an entry of this term is committed by counting; earlier entries are
    /// committed with it (Raft thesis §3.6.2).
    pub(crate) fn advance_commit(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let (own, durable) = (self.config.id, self.log.durable());
        let reached = joint::reached(self.history.latest().1.electorate(), |id| match leader.peer(id) {
            _ if id == own => durable,
            Some(progress) => progress.matched(),
            None => Index(0),
        });
        assert!(
            reached.is_none_or(|index| index <= self.log.last().index),
            "a majority holds only entries of the leader's log"
        );
        let Some(index) = reached.filter(|index| *index > self.log.commit()) else { return };
        if self.log.term_at(index) == Some(self.hard.term()) {
            self.commit_to(index);
        }
    }

    /// Raises the commit index to `index`, if `index` is after it.
    pub(crate) fn commit_to(&mut self, index: Index) {
        let before = self.log.commit();
        if index <= before {
            return;
        }
        let moved = self.history.at(before).0 != self.history.at(index).0;
        self.log.commit_to(index);
        self.settle_proposals(index);
        if let RoleState::Leader(leader) = &mut self.role {
            let bytes: usize = (before.0 + 1..=index.0).filter_map(|at| self.log.entry(Index(at))).map(weight).sum();
            leader.count_committed(bytes);
        }
        if moved {
            self.sync_peers();
            // A smaller electorate may already have answered: a member whose answer is missing may have no vote any
            // more.
            self.confirm_reads();
        }
    }

    /// A leader appends an entry to its log (Raft thesis §3.5).
    pub(crate) fn append(&mut self, payload: Payload) -> Index {
        let id = EntryId { term: self.hard.term(), index: self.log.last().index.next() };
        assert!(self.is_leader(), "only a leader makes entries");
        let time_ms = self.log.last_time_ms().saturating_add(1).max(self.clocks.wall_ms());
        let entry = Entry { id, time_ms, payload };
        if let RoleState::Leader(leader) = &mut self.role {
            leader.count_uncommitted(weight(&entry));
        }
        let reconfigured = self.history.appended(&entry);
        self.log.push(entry);
        if reconfigured {
            self.sync_peers();
        }
        id.index
    }

    /// A follower appends its leader's entries except for the first `shared`, which it holds. If the log disagrees with
    /// the rest, it is first truncated.
    pub(crate) fn extend(&mut self, entries: Vec<Entry>, shared: usize) {
        let Some(first) = entries.get(shared).map(|entry| entry.id.index) else { return };
        assert!(!self.is_leader(), "a leader never overwrites its own log");
        if first <= self.log.last().index {
            self.log.truncate(first);
            self.outbox.withdraw_acknowledgements();
            self.history.truncated(first);
        }
        for entry in entries.into_iter().skip(shared) {
            self.history.appended(&entry);
            self.log.push(entry);
        }
    }
}
