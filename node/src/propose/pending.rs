//! Who awaits which entry. Owns the map from an entry's name to the clients in it and the pace at which new entries may
//! follow; the core's thread fills it, the apply thread empties it, both for a moment only.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use raft::{ProposalId, Term};

use crate::apply::reply::Waiter;
use crate::handle::Committed;
use crate::handle::error::ProposeError;

/// Commands that went into one entry.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Request ID of the first command; names the batch. Others follow by one.
    pub(crate) id: u64,
    /// The entry's payload, kept in case consensus drops it untouched.
    pub(crate) payload: Bytes,
    /// Who waits, in the order of the commands.
    pub(crate) waiters: Vec<Waiter<Result<Committed, ProposeError>>>,
    /// What they count as in `propose::queue`.
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
