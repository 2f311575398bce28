//! The log in memory: entries from the purge mark to the last, and how far they are written, durable, committed and applied.
//! Owns those marks and their order; who may move them is decided elsewhere.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use crate::config::ConfigError;
use crate::fingerprint::Present;
use crate::ids::{EntryId, Index, IoId, Term};
use crate::log::tail::Tail;
use crate::message::{Entry, SnapshotMeta};

pub(crate) mod conflict;
pub(crate) mod purge;
pub(crate) mod tail;

/// ```text
///   purged │ kept                                     last
///   ───────┼──────────────┬────────────┬───────────────┤
///        base          applied      commit
///                           durable ── anywhere from base to last
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Log {
    /// The last entry that is not kept; always committed.
    base: EntryId,
    base_time_ms: u64,
    entries: VecDeque<Entry>,
    /// Highest index known to be committed.
    commit: Index,
    /// Highest index given to the driver to apply.
    handed: Index,
    /// Highest index that the driver applied.
    applied: Index,
    /// Last index of the newest snapshot.
    snapshot: Index,
    pub(crate) tail: Tail,
}

impl Log {
    /// The log as the disk holds it: all of it durable, committed as far as the snapshot reaches.
    pub(crate) fn restored(snapshot: &SnapshotMeta, entries: Vec<Entry>) -> Result<Self, ConfigError> {
        let mut log = Self::behind(snapshot);
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
        let mut entries = VecDeque::from(entries);
        if first.index <= snapshot.last.index {
            // The first entry's predecessor is unknown, so the first becomes the mark itself.
            let place = (snapshot.last.index.0 - first.index.0) as usize;
            if entries[place].id != snapshot.last {
                // A snapshot was installed over a log that had gone another way, and the crash came before the log's end.
                return Ok(log);
            }
            if let Some(mark) = entries.pop_front() {
                log.base = mark.id;
                log.base_time_ms = mark.time_ms;
            }
        } else if first.term < snapshot.last.term {
            let (expected, term) = (snapshot.last.index.next(), snapshot.last.term);
            return Err(ConfigError::BrokenLog { expected, term, found: first });
        }
        log.entries = entries;
        log.tail = Tail::durable_through(log.last().index);
        Ok(log)
    }

    /// An empty log behind a snapshot.
    fn behind(snapshot: &SnapshotMeta) -> Self {
        let index = snapshot.last.index;
        Self {
            base: snapshot.last,
            base_time_ms: snapshot.time_ms,
            entries: VecDeque::new(),
            commit: index,
            handed: index,
            applied: index,
            snapshot: index,
            tail: Tail::durable_through(index),
        }
    }

    pub(crate) fn fingerprint(&self, durable: IoId, present: Present, into: &mut impl Hasher) {
        let Self { base, base_time_ms, entries, commit, handed, applied, snapshot, tail } = self;
        (base, base_time_ms, entries, commit, handed, applied, snapshot).hash(into);
        tail.fingerprint(durable, present, into);
    }

    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.back().map_or(self.base, |entry| entry.id)
    }

    pub(crate) fn last_time_ms(&self) -> u64 {
        self.entries.back().map_or(self.base_time_ms, |entry| entry.time_ms)
    }

    pub(crate) fn commit(&self) -> Index {
        self.commit
    }

    pub(crate) fn handed(&self) -> Index {
        self.handed
    }

    pub(crate) fn applied(&self) -> Index {
        self.applied
    }

    pub(crate) fn snapshot(&self) -> Index {
        self.snapshot
    }

    /// Highest index up to which the log is on disk as it stands here.
    pub(crate) fn durable(&self) -> Index {
        self.tail.durable()
    }

    /// All entries that are kept.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// The entry at `index`, if it is kept.
    pub(crate) fn entry(&self, index: Index) -> Option<&Entry> {
        let place = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// The term at `index`; the purge mark's is known too.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index { Some(self.base.term) } else { self.entry(index).map(|entry| entry.id.term) }
    }

    /// The time stamp at `index`; the purge mark's is known too.
    pub(crate) fn time_at(&self, index: Index) -> Option<u64> {
        if index == self.base.index { Some(self.base_time_ms) } else { self.entry(index).map(|entry| entry.time_ms) }
    }

    /// The entry before `next`, if it is known.
    pub(crate) fn id_before(&self, next: Index) -> Option<EntryId> {
        let index = Index(next.0 - 1);
        self.term_at(index).map(|term| EntryId { term, index })
    }

    /// Whether the entry is in this log.
    pub(crate) fn holds(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// Entries from `from` on: at most `count`, and at most `bytes` of payload unless the first alone is larger.
    pub(crate) fn slice(&self, from: Index, count: usize, bytes: usize) -> (Vec<Entry>, usize) {
        let place = from.0.saturating_sub(self.base.index.0 + 1) as usize;
        let end = self.entries.len().min(place.saturating_add(count));
        let mut taken = Vec::with_capacity(end.saturating_sub(place));
        let mut total = 0;
        for entry in self.entries.range(place.min(end)..end) {
            let size = entry.payload.len();
            if !taken.is_empty() && total + size > bytes {
                break;
            }
            total += size;
            taken.push(entry.clone());
        }
        (taken, total)
    }

    /// Adds an entry behind the last one.
    pub(crate) fn push(&mut self, entry: Entry) {
        let last = self.last();
        assert!(entry.id.index == last.index.next(), "the log has no gaps: {} follows {last}", entry.id);
        assert!(entry.id.term >= last.term, "terms never fall along the log: {} follows {last}", entry.id);
        self.entries.push_back(entry);
    }

    /// Moves the commit mark forward.
    pub(crate) fn commit_to(&mut self, index: Index) {
        assert!(index <= self.last().index, "only what is in the log commits: {index} of {}", self.last());
        assert!(index >= self.commit, "the commit index never falls: {index} after {}", self.commit);
        self.commit = index;
    }

    /// Committed entries not given out yet, at most `count` of them with about `bytes` of payload; now they are.
    pub(crate) fn hand_out(&mut self, count: usize, bytes: usize) -> Vec<Entry> {
        let waiting = (self.commit.0 - self.handed.0) as usize;
        let (entries, _) = self.slice(self.handed.next(), count.min(waiting), bytes);
        assert!(entries.len() <= waiting, "only what is committed is handed out");
        if let Some(last) = entries.last() {
            self.handed = last.id.index;
        }
        entries
    }

    /// The driver applied everything up to `index`.
    pub(crate) fn applied_to(&mut self, index: Index) {
        self.applied = self.applied.max(index.min(self.handed));
    }

    /// A snapshot replaces everything; it is durable once `io` is.
    pub(crate) fn replace(&mut self, snapshot: &SnapshotMeta, mut tail: Tail) {
        assert!(snapshot.last.index > self.commit, "a snapshot never takes back what is committed");
        tail.replaced_through(snapshot.last.index);
        *self = Self { tail, ..Self::behind(snapshot) };
    }

    /// Payload bytes behind the commit mark, each entry with a small surcharge.
    pub(crate) fn uncommitted_bytes(&self) -> usize {
        let place = (self.commit.0 - self.base.index.0) as usize;
        self.entries.range(place..).map(weight).sum()
    }
}

/// What an entry counts towards the limit of uncommitted bytes: an empty one is not free.
pub(crate) fn weight(entry: &Entry) -> usize {
    const SURCHARGE: usize = 64;
    entry.payload.len() + SURCHARGE
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
