//! Owns the map from a proposed entry to the callers that wait for it, and the count of entries under way. The core's thread
//! fills the map and the apply thread empties it. Each thread holds the lock only briefly. Does not own the batching
//! (`batch.rs`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use raft::{ProposalId, Term};

use crate::error::ProposeError;
use crate::outcome::Committed;
use crate::reply::Waiter;

/// Commands that went into one entry.
#[derive(Debug)]
pub(crate) struct Batch {
    /// ID of the first command, which identifies the batch. The ID of each further command is higher by one.
    pub(crate) id: u64,
    /// Payload of the entry, kept so that the batch can be proposed again if the core refuses or drops the proposal.
    pub(crate) payload: Bytes,
    /// Waiting callers, in the order of the commands.
    pub(crate) waiters: Vec<Waiter<Result<Committed, ProposeError>>>,
    /// Bytes that [`crate::propose::admission`] counts for the commands.
    pub(crate) bytes: usize,
    /// Time at which callers that still wait receive an error.
    pub(crate) deadline: Duration,
}

#[derive(Debug)]
struct InFlight {
    batch: Batch,
    /// The core's ID of this attempt to propose the batch.
    name: ProposalId,
    /// Term in which the batch was proposed.
    term: Term,
    proposed_at: Duration,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Table {
    batches: BTreeMap<u64, InFlight>,
    /// Current epoch. Batches of an older epoch may be lost, so new batches do not wait for them.
    epoch: u64,
    /// Number of batches of the current epoch.
    counted: usize,
}

impl Table {
    fn remove(&mut self, id: u64) -> Option<InFlight> {
        let found = self.batches.remove(&id)?;
        if found.epoch == self.epoch {
            self.counted -= 1;
        }
        Some(found)
    }
}

/// All batches under way.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    table: Mutex<Table>,
}

impl Pending {
    /// Adds a batch that is about to be proposed under `name`, in `term`.
    pub(crate) fn insert(&self, now: Duration, name: ProposalId, term: Term, batch: Batch) {
        let mut table = self.lock();
        let epoch = table.epoch;
        table.counted += 1;
        table.batches.insert(batch.id, InFlight { batch, name, term, proposed_at: now, epoch });
    }

    /// Removes the batch that was proposed under `name`, because the proposal failed.
    pub(crate) fn take_proposal(&self, name: ProposalId) -> Option<Batch> {
        let mut table = self.lock();
        let id = table.batches.values().find(|found| found.name == name)?.batch.id;
        table.remove(id).map(|found| found.batch)
    }

    /// Removes a batch so that its callers can be answered. Returns `None` for a batch of another member and for a batch that has
    /// expired.
    pub(crate) fn take(&self, id: u64) -> Option<Batch> {
        self.lock().remove(id).map(|found| found.batch)
    }

