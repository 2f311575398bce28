//! One change at a time: a leader appends a configuration only when the one before it is committed, and so is an entry
//! of its own term (Raft thesis §4.1, §4.3; Ongaro's correction of 2015).

use raft::{Entry, MemberId, Payload};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

const NAME: &str = "one change at a time";

/// A leader creates an entry; it is not in the ledger yet. A change may stand in the step that commits what it waited
/// for, so the leader's own word counts for what is committed.
///
/// # Errors
/// Returns a violation if it is a configuration that comes too early.
pub fn created(ledger: &Ledger, id: MemberId, entry: &Entry, commit: raft::Index) -> Checked {
    let Payload::Configuration(_) = &entry.payload else { return Ok(()) };
    let ghost = ledger.ghost(id);
    let (before, _) = ghost.configuration();
    ensure(before <= commit, NAME, || {
        format!("{id} appends the configuration {}, that of index {before} is not committed: {commit}", entry.id)
    })?;
    let own = ghost.at(commit).term;
    ensure(own == entry.id.term, NAME, || {
        format!("{id} appends the configuration {} with nothing of its term committed but {commit} of {own}", entry.id)
    })
}
