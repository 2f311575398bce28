//! Lease gate: a leader may answer a read without a round of messages only while no other member has been elected in a
//! later term (Raft thesis §6.4.1; raft-rs#234). Clocks must keep to their drift bound, as they do in every run that
//! enables leader leases.

use raft::{MemberId, ReadContext, Term};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

/// The latest read that each member began; forgotten when the member receives a message.
#[derive(Debug, Default)]
pub struct LeaseGate {
    begun: std::collections::BTreeMap<MemberId, ReadContext>,
}

impl LeaseGate {
    /// Notes that a member begins a read.
    pub fn began(&mut self, id: MemberId, context: ReadContext) {
        self.begun.insert(id, context);
    }

    /// Notes that a member received a message. The message may have confirmed the member's read. If so, the answer to
    /// the read proves nothing about the lease.
    pub fn received(&mut self, id: MemberId) {
        self.begun.remove(&id);
    }

    /// Checks that a member which leads `term` may answer a read.
    ///
    /// # Errors
    /// Returns a violation if the member confirmed the read by its lease and another member was elected meanwhile.
    pub fn ready(&self, ledger: &Ledger, id: MemberId, context: ReadContext, term: Term) -> Checked {
        if self.begun.get(&id) != Some(&context) {
            return Ok(());
        }
        let later = ledger.leaderships.keys().next_back().copied().filter(|later| *later > term);
        ensure(later.is_none(), "lease gate", || {
            format!("{id} answers {context} by its lease of term {term}, but {later:?} has a leader")
        })
    }
}
