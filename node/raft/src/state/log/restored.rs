//! The log as a start finds it. Owns the check that it is sound and fits to the snapshot. Does not own the shape of what
//! is found (`restored.rs` of the crate).

use crate::config::ConfigError;
use crate::ids::{EntryId, Index};
use crate::message::{Entry, SnapshotMeta};
use crate::restored::RestoredLog;
use crate::state::log::marks::Marks;
use crate::state::log::tail::Tail;
use crate::state::log::term_runs::TermRuns;
use crate::state::log::{Held, Log};

impl Log {
    /// Returns the log as restored from the disk. All entries are durable, and entries up to the snapshot are
    /// committed.
    ///
    /// # Errors
    /// Returns [`ConfigError::BrokenLog`] if an entry is missing or terms decrease; no log was created.
    pub(crate) fn restored(snapshot: &SnapshotMeta, found: RestoredLog) -> Result<Self, ConfigError> {
        let RestoredLog { floor, terms, configurations: _, marks: placed, tail } = found;
        consecutive(&tail)?;
        let base = tail.first().map_or(floor.index, |first| Index(first.id.index.0.saturating_sub(1)));
        let last = tail.last().map_or(floor, |entry| entry.id);
        let runs = runs(floor, &terms, last, &tail)?;
        if last.index < snapshot.last.index {
            return Ok(Self::starting_after(snapshot));
        }
        if floor.index > snapshot.last.index || base < floor.index {
            let first = tail.first().map_or(floor, |entry| entry.id);
            return Err(broken(snapshot.last, first));
        }
        if runs.term_at(snapshot.last.index) != Some(snapshot.last.term) {
            // A snapshot replaced a log that disagreed with it, and a crash prevented the removal of that log.
            return Ok(Self::starting_after(snapshot));
        }
        let mut marks = Marks::at(floor.index, 0);
        for (index, end) in placed.into_iter().filter(|(index, _)| *index <= base) {
            marks.place(index, end);
        }
        let base_end = marks.end_at(base);
        let mut log = Self { terms: runs, base, base_end, marks, ..Self::starting_after(snapshot) };
        log.entries.reserve(tail.len());
        for entry in tail {
            let end = log.end() + entry.weight();
            log.last_time_ms = entry.time_ms;
            log.entries.push_back(Held { entry, end });
        }
        log.tail = Tail::durable_through(log.last().index);
        Ok(log)
    }
}

/// Returns the runs of terms after `floor` up to `last`.
fn runs(
    floor: EntryId,
    terms: &[(Index, crate::ids::Term)],
    last: EntryId,
    tail: &[Entry],
) -> Result<TermRuns, ConfigError> {
    let mut before = floor;
    let mut firsts = Vec::with_capacity(terms.len());
    for (index, term) in terms {
        let id = EntryId { term: *term, index: *index };
        let continues = firsts.is_empty() && id.term == floor.term;
        if id.index <= before.index || id.index > last.index || !(id.term > before.term || continues) {
            return Err(broken(before, id));
        }
        before = id;
        if !continues {
            firsts.push(id);
        }
    }
    let runs = TermRuns::restored(floor, &firsts, last.index);
    match tail.iter().find(|entry| runs.term_at(entry.id.index) != Some(entry.id.term)) {
        Some(entry) if entry.id.index > floor.index => Err(broken(before, entry.id)),
        _ => Ok(runs),
    }
}

fn consecutive(entries: &[Entry]) -> Result<(), ConfigError> {
    for pair in entries.windows(2) {
        let (one, two) = (pair[0].id, pair[1].id);
        if two.index != one.index.next() || two.term < one.term {
            return Err(broken(one, two));
        }
    }
    Ok(())
}

/// Returns the error for `found`, where the entry after `before` was expected.
fn broken(before: EntryId, found: EntryId) -> ConfigError {
    ConfigError::BrokenLog { expected: before.index.next(), term: before.term, found }
}