    /// Number of batches of the current epoch. New batches wait only for batches of the current epoch.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().counted
    }

    /// Returns whether callers wait for a batch that may be lost.
    pub(crate) fn has_uncounted(&self) -> bool {
        let table = self.lock();
        table.batches.len() > table.counted
    }

    /// Stops counting the batches under way, so that new batches do not wait for them. The counted batches may be lost because
    /// the leader changed or a connection broke.
    pub(crate) fn stop_counting(&self) {
        let mut table = self.lock();
        table.epoch += 1;
        table.counted = 0;
    }

    /// Calls [`Pending::stop_counting`] if a counted batch was proposed at least `age` ago.
    pub(crate) fn stop_counting_after(&self, now: Duration, age: Duration) {
        let table = self.lock();
        let epoch = table.epoch;
        let late = table.batches.values().any(|found| found.epoch == epoch && found.proposed_at + age <= now);
        drop(table);
        if late {
            self.stop_counting();
        }
    }

    /// Removes the batches that were proposed in terms before `term`. The caller has applied an entry of `term`, so the removed
    /// batches can no longer be committed: only the leader of a proposal's own term accepts the proposal, and in the log all
    /// entries of older terms precede the entries of newer terms (Raft thesis §3.6.3).
    pub(crate) fn take_outdated(&self, term: Term) -> Vec<Batch> {
        let mut table = self.lock();
        let outdated: Vec<u64> =
            table.batches.iter().filter(|(_, found)| found.term < term).map(|(id, _)| *id).collect();
        outdated.into_iter().filter_map(|id| table.remove(id)).map(|found| found.batch).collect()
    }

    /// Removes the batches whose deadline has passed.
    pub(crate) fn take_expired(&self, now: Duration) -> Vec<Batch> {
        let mut table = self.lock();
        let late: Vec<u64> =
            table.batches.iter().filter(|(_, found)| found.batch.deadline <= now).map(|(id, _)| *id).collect();
        late.into_iter().filter_map(|id| table.remove(id)).map(|found| found.batch).collect()
    }

    /// Removes all batches.
    pub(crate) fn take_all(&self) -> Vec<Batch> {
        let mut table = self.lock();
        table.counted = 0;
        std::mem::take(&mut table.batches).into_values().map(|found| found.batch).collect()
    }

    /// Ignores poisoning: every holder of the lock leaves the table consistent, even if it panics.
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::from_secs(1);

    fn batch(id: u64) -> Batch {
        Batch { id, payload: Bytes::new(), waiters: Vec::new(), bytes: 0, deadline: AT * 5 }
    }

    fn ids(batches: &[Batch]) -> Vec<u64> {
        batches.iter().map(|batch| batch.id).collect()
    }

    #[test]
    fn a_batch_is_removed_once_by_its_entry_or_its_proposal() {
        let pending = Pending::default();
        pending.insert(AT, ProposalId(1), Term(1), batch(10));
        pending.insert(AT, ProposalId(2), Term(1), batch(20));
        assert_eq!(pending.in_flight(), 2);
        assert_eq!(pending.take(10).unwrap().id, 10);
        assert!(pending.take(10).is_none() && pending.take_proposal(ProposalId(1)).is_none());
        assert_eq!(pending.take_proposal(ProposalId(2)).unwrap().id, 20);
        assert_eq!(pending.in_flight(), 0);
    }

    #[test]
    fn a_batch_that_may_be_lost_is_not_counted_but_can_still_be_answered() {
        let pending = Pending::default();
        pending.insert(AT, ProposalId(1), Term(1), batch(10));
        pending.stop_counting_after(AT + AT / 2, AT);
        assert_eq!(pending.in_flight(), 1, "it was not counted before it was late");
        pending.stop_counting_after(AT * 2, AT);
        assert_eq!(pending.in_flight(), 0);
        pending.insert(AT * 2, ProposalId(2), Term(1), batch(20));
        assert_eq!(pending.in_flight(), 1);
        assert!(pending.take(10).is_some());
        assert_eq!(pending.in_flight(), 1);
    }

    /// Raft thesis §3.6.3: entries of older terms precede entries of newer terms.
    #[test]
    fn an_entry_of_a_new_term_ends_the_batches_of_older_terms() {
        let pending = Pending::default();
        for (id, term) in [(10, 1), (20, 2), (30, 3)] {
            pending.insert(AT, ProposalId(id), Term(term), batch(id));
        }
        assert_eq!(ids(&pending.take_outdated(Term(3))), [10, 20]);
        assert_eq!(ids(&pending.take_all()), [30]);
    }

    #[test]
    fn a_batch_expires_at_its_deadline() {
        let pending = Pending::default();
        pending.insert(AT, ProposalId(1), Term(1), batch(10));
        assert!(pending.take_expired(AT * 4).is_empty());
        assert_eq!(ids(&pending.take_expired(AT * 5)), [10]);
        assert_eq!(pending.in_flight(), 0);
    }
}
