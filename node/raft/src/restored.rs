//! What a member finds on its disk when it starts. Owns the shape of a log whose older entries stay on the disk. Does not
//! own the check that the log is sound (`state/log.rs`).

use std::sync::Arc;

use crate::configuration::Configuration;
use crate::ids::{EntryId, Index, Term};
use crate::message::{Entry, HardState, Payload, SnapshotMeta};

/// Content of a member's disk when the member starts.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Term and vote.
    pub hard_state: HardState,
    /// Description of the newest snapshot. A member without a snapshot passes the default and sets the configuration
    /// with which it was bootstrapped; a member that joins a running cluster passes an empty configuration.
    pub snapshot: SnapshotMeta,
    /// The log. It holds the snapshot's last entry, or begins after that entry.
    pub log: RestoredLog,
}

/// The log on a member's disk, of which only the last entries are in memory. The core asks for earlier entries by
/// [`crate::Output::ReadLog`] and [`crate::Output::ApplyStored`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoredLog {
    /// The entry before the first one that can be read from the disk. It is at or before the snapshot's last entry.
    pub floor: EntryId,
    /// Index of the first entry of each term among the entries after `floor`, and the term. Both strictly increase. A
    /// first element that continues the term of `floor` may be given or left out.
    pub terms: Vec<(Index, Term)>,
    /// Configurations among the entries after `floor`, each with the index of its entry, in order.
    pub configurations: Vec<(Index, Arc<Configuration>)>,
    /// Indexes of some entries before `tail`, in order, each with the sum of the weights ([`Entry::weight`]) of the
    /// entries after `floor` up to that entry. From these sums the core estimates the weight of entries that are not in
    /// memory, so the distances between them are the error of its estimates. The last one should be that of the entry
    /// before `tail`.
    pub marks: Vec<(Index, u64)>,
    /// The last entries of the log, consecutive. Empty only if no entry follows `floor`.
    pub tail: Vec<Entry>,
}

impl Restored {
    /// Returns the content of a disk whose log consists of `entries`, all of which are kept in memory. The first entry
    /// may be before the snapshot's last entry, or one index after it.
    #[must_use]
    pub fn of_entries(hard_state: HardState, snapshot: SnapshotMeta, entries: Vec<Entry>) -> Self {
        let log = RestoredLog::of_entries(snapshot.last, entries);
        Self { hard_state, snapshot, log }
    }
}

impl RestoredLog {
    /// Returns the log that consists of `entries`, next to a snapshot that ends with `last`.
    fn of_entries(last: EntryId, mut entries: Vec<Entry>) -> Self {
        let Some(first) = entries.first().map(|entry| entry.id) else {
            return Self { floor: last, ..Self::default() };
        };
        let floor = if first.index <= last.index {
            // The term of the entry before `first` is unknown, so `first` takes its place.
            entries.remove(0).id
        } else if first.index == last.index.next() {
            last
        } else {
            // The core refuses the log, because entries are missing.
            EntryId { index: Index(first.index.0 - 1), ..first }
        };
        let (mut terms, mut configurations) = (Vec::new(), Vec::new());
        let mut term = floor.term;
        for Entry { id, payload, .. } in &entries {
            if id.term != term {
                term = id.term;
                terms.push((id.index, term));
            }
            if let Payload::Configuration(configuration) = payload {
                configurations.push((id.index, Arc::clone(configuration)));
            }
        }
        Self { floor, terms, configurations, marks: Vec::new(), tail: entries }
    }
}
