//! The log: the entries after the purge mark, of which the last ones are in memory, and how far they are written, durable,
//! committed and applied. Owns these indexes, the order among them, and the weights of the entries. Does not own when the
//! indexes advance (`replication`, `snapshot`, `flush.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::ids::{EntryId, Index, IoId, Term};
use crate::message::{Entry, SnapshotMeta};
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};
use crate::state::log::marks::Marks;
use crate::state::log::tail::{Tail, Unwritten};
use crate::state::log::term_runs::TermRuns;

pub(crate) mod conflict;
mod marks;
pub(crate) mod memory;
pub(crate) mod purge;
pub(crate) mod restored;
pub(crate) mod tail;
pub(crate) mod term_runs;

#[cfg(test)]
mod naive;

/// The log and its indexes.
///
/// ```text
///   purged | on disk only | in memory                         last
///   -------+--------------+----------+------------+--------------+
///        floor          base      applied      commit
///                                    durable -- anywhere from base to last
/// ```
///
/// After a restart, or if the limit on memory is very low, `applied` and `commit` may be before `base`.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The purge mark, and the terms of all entries after it. The purge mark is the last entry that was purged. It is
    /// always committed.
    terms: TermRuns,
    /// Index of the last entry that is not in memory.
    base: Index,
    /// `end` of the entry at `base`, as in [`Held`].
    base_end: u64,
    /// Weights of entries that are not in memory.
    marks: Marks,
    /// The entries after `base`.
    entries: VecDeque<Held>,
    /// Time stamp of the last entry. After a truncation, may be that of a later entry, until the next entry is appended.
    last_time_ms: u64,
    /// Highest index that is known to be committed.
    commit: Index,
    /// Highest index given to the driver to apply.
    applying: Index,
    /// Highest index that the driver applied.
    applied: Index,
    /// Last index of the newest snapshot.
    snapshot: Index,
    /// Index of the latest snapshot that the core requested from the driver.
    snapshot_requested: Index,
    tail: Tail,
}

/// An entry of the log, with the running sum from which the weight of any range of entries is one subtraction.
#[derive(Clone, Debug)]
struct Held {
    entry: Entry,
    /// Sum of the weights ([`Entry::weight`]) of this entry and all entries before it, in bytes. Counted from an arbitrary
    /// entry on, so only differences have a meaning.
    end: u64,
}

impl Log {
    /// Returns an empty log that begins after a snapshot.
    fn starting_after(snapshot: &SnapshotMeta) -> Self {
        let index = snapshot.last.index;
        Self {
            terms: TermRuns::after(snapshot.last),
            base: index,
            base_end: 0,
            marks: Marks::at(index, 0),
            entries: VecDeque::new(),
            last_time_ms: snapshot.time_ms,
            commit: index,
            applying: index,
            applied: index,
            snapshot: index,
            snapshot_requested: index,
            tail: Tail::durable_through(index),
        }
    }

    /// Returns the purge mark.
    pub(crate) fn floor(&self) -> EntryId {
        self.terms.floor()
    }

    pub(crate) fn last(&self) -> EntryId {
        self.terms.last()
    }

    pub(crate) fn last_time_ms(&self) -> u64 {
        self.last_time_ms
    }

    pub(crate) fn commit(&self) -> Index {
        self.commit
    }

    pub(crate) fn applying(&self) -> Index {
        self.applying
    }

    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    pub(crate) fn snapshot(&self) -> Index {
        self.snapshot
    }

    /// Returns the later of two indexes: that of the newest snapshot, and that of the latest request for a snapshot.
    pub(crate) fn snapshot_requested(&self) -> Index {
        self.snapshot.max(self.snapshot_requested)
    }

    /// Returns the highest index up to which the disk holds this log.
    pub(crate) fn durable(&self) -> Index {
        self.tail.durable()
    }

    /// Returns the first index that no write carries yet.
    pub(crate) fn unwritten(&self) -> Index {
        self.tail.unwritten()
    }

    /// Returns the time at which the oldest write in progress was issued.
    pub(crate) fn oldest_write_issued_at(&self) -> Option<Duration> {
        self.tail.oldest_write_issued_at()
    }

    /// Returns the write that makes `index` durable; `None` if `index` is durable already.
    ///
    /// # Errors
    /// Returns [`Unwritten`] if no write carries the entry yet.
    pub(crate) fn write_of(&self, index: Index) -> Result<Option<IoId>, Unwritten> {
        self.tail.write_of(index)
    }

    /// Returns the entry at `index`; `None` if the entry is not in memory or does not exist.
    fn held(&self, index: Index) -> Option<&Held> {
        let place = index.0.checked_sub(self.base.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// Returns all entries in memory.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|held| &held.entry)
    }

    /// Returns the term of the entry at `index`, also for the purge mark.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        self.terms.term_at(index)
    }

