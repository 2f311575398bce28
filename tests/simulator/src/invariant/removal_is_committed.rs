//! A member takes itself for removed only when a committed configuration leaves it out (Raft thesis §4.2.2; a member that
//! stops for less may be the one that a quorum needs).

use raft::{Index, MemberId, Payload};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

/// A member stops for good because of the configuration at `index`.
///
/// # Errors
/// Returns a violation if the configuration is not committed or still has the member.
pub fn removed(ledger: &Ledger, id: MemberId, index: Index) -> Checked {
    let committed = ledger.committed_at(index).and_then(|committed| ledger.known(committed.id));
    let left_out = match committed.map(|known| &known.entry.payload) {
        Some(Payload::Configuration(configuration)) => !configuration.contains(id),
        _ => false,
    };
    ensure(left_out, "removal is committed", || format!("{id} takes itself for removed at {index}: {committed:?}"))
}
