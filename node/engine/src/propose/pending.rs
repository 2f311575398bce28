//! Who awaits which entry. Owns the map from an entry's name to the clients in it and the pace at which new entries may
//! follow; the core's thread fills it, the apply thread empties it, both for a moment only.

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
    /// Request ID of the first command; names the batch. Others follow by one.
    pub(crate) id: u64,
    /// The entry's payload, kept in case consensus drops it untouched.
    pub(crate) payload: Bytes,
    /// Who waits, in the order of the commands.
    pub(crate) waiters: Vec<Waiter<Result<Committed, ProposeError>>>,
    /// What they count as in [`crate::propose::admission`].
    pub(crate) bytes: usize,
    /// Unanswered until then, the outcome is given up as unknown.
    pub(crate) deadline: Duration,
}

#[derive(Debug)]
struct InFlight {
    batch: Batch,
    /// What consensus calls this attempt, and the term it was made in.
    name: ProposalId,
    term: Term,
    since: Duration,
    epoch: u64,
}

#[derive(Debug, Default)]
struct Table {
    batches: BTreeMap<u64, InFlight>,
    /// Batches of an older epoch may be lost, so they no longer hold others up.
    epoch: u64,
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
    /// A batch is about to be proposed under `name`, in `term`.
    pub(crate) fn insert(&self, now: Duration, name: ProposalId, term: Term, batch: Batch) {
        let mut table = self.lock();
        let epoch = table.epoch;
        table.counted += 1;
        table.batches.insert(batch.id, InFlight { batch, name, term, since: now, epoch });
    }

    /// Takes out the batch of an attempt that failed.
    pub(crate) fn take_named(&self, name: ProposalId) -> Option<Batch> {
        let mut table = self.lock();
        let id = table.batches.values().find(|found| found.name == name)?.batch.id;
        table.remove(id).map(|found| found.batch)
    }

    /// Takes a batch out, to answer it. `None`: another member's, or given up already.
    pub(crate) fn take(&self, id: u64) -> Option<Batch> {
        self.lock().remove(id).map(|found| found.batch)
    }

    /// Batches that others should wait for.
    pub(crate) fn in_flight(&self) -> usize {
        self.lock().counted
    }

    /// Whether anything that may be lost is still awaited.
    pub(crate) fn is_in_doubt(&self) -> bool {
        let table = self.lock();
        table.batches.len() > table.counted
    }

    /// What is under way may be lost (another leader, a broken connection): it no longer holds others up.
    pub(crate) fn stop_counting(&self) {
        let mut table = self.lock();
        table.epoch += 1;
        table.counted = 0;
    }

    /// Like [`Pending::stop_counting`], if the oldest counted batch is older than `patience`.
    pub(crate) fn stop_counting_after(&self, now: Duration, patience: Duration) {
        let table = self.lock();
        let epoch = table.epoch;
        let late = table.batches.values().any(|found| found.epoch == epoch && found.since + patience <= now);
        drop(table);
        if late {
            self.stop_counting();
        }
    }

    /// An entry of `term` was applied: takes out what was proposed in older terms and was not in the log before it. Only the
    /// leader of its own term takes a proposal, and all entries of older terms precede those of newer ones (Raft thesis
    /// §3.6.3), so it has not happened and never will.
    pub(crate) fn outdated(&self, term: Term) -> Vec<Batch> {
        let mut table = self.lock();
        let outdated: Vec<u64> =
            table.batches.iter().filter(|(_, found)| found.term < term).map(|(id, _)| *id).collect();
        outdated.into_iter().filter_map(|id| table.remove(id)).map(|found| found.batch).collect()
    }

    /// Takes out what nobody may wait for any longer.
    pub(crate) fn expired(&self, now: Duration) -> Vec<Batch> {
        let mut table = self.lock();
        let late: Vec<u64> =
            table.batches.iter().filter(|(_, found)| found.batch.deadline <= now).map(|(id, _)| *id).collect();
        late.into_iter().filter_map(|id| table.remove(id)).map(|found| found.batch).collect()
    }

    /// Takes out everything.
    pub(crate) fn take_all(&self) -> Vec<Batch> {
        let mut table = self.lock();
        table.counted = 0;
        std::mem::take(&mut table.batches).into_values().map(|found| found.batch).collect()
    }

    /// Every holder leaves the table whole, so a panic elsewhere does not spoil it.
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
    fn a_batch_is_found_by_its_entry_or_by_its_attempt_and_only_once() {
        let pending = Pending::default();
        pending.insert(AT, ProposalId(1), Term(1), batch(10));
        pending.insert(AT, ProposalId(2), Term(1), batch(20));
        assert_eq!(pending.in_flight(), 2);
        assert_eq!(pending.take(10).unwrap().id, 10);
        assert!(pending.take(10).is_none() && pending.take_named(ProposalId(1)).is_none());
        assert_eq!(pending.take_named(ProposalId(2)).unwrap().id, 20);
        assert_eq!(pending.in_flight(), 0);
    }

    #[test]
    fn what_may_be_lost_holds_nobody_up_but_can_still_be_answered() {
        let pending = Pending::default();
        pending.insert(AT, ProposalId(1), Term(1), batch(10));
        pending.stop_counting_after(AT + AT / 2, AT);
        assert_eq!(pending.in_flight(), 1, "it is not late yet");
        pending.stop_counting_after(AT * 2, AT);
        assert_eq!(pending.in_flight(), 0);
        pending.insert(AT * 2, ProposalId(2), Term(1), batch(20));
        assert_eq!(pending.in_flight(), 1);
        assert!(pending.take(10).is_some());
        assert_eq!(pending.in_flight(), 1);
    }

    /// Raft thesis §3.6.3: entries of older terms precede those of newer ones.
    #[test]
    fn an_entry_of_a_new_term_tells_what_of_older_terms_never_happened() {
        let pending = Pending::default();
        for (id, term) in [(10, 1), (20, 2), (30, 3)] {
            pending.insert(AT, ProposalId(id), Term(term), batch(id));
        }
        assert_eq!(ids(&pending.outdated(Term(3))), [10, 20]);
        assert_eq!(ids(&pending.take_all()), [30]);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let pending = Pending::default();
        pending.insert(AT, ProposalId(1), Term(1), batch(10));
        assert!(pending.expired(AT * 4).is_empty());
        assert_eq!(ids(&pending.expired(AT * 5)), [10]);
        assert_eq!(pending.in_flight(), 0);
    }
}
