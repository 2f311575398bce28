//! What is decided. Owns the rule that moves the commit index, and what the move entails here.

use crate::ids::Index;
use crate::log::weight;
use crate::message::{Entry, Payload};
use crate::quorum::joint;
use crate::raft::Raft;
use crate::role::Standing;

impl Raft {
    /// Commits what majorities of both halves hold durably, this member's own log counting only as far as its disk has it
    /// (etcd#14370). Only an entry of this term commits by counting; what came before commits with it (Raft thesis §3.6.2).
    pub(crate) fn advance_commit(&mut self) {
        let Standing::Leader(leader) = &self.standing else { return };
        let (own, durable) = (self.config.id, self.log.durable());
        let reached = joint::reached(&self.history.latest().1, |id| match leader.peers.get(&id) {
            _ if id == own => durable,
            Some(progress) => progress.matched(),
            None => Index(0),
        });
        assert!(reached.is_none_or(|index| index <= self.log.last().index), "a majority holds what the leader has");
        let Some(index) = reached.filter(|index| *index > self.log.commit()) else { return };
        if self.log.term_at(index) == Some(self.hard.term) {
            self.commit_to(index);
        }
    }

    /// Moves the commit index, if `index` is ahead of it.
    pub(crate) fn commit_to(&mut self, index: Index) {
        let before = self.log.commit();
        if index <= before {
            return;
        }
        let moved = self.history.at(before).0 != self.history.at(index).0;
        self.log.commit_to(index);
        self.settle_proposals(index);
        if let Standing::Leader(leader) = &mut self.standing {
            let decided: usize = (before.0 + 1..=index.0).filter_map(|at| self.log.entry(Index(at))).map(weight).sum();
            assert!(decided <= leader.uncommitted_bytes, "what is decided was counted as open");
            leader.uncommitted_bytes -= decided;
        }
        if moved {
            self.sync_peers();
            // Whose answers were awaited may have no vote any more; the only voter left waits for nobody.
            self.confirm_reads();
        }
    }

    /// The leader adds an entry to its log (Raft thesis §3.5).
    pub(crate) fn append(&mut self, payload: Payload) -> Index {
        let id = crate::ids::EntryId { term: self.hard.term, index: self.log.last().index.next() };
        assert!(self.is_leader(), "only a leader makes entries");
        let time_ms = self.log.last_time_ms().saturating_add(1).max(self.now.wall_ms);
        let entry = Entry { id, time_ms, payload };
        if let Standing::Leader(leader) = &mut self.standing {
            leader.uncommitted_bytes += weight(&entry);
        }
        let reconfigured = self.history.appended(&entry);
        self.log.push(entry);
        if reconfigured {
            self.sync_peers();
        }
        id.index
    }

    /// A follower adds its leader's entries, but for the first `shared`, which it has; what disagrees goes first.
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
