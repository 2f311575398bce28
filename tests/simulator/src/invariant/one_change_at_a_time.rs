//! One change at a time: a leader appends a configuration only after the configuration before it and an entry of the
//! leader's own term are committed (Raft thesis §4.1, §4.3; Ongaro's correction of 2015).

use raft::{Entry, MemberId, Payload};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

const NAME: &str = "one change at a time";

/// Checks an entry that a leader creates; the entry is not in the ledger yet. `commit` is the commit index of that
/// leader after the step, because the step that commits the preceding configuration may also create this entry.
///
/// # Errors
/// Returns a violation if the entry is a configuration, and the preceding configuration or an entry of the leader's
/// term is not committed.
pub fn created(ledger: &Ledger, id: MemberId, entry: &Entry, commit: raft::Index) -> Checked {
    let Payload::Configuration(_) = &entry.payload else { return Ok(()) };
    let member_log = ledger.member_log(id);
    let (before, _) = member_log.configuration();
    ensure(before <= commit, NAME, || {
        format!("{id} appends the configuration {} before that at {before} is committed: commit {commit}", entry.id)
    })?;
    let own = member_log.at(commit).term;
    ensure(own == entry.id.term, NAME, || {
        format!(
            "{id} appends the configuration {} before an entry of its term is committed: {commit} has {own}",
            entry.id
        )
    })
}
