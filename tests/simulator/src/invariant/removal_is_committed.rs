//! Removal is committed: a member considers itself removed only when a committed configuration does not contain it
//! (Raft thesis §4.2.2). If a member stopped earlier, a quorum could still need it.

use raft::{Index, MemberId, Payload};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

/// Checks a member that stops for good because of the configuration at `index`.
///
/// # Errors
/// Returns a violation if the configuration is not committed or still contains the member.
pub fn removed(ledger: &Ledger, id: MemberId, index: Index) -> Checked {
    let committed = ledger.committed_at(index).and_then(|committed| ledger.known(committed.id));
    let left_out = match committed.map(|known| &known.entry.payload) {
        Some(Payload::Configuration(configuration)) => !configuration.contains(id),
        _ => false,
    };
    ensure(left_out, "removal is committed", || {
        format!("{id} considers itself removed at {index}, but committed is {committed:?}")
    })
}
