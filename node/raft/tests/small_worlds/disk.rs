//! A disk, what it is asked for and has not done yet, and what a start makes of it. Owns what a crash keeps and loses:
//! every write falls into steps, each of which is done or not, as in a log of checksummed records. A snapshot is
//! installed in up to three of them (term and vote, the snapshot, the end of the old log), so that a crash may come
//! between any two.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use raft::{Entry, HardState, Index, IoId, Persist, SnapshotMeta};

use crate::digest::Digest;

/// A state machine's content: a digest of all that was applied, in order.
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

/// A snapshot: what it says of the log, and the state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Snapshot {
    pub(crate) meta: SnapshotMeta,
    pub(crate) state: State,
}

/// What survives a crash.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) entries: Vec<Entry>,
    pub(crate) snapshot: Snapshot,
}

/// One step of a write under way.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    Log(Persist),
    HardState(HardState),
    /// The first half of an install.
    Snapshot(Snapshot),
    /// The second: the old log ends, and the whole is acknowledged.
    Reset(IoId),
    /// Entries before this one are covered by a snapshot.
    Purge(Index),
}

impl Write {
    /// Which write is done with this step, if one is.
    pub(crate) fn io(&self) -> Option<IoId> {
        match self {
            Self::Log(Persist { io, .. }) | Self::Reset(io) => Some(*io),
            Self::HardState(_) | Self::Snapshot(_) | Self::Purge(_) => None,
        }
    }
}

/// Names of writes do not count: they follow each other.
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
    pub(crate) fn perform(&mut self, write: Write) {
        match write {
            Write::Log(Persist { hard_state, entries, .. }) => {
                self.hard_state = hard_state.unwrap_or(self.hard_state);
                self.append(entries);
            }
            Write::HardState(hard_state) => self.hard_state = hard_state,
            Write::Snapshot(snapshot) => self.keep(snapshot),
            Write::Reset(_) => self.entries.clear(),
            Write::Purge(first) => self.entries.retain(|entry| entry.id.index >= first),
        }
    }

    fn append(&mut self, entries: Vec<Entry>) {
        if let Some(first) = entries.first().map(|entry| entry.id.index) {
            self.entries.retain(|entry| entry.id.index < first);
        }
        self.entries.extend(entries);
    }

    /// Whether a write goes on where the log ends, or before.
    pub(crate) fn connects(&self, write: &Write) -> bool {
        let Write::Log(Persist { entries, .. }) = write else { return true };
        let last = self.entries.last().map_or(self.snapshot.meta.last.index, |entry| entry.id.index);
        entries.first().is_none_or(|first| first.id.index <= last.next())
    }

    /// The newest snapshot stays.
    pub(crate) fn keep(&mut self, snapshot: Snapshot) {
        if snapshot.meta.last.index > self.snapshot.meta.last.index {
            self.snapshot = snapshot;
        }
    }

    /// A start finishes an install that a crash interrupted.
    pub(crate) fn finish_install(&mut self) {
        if !self.is_connected() {
            self.entries.clear();
        }
    }

    /// Whether the log goes on from the snapshot.
    fn is_connected(&self) -> bool {
        let last = self.snapshot.meta.last;
        let follows = self.entries.first().is_some_and(|first| first.id.index == last.index.next());
        follows || self.entries.iter().any(|entry| entry.id == last)
    }

    /// The whole log that a start would find, from index 1; what the snapshot covers is what was `decided`.
    pub(crate) fn log<'a>(&'a self, decided: &[Entry]) -> Cow<'a, [Entry]> {
        let covered = self.snapshot.meta.last.index;
        if covered == Index(0) {
            return Cow::Borrowed(&self.entries);
        }
        let mut log = decided[..covered.0 as usize].to_vec();
        if self.is_connected() {
            log.extend(self.entries.iter().filter(|entry| entry.id.index > covered).cloned());
        }
        Cow::Owned(log)
    }
}
