//! What a start learns about the log without keeping it in memory. Owns the terms, configurations and weights of the entries that
//! are only on disk, and the bound on the entries that are returned. Does not own their places (`extents.rs`).

use std::collections::VecDeque;
use std::sync::Arc;

use raft::{Configuration, Entry, EntryId, Index, Payload, RestoredLog, Term};

use crate::wal::extents::{Extents, weight};

/// The log on disk, except for the payloads. The last entries are in [`crate::Recovered::raft`]; [`crate::Storage::read_log`]
/// reads earlier ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOutline {
    /// The entry before the first one that can be read, or, if the term of that entry is unknown, the first one that can be read.
    /// It is at or before the snapshot's last entry.
    pub floor: EntryId,
    /// Index of the first entry of each term among the entries after `floor`, and the term. Both strictly increase.
    pub terms: Vec<(Index, Term)>,
    /// Configurations among the entries after `floor`, each with the index of its entry, in order.
    pub configurations: Vec<(Index, Arc<Configuration>)>,
    /// Indexes of some entries, in order, each with at least the weight of the entries after `floor` up to that entry, in bytes:
    /// payloads and a surcharge of 64 bytes for each entry. All are before the first entry that the start returns, and the last
    /// one is right before it.
    pub marks: Vec<(Index, u64)>,
}

impl LogOutline {
    /// The outline of an empty log after `base`.
    pub(crate) fn after(base: EntryId) -> Self {
        Self { floor: base, ..Self::default() }
    }

    /// What a core needs of a log whose last entries are `tail`.
    pub(crate) fn with_tail(&self, mut tail: Vec<Entry>) -> RestoredLog {
        let Self { floor, terms, configurations, marks } = self.clone();
        // The floor may be the first entry that can be read.
        tail.retain(|entry| entry.id.index > floor.index);
        RestoredLog { floor, terms, configurations, marks, tail }
    }

    /// Term of the entry at `index`; `None` if the entry is before `floor`. The caller checks that the log does not end before it.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        let runs = self.terms.partition_point(|(first, _)| *first <= index);
        let run = runs.checked_sub(1).and_then(|run| self.terms.get(run)).map_or(self.floor.term, |(_, term)| *term);
        (index >= self.floor.index).then_some(run)
    }
}

/// Builds the outline from entries in the order in which they were written.
#[derive(Debug)]
pub(crate) struct OutlineBuilder {
    outline: LogOutline,
    /// Whether the term of the floor is known. It is unknown if the first entry superseded the one that a segment's header names.
    is_floor_known: bool,
    last: EntryId,
    tail: VecDeque<Entry>,
    tail_weight: u64,
    /// Maximum weight of `tail`, in bytes. The last entry is in `tail` whatever its weight.
    tail_bound: u64,
}

impl OutlineBuilder {
    pub(crate) fn new(base: EntryId, tail_bound: u64) -> Self {
        let outline = LogOutline::after(base);
        Self { outline, is_floor_known: true, last: base, tail: VecDeque::new(), tail_weight: 0, tail_bound }
    }

    pub(crate) fn last(&self) -> EntryId {
        self.last
    }

    /// Begins anew after the entry at `index`, whose term is unknown, because the log before it cannot be read.
    pub(crate) fn begin_after(&mut self, index: Index) {
        let floor = EntryId { term: Term(0), index };
        *self = Self { is_floor_known: floor == EntryId::default(), ..Self::new(floor, self.tail_bound) };
    }

    /// Adds an entry. It supersedes the old entries at and above its index.
    pub(crate) fn push(&mut self, entry: Entry) {
        let EntryId { index, term } = entry.id;
        let LogOutline { floor, terms, configurations, .. } = &mut self.outline;
        if index <= floor.index {
            *floor = EntryId { index: Index(index.0 - 1), term: Term(0) };
            self.is_floor_known = *floor == EntryId::default();
        }
        terms.truncate(terms.partition_point(|(first, _)| *first < index));
        if terms.last().is_none_or(|(_, last)| *last != term) {
            terms.push((index, term));
        }
        configurations.truncate(configurations.partition_point(|(placed, _)| *placed < index));
        if let Payload::Configuration(configuration) = &entry.payload {
            configurations.push((index, Arc::clone(configuration)));
        }
        while let Some(superseded) = self.tail.pop_back_if(|last| last.id.index >= index) {
            self.tail_weight -= weight(&superseded);
        }
        self.tail_weight += weight(&entry);
        self.last = entry.id;
        self.tail.push_back(entry);
        while self.tail_weight > self.tail_bound
            && self.tail.len() > 1
            && let Some(first) = self.tail.pop_front()
        {
            self.tail_weight -= weight(&first);
        }
    }

    /// Returns the outline and the last entries of a log with these extents. `snapshot` is the last entry of the newest snapshot.
    pub(crate) fn finish(self, extents: &Extents, snapshot: EntryId) -> (LogOutline, Vec<Entry>) {
        let Self { mut outline, is_floor_known, tail, tail_weight, .. } = self;
        let tail = Vec::from(tail);
        if outline.floor.index == snapshot.index {
            outline.floor = snapshot;
        } else if !is_floor_known {
            // The first entry becomes the floor, because the term of the entry before it is unknown.
            let (index, term) = outline.terms.remove(0);
            outline.floor = EntryId { index, term };
            outline.configurations.retain(|(placed, _)| *placed > index);
        }
        let Some(before) = tail.first().map(|first| Index(first.id.index.0 - 1)) else { return (outline, tail) };
        let start = extents.iter().next().map_or(0, |extent| extent.weight_before);
        let sums = extents.iter().map(|extent| (Index(extent.first.0 - 1), extent.weight_before - start));
        outline.marks = sums.filter(|(index, _)| outline.floor.index < *index && *index < before).collect();
        if outline.floor.index < before {
            outline.marks.push((before, extents.weight() - start - tail_weight));
        }
        debug_assert!(
            outline.marks.is_sorted_by(|one, two| one.0 < two.0 && one.1 <= two.1),
            "weights grow along the log: {:?}",
            outline.marks
        );
        (outline, tail)
    }
}
