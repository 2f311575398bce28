//! The configuration in force is always the latest one in the log, committed or not (Raft thesis §4.1;
//! openraft#1808).

use raft::{MemberId, Raft};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

/// Checks the configuration of a member after a step.
///
/// # Errors
/// Returns a violation if the member uses a configuration other than the latest one in its log.
pub fn stepped(ledger: &Ledger, id: MemberId, raft: &Raft) -> Checked {
    let (used, at) = raft.configuration();
    let (index, logged) = ledger.member_log(id).configuration();
    ensure(at == index && *used == **logged, "the configuration follows the log", || {
        format!("{id} uses {used:?} of index {at}, the latest in its log is {logged:?} of index {index}")
    })
}
