//! Commits, and the entries that are added to the log. Owns the rule that raises the commit index, and the consequences
//! of a higher commit index on this member.

use crate::ids::{EntryId, Index};
use crate::message::{Entry, Payload};
use crate::quorum::joint;
use crate::raft::Raft;
use crate::state::role::RoleState;

impl Raft {
    /// Commits the entries that a majority of each electorate holds durably. An entry of this member's own log counts
    /// only if it is durable (etcd#14370). A majority suffices only for an entry of this term. Entries of earlier terms
    /// are committed together with a later entry of this term (Raft thesis §3.6.2).
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

    /// Raises the commit index to `index`; does nothing if `index` is not after the commit index.
    pub(crate) fn commit_to(&mut self, index: Index) {
        let before = self.log.commit();
        if index <= before {
            return;
        }
        let moved = self.history.at(before).0 != self.history.at(index).0;
        self.log.commit_to(index);
        self.settle_proposals(index);
        if moved {
            self.sync_peers();
            // A waiting read may have its quorum now, because a member that has not answered may no longer be a voter.
            self.confirm_reads();
        }
    }

    /// Appends an entry to the leader's log (Raft thesis §3.5).
    pub(crate) fn append(&mut self, payload: Payload) -> Index {
        let id = EntryId { term: self.hard.term(), index: self.log.last().index.next() };
        assert!(self.is_leader(), "only a leader makes entries");
        let time_ms = self.log.last_time_ms().saturating_add(1).max(self.clocks.wall_ms());
        let entry = Entry { id, time_ms, payload };
        let reconfigured = self.history.appended(&entry);
        self.log.push(entry);
        if reconfigured {
            self.sync_peers();
        }
        id.index
    }

    /// Appends the leader's entries to a follower's log, except for the first `shared` entries, which the log already
    /// holds. If the log disagrees with the remaining entries, it is truncated first.
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
