//! Leader append-only: a leader never overwrites or deletes entries in its log; it only appends new ones (Raft thesis
//! figure 3.2, §3.5).

use raft::{Entry, MemberId, Role, SnapshotMeta, SoftState};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

const NAME: &str = "leader append-only";

/// Checks entries that a member writes.
///
/// # Errors
/// Returns a violation if the member leads and its log already has entries at the indexes of `entries`.
pub fn written(ledger: &Ledger, id: MemberId, state: SoftState, entries: &[Entry]) -> Checked {
    let (Some(first), true) = (entries.first(), leads_on(ledger, id, state)) else { return Ok(()) };
    let last = ledger.member_log(id).last();
    ensure(first.id.index > last, NAME, || {
        format!("{id}, which leads term {}, writes {} although its log ends at {last}", state.term, first.id)
    })
}

/// Checks a member that replaces its log by a snapshot.
///
/// # Errors
/// Returns a violation if the member leads.
pub fn installed(ledger: &Ledger, id: MemberId, state: SoftState, meta: &SnapshotMeta) -> Checked {
    ensure(!leads_on(ledger, id, state), NAME, || {
        format!("{id}, which leads term {}, replaces its log by a snapshot at {}", state.term, meta.last)
    })
}

/// Returns whether the member led before this step and leads the same term after the step.
fn leads_on(ledger: &Ledger, id: MemberId, state: SoftState) -> bool {
    let member_log = ledger.member_log(id);
    state.role == Role::Leader && member_log.role == Some(Role::Leader) && member_log.term == state.term
}