    /// Returns the ID of the entry before `next`; `None` if it is unknown because the entry is purged.
    pub(crate) fn id_before(&self, next: Index) -> Option<EntryId> {
        let index = Index(next.0 - 1);
        self.term_at(index).map(|term| EntryId { term, index })
    }

    /// Returns whether this log holds the entry or its purge mark is the entry.
    pub(crate) fn holds(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// Returns the entries from `from` on, which must be in memory, and their payload bytes. Returns at most `count`
    /// entries with at most `bytes` of payload in total; a larger first entry is returned alone.
    pub(crate) fn slice(&self, from: Index, count: usize, bytes: usize) -> (Vec<Entry>, usize) {
        assert!(from > self.base, "only entries in memory are returned: {from} of those after {}", self.base);
        let place = (from.0 - self.base.0 - 1) as usize;
        let end = self.entries.len().min(place.saturating_add(count));
        let mut taken = Vec::with_capacity(end.saturating_sub(place));
        let mut total = 0;
        for Held { entry, .. } in self.entries.range(place.min(end)..end) {
            let size = entry.payload.len();
            if !taken.is_empty() && total + size > bytes {
                break;
            }
            total += size;
            taken.push(entry.clone());
        }
        (taken, total)
    }

    /// Appends an entry.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.terms.push(entry.id);
        let end = self.end() + entry.weight();
        self.last_time_ms = entry.time_ms;
        self.entries.push_back(Held { entry, end });
    }

    /// Raises the commit index.
    pub(crate) fn commit_to(&mut self, index: Index) {
        assert!(index <= self.last().index, "only what is in the log commits: {index} of {}", self.last());
        assert!(index >= self.commit, "the commit index never falls: {index} after {}", self.commit);
        self.commit = index;
    }

    /// Records that the driver applied everything up to `index`.
    pub(crate) fn applied_to(&mut self, index: Index) {
        self.applied = self.applied.max(index.min(self.applying));
    }

    /// Records that a snapshot at `index` was requested from the driver.
    pub(crate) fn request_snapshot(&mut self, index: Index) {
        assert!(index <= self.applied, "a snapshot holds only applied entries: {index}, applied {}", self.applied);
        assert!(index <= self.durable(), "a snapshot is not ahead of the log on disk: {index} of {}", self.durable());
        self.snapshot_requested = index;
    }

    /// Records that the write `io` carries all unwritten entries.
    pub(crate) fn written(&mut self, io: IoId, now: Duration) {
        self.tail.written(io, self.last().index, now);
    }

    /// Records that every write up to `io` is durable.
    pub(crate) fn persisted(&mut self, io: IoId) {
        self.tail.persisted(io);
        assert!(self.durable() <= self.last().index, "no entry after the last is durable");
    }

    /// Replaces the log by a snapshot. The write that is issued next carries the snapshot.
    pub(crate) fn replace(&mut self, snapshot: &SnapshotMeta) {
        let (index, snapshot_requested) = (snapshot.last.index, self.snapshot_requested);
        assert!(index > self.commit, "a snapshot never replaces what is committed: {index}, commit {}", self.commit);
        let mut tail = std::mem::replace(&mut self.tail, Tail::durable_through(index));
        tail.replaced_through(index);
        *self = Self { tail, snapshot_requested, ..Self::starting_after(snapshot) };
    }

    /// Breaks an invariant, so that a test can check that the assertion fails.
    #[cfg(test)]
    pub(crate) fn corrupt_commit(&mut self, index: Index) {
        self.commit = index;
    }

    /// Breaks an invariant, so that a test can check that the assertion fails.
    #[cfg(test)]
    pub(crate) fn corrupt_floor(&mut self) {
        self.drop_through(self.last().index);
    }

    /// Breaks an invariant, so that a test can check that the assertion fails.
    #[cfg(test)]
    pub(crate) fn corrupt_base(&mut self) {
        (self.base, self.base_end) = (self.last().index, self.end());
        self.entries.clear();
    }

    /// Breaks an invariant, so that a test can check that the assertion fails.
    #[cfg(test)]
    pub(crate) fn corrupt_entries(&mut self) {
        self.entries.pop_back();
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for Log {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        // The sums of the entries in memory follow from the entries. Where the sums begin has no effect.
        let Self {
            terms,
            base,
            base_end,
            marks,
            entries,
            last_time_ms,
            commit,
            applying,
            applied,
            snapshot,
            snapshot_requested,
            tail,
        } = self;
        terms.hash(into);
        (base, last_time_ms, entries.len()).hash(into);
        for Held { entry, end: _ } in entries {
            entry.hash(into);
        }
        marks.distances(*base_end).for_each(|mark| mark.hash(into));
        (commit, applying, applied, snapshot, snapshot_requested).hash(into);
        tail.fingerprint(present, into);
    }
}
