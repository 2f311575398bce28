//! Lease gate: a leader answers a read without a round of messages only while no other member was elected after it
//! (Raft thesis §6.4.1; raft-rs#234). Clocks must keep to their bound, as they do in every run that enables leases.

use raft::{MemberId, ReadContext, Term};

use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

/// The latest read of a member, as long as the member had no other input.
#[derive(Debug, Default)]
pub struct LeaseGate {
    begun: std::collections::BTreeMap<MemberId, ReadContext>,
}

impl LeaseGate {
    /// Notes that a member begins a read.
    pub fn began(&mut self, id: MemberId, context: ReadContext) {
        self.begun.insert(id, context);
    }

    /// Notes that a member received a message: it may confirm later answers by that message rather than by its lease.
    pub fn received(&mut self, id: MemberId) {
        self.begun.remove(&id);
    }

    /// Checks that a member which leads `term` may answer a read.
    ///
    /// # Errors
    /// Returns a violation if it confirmed the read by its lease and another member was elected meanwhile.
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
