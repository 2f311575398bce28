//! Disk of one member: its durable content, the steps of pending writes, and recovery at a start. Owns which data a
//! crash keeps and loses. Every write consists of steps that are done completely or not at all, as in a log of
//! checksummed WAL records. An install has up to three steps (term and vote, the snapshot, the end of the old log), so
//! that a crash may happen between any two. Does not own the order of writes (`state.rs`, `snapshots.rs`).

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use raft::{Entry, HardState, Index, IoId, Persist, SnapshotMeta};

use super::digest::Digest;

/// Content of a state machine: a digest of all applied entries, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct State(u128);

impl State {
    pub(crate) fn after(self, entry: &Entry) -> Self {
        Self(Digest::of((self.0, entry)))
    }

    pub(crate) fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Self {
        entries.into_iter().fold(Self::default(), Self::after)
    }
}

/// Snapshot: its metadata and the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Snapshot {
    pub(crate) meta: SnapshotMeta,
    pub(crate) state: State,
}

/// Durable content, which survives a crash.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) entries: Vec<Entry>,
    pub(crate) snapshot: Snapshot,
}

/// One step of a pending write.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Log(Persist),
    HardState(HardState),
    /// Stores the snapshot, as the first half of an install.
    Snapshot(Snapshot),
    /// Removes the old log, as the second half of an install. When this step is durable, the install is acknowledged.
    Reset(IoId),
    /// Removes the entries before this index, which a snapshot covers.
    Purge(Index),
}

impl Write {
    /// Returns the ID of the write whose last step this is; `None` for any other step.
    pub(crate) fn io(&self) -> Option<IoId> {
        match self {
            Self::Log(Persist { io, .. }) | Self::Reset(io) => Some(*io),
            Self::HardState(_) | Self::Snapshot(_) | Self::Purge(_) => None,
        }
    }
}

/// Leaves out the IDs of writes. The IDs increase with every write, so they would make equal states differ.
impl Hash for Write {
    fn hash<H: Hasher>(&self, into: &mut H) {
        match self {
            Self::Log(Persist { io: _, hard_state, entries }) => (0, hard_state, entries).hash(into),
            Self::HardState(hard_state) => (1, hard_state).hash(into),
            Self::Snapshot(snapshot) => (2, snapshot).hash(into),
            Self::Reset(_) => 3.hash(into),
            Self::Purge(first) => (4, first).hash(into),
        }
    }
}

impl Disk {
    pub(crate) fn execute(&mut self, write: Write) {
        match write {
            Write::Log(Persist { hard_state, entries, .. }) => {
                self.hard_state = hard_state.unwrap_or(self.hard_state);
                self.append(entries);
            }
            Write::HardState(hard_state) => self.hard_state = hard_state,
            Write::Snapshot(snapshot) => self.store_snapshot(snapshot),
            Write::Reset(_) => self.entries.clear(),
            Write::Purge(first) => self.entries.retain(|entry| entry.id.index >= first),
        }
    }

    /// Reads the entries from `first` to `last`.
    pub(crate) fn read(&self, first: Index, last: Index) -> Vec<Entry> {
        let range = first..=last;
        self.entries.iter().filter(|entry| range.contains(&entry.id.index)).cloned().collect()
    }

    /// Returns the time stamp of the entry at `index`, or of the snapshot that ends there; 0 if the disk holds neither.
    pub(crate) fn time_at(&self, index: Index) -> u64 {
        let Snapshot { meta, .. } = &self.snapshot;
        let in_log = self.entries.iter().find(|entry| entry.id.index == index).map(|entry| entry.time_ms);
        in_log.unwrap_or(if meta.last.index == index { meta.time_ms } else { 0 })
    }

    fn append(&mut self, entries: Vec<Entry>) {
        if let Some(first) = entries.first().map(|entry| entry.id.index) {
            self.entries.retain(|entry| entry.id.index < first);
        }
        self.entries.extend(entries);
    }

    /// Returns whether a write would leave no gap in the log.
    pub(crate) fn connects(&self, write: &Write) -> bool {
        let Write::Log(Persist { entries, .. }) = write else { return true };
        let last = self.entries.last().map_or(self.snapshot.meta.last.index, |entry| entry.id.index);
        entries.first().is_none_or(|first| first.id.index <= last.next())
    }

    /// Stores a snapshot, unless the stored snapshot is at least as new.
    pub(crate) fn store_snapshot(&mut self, snapshot: Snapshot) {
        if snapshot.meta.last.index > self.snapshot.meta.last.index {
            self.snapshot = snapshot;
        }
    }

    /// Finishes an install that a crash interrupted. Called when a member starts.
    pub(crate) fn finish_install(&mut self) {
        if !self.is_connected() {
            self.entries.clear();
        }
    }

    /// Returns whether the log continues the snapshot without a gap.
    fn is_connected(&self) -> bool {
        let last = self.snapshot.meta.last;
        let follows = self.entries.first().is_some_and(|first| first.id.index == last.index.next());
        follows || self.entries.iter().any(|entry| entry.id == last)
    }

    /// Returns the whole log that a start would find, from index 1. `committed` supplies the entries that the snapshot
    /// covers.
    pub(crate) fn log<'a>(&'a self, committed: &[Entry]) -> Cow<'a, [Entry]> {
        let covered = self.snapshot.meta.last.index;
        if covered == Index(0) {
            return Cow::Borrowed(&self.entries);
        }
        let mut log = committed[..covered.0 as usize].to_vec();
        if self.is_connected() {
            log.extend(self.entries.iter().filter(|entry| entry.id.index > covered).cloned());
        }
        Cow::Owned(log)
    }
}
