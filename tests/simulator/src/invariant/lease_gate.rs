//! Lease gate: a leader answers a read without a round of messages only while no other member was elected after it
//! (Raft thesis §6.4.1; raft-rs#234). Clocks must keep to their bound, as they do wherever leases are on here.

use raft::{MemberId, ReadContext, Term};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

/// The read that a member began last, as long as nothing else happened to it.
#[derive(Debug, Default)]
pub struct LeaseGate {
    begun: std::collections::BTreeMap<MemberId, ReadContext>,
}

impl LeaseGate {
    /// A read begins.
    pub fn began(&mut self, id: MemberId, context: ReadContext) {
        self.begun.insert(id, context);
    }

    /// A message came; what is answered from here on may rest on it.
    pub fn heard(&mut self, id: MemberId) {
        self.begun.remove(&id);
    }

    /// A member that leads `term` answers a read.
    ///
    /// # Errors
    /// Returns an error if it confirmed the read by its lease and another member was elected meanwhile.
    pub fn ready(&self, ledger: &Ledger, id: MemberId, context: ReadContext, term: Term) -> Checked {
        if self.begun.get(&id) != Some(&context) {
            return Ok(());
        }
        let later = ledger.reigns.keys().next_back().copied().filter(|later| *later > term);
        ensure(later.is_none(), "lease gate", || {
            format!("{id} answers {context} by its lease of term {term}, but {later:?} has a leader")
        })
    }
}
