//! The log in memory: the entries after the purge mark, and how far they are written, durable, committed and applied.
//! Owns these indexes, the order among them, and the weights of the entries. Does not own when the indexes advance
//! (`replication`, `snapshot`, `flush.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::ConfigError;
use crate::ids::{EntryId, Index, IoId, Term};
use crate::message::{Entry, SnapshotMeta};
#[cfg(feature = "fingerprint")]
use crate::present::{Fingerprint, Hash, Hasher, Present};
use crate::state::log::tail::{Tail, Unwritten};
use crate::state::log::term_runs::TermRuns;

pub(crate) mod conflict;
pub(crate) mod purge;
pub(crate) mod tail;
pub(crate) mod term_runs;

#[cfg(test)]
mod naive;

/// The log and its indexes.
///
/// ```text
///   purged | kept                                     last
///   -------+--------------+------------+---------------+
///        floor         applied      commit
///                           durable -- anywhere from floor to last
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The purge mark, and the terms of all entries after it. The purge mark is the last entry that was purged. It is
    /// always committed.
    terms: TermRuns,
    /// Time stamp of the entry at the purge mark.
    floor_time_ms: u64,
    /// `end` of the entry at the purge mark, as in [`Held`].
    floor_end: u64,
    entries: VecDeque<Held>,
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
    /// Sum of the weights ([`weight`]) of this entry and all entries before it, in bytes. Counted from an arbitrary
    /// entry on, so only differences have a meaning.
    end: u64,
}

impl Log {
    /// Returns the log as restored from the disk. All entries are durable, and entries up to the snapshot are
    /// committed.
    ///
    /// # Errors
    /// Returns [`ConfigError::BrokenLog`] if an entry is missing or terms decrease; no log was created.
    pub(crate) fn restored(snapshot: &SnapshotMeta, entries: Vec<Entry>) -> Result<Self, ConfigError> {
        let mut log = Self::starting_after(snapshot);
        consecutive(&entries)?;
        let Some(first) = entries.first().map(|entry| entry.id) else { return Ok(log) };
        if first.index > snapshot.last.index.next() {
            let (expected, term) = (snapshot.last.index.next(), snapshot.last.term);
            return Err(ConfigError::BrokenLog { expected, term, found: first });
        }
        let last = entries.last().map_or(first, |entry| entry.id);
        if last.index < snapshot.last.index {
            return Ok(log);
        }
        let mut entries = entries.into_iter();
        if first.index <= snapshot.last.index {
            // The term of the entry before `first` is unknown, so `first` becomes the purge mark.
            let place = (snapshot.last.index.0 - first.index.0) as usize;
            if entries.as_slice()[place].id != snapshot.last {
                // A snapshot replaced a log that disagreed with it, and a crash prevented the removal of that log.
                return Ok(log);
            }
            if let Some(mark) = entries.next() {
                log.terms = TermRuns::after(mark.id);
                log.floor_time_ms = mark.time_ms;
            }
        } else if first.term < snapshot.last.term {
            let (expected, term) = (snapshot.last.index.next(), snapshot.last.term);
            return Err(ConfigError::BrokenLog { expected, term, found: first });
        }
        log.entries.reserve(entries.len());
        entries.for_each(|entry| log.push(entry));
        log.tail = Tail::durable_through(log.last().index);
        Ok(log)
    }

    /// Returns an empty log that begins after a snapshot.
    fn starting_after(snapshot: &SnapshotMeta) -> Self {
        let index = snapshot.last.index;
        Self {
            terms: TermRuns::after(snapshot.last),
            floor_time_ms: snapshot.time_ms,
            floor_end: 0,
            entries: VecDeque::new(),
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
        self.entries.back().map_or(self.floor_time_ms, |held| held.entry.time_ms)
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

    /// Returns all entries that are kept.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|held| &held.entry)
    }

    /// Returns whether exactly the entries after the purge mark are kept.
    pub(crate) fn is_whole(&self) -> bool {
        let (floor, last) = (self.floor(), self.last());
        let end = self.entries.back().map_or(floor, |held| held.entry.id);
        end == last && self.entries.len() as u64 == last.index.0 - floor.index.0
    }

    /// Returns the entry at `index`; `None` if the entry is purged or does not exist.
    fn held(&self, index: Index) -> Option<&Held> {
        let place = index.0.checked_sub(self.floor().index.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// Returns the term of the entry at `index`, also for the purge mark.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        self.terms.term_at(index)
    }

    /// Returns the time stamp of the entry at `index`, also for the purge mark.
    pub(crate) fn time_at(&self, index: Index) -> Option<u64> {
        let is_floor = index == self.floor().index;
        if is_floor { Some(self.floor_time_ms) } else { self.held(index).map(|held| held.entry.time_ms) }
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

    /// Returns the entries from `from` on, and their payload bytes. Returns at most `count` entries with at most
    /// `bytes` of payload in total; a larger first entry is returned alone.
    pub(crate) fn slice(&self, from: Index, count: usize, bytes: usize) -> (Vec<Entry>, usize) {
        let place = from.0.saturating_sub(self.floor().index.0 + 1) as usize;
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
        let end = self.end() + weight(&entry);
        self.entries.push_back(Held { entry, end });
    }

    /// Raises the commit index.
    pub(crate) fn commit_to(&mut self, index: Index) {
        assert!(index <= self.last().index, "only what is in the log commits: {index} of {}", self.last());
        assert!(index >= self.commit, "the commit index never falls: {index} after {}", self.commit);
        self.commit = index;
    }

    /// Returns the next committed entries for the driver to apply: at most `count` entries, with at most `bytes` of
    /// payload unless the first entry alone is larger.
    pub(crate) fn take_committed(&mut self, count: usize, bytes: usize) -> Vec<Entry> {
        let waiting = (self.commit.0 - self.applying.0) as usize;
        let (entries, _) = self.slice(self.applying.next(), count.min(waiting), bytes);
        assert!(entries.len() <= waiting, "only committed entries are applied");
        if let Some(last) = entries.last() {
            self.applying = last.id.index;
        }
        entries
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
        self.terms.purge(self.last().index);
        self.entries.clear();
    }

    /// Breaks an invariant, so that a test can check that the assertion fails.
    #[cfg(test)]
    pub(crate) fn corrupt_entries(&mut self) {
        self.entries.pop_back();
    }

    /// Returns the weight of all entries after the commit index ([`weight`]).
    pub(crate) fn uncommitted_bytes(&self) -> usize {
        let committed = self.held(self.commit).map_or(self.floor_end, |held| held.end);
        (self.end() - committed) as usize
    }

    /// Returns the `end` of the last entry, as in [`Held`].
    fn end(&self) -> u64 {
        self.entries.back().map_or(self.floor_end, |held| held.end)
    }
}

#[cfg(feature = "fingerprint")]
impl Fingerprint for Log {
    fn fingerprint(&self, present: Present, into: &mut impl Hasher) {
        // Terms and sums follow from the purge mark and the entries. Where the sums begin has no effect.
        let Self {
            terms,
            floor_time_ms,
            floor_end: _,
            entries,
            commit,
            applying,
            applied,
            snapshot,
            snapshot_requested,
            tail,
        } = self;
        (terms.floor(), floor_time_ms, entries.len()).hash(into);
        for Held { entry, end: _ } in entries {
            entry.hash(into);
        }
        (commit, applying, applied, snapshot, snapshot_requested).hash(into);
        tail.fingerprint(present, into);
    }
}

/// Returns the bytes by which an entry counts towards the limit of uncommitted bytes: its payload and a surcharge,
/// because even an empty entry uses memory.
fn weight(entry: &Entry) -> u64 {
    const SURCHARGE: u64 = 64;
    entry.payload.len() as u64 + SURCHARGE
}

fn consecutive(entries: &[Entry]) -> Result<(), ConfigError> {
    for pair in entries.windows(2) {
        let (one, two) = (pair[0].id, pair[1].id);
        if two.index != one.index.next() || two.term < one.term {
            return Err(ConfigError::BrokenLog { expected: one.index.next(), term: one.term, found: two });
        }
    }
    Ok(())
}
