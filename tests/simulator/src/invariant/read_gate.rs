//! Read gate: a linearizable read is answered at or above the index of every write that was acknowledged before the
//! read began (Raft thesis §6.4; etcd#7331, etcd#20418).

use std::collections::BTreeMap;

use raft::{Index, MemberId, ReadContext};

use crate::invariant::{Checked, ensure};

/// Reads in progress, and their results.
#[derive(Debug, Default)]
pub struct ReadGate {
    acknowledged: Index,
    /// For each read, the highest index that had been acknowledged when the read began.
    begun: BTreeMap<(MemberId, ReadContext), Index>,
    /// Number of answered reads.
    pub answered: u64,
}

impl ReadGate {
    /// Notes that a write at `index` was acknowledged to its client.
    pub fn acknowledged(&mut self, index: Index) {
        self.acknowledged = self.acknowledged.max(index);
    }

    /// Notes that a read begins.
    pub fn began(&mut self, id: MemberId, context: ReadContext) {
        self.begun.insert((id, context), self.acknowledged);
    }

    /// Checks the index at which the core allows a read to be answered.
    ///
    /// # Errors
    /// Returns a violation if the read would miss an acknowledged write.
    pub fn ready(&mut self, id: MemberId, context: ReadContext, index: Index) -> Checked {
        let begun = self.begun.remove(&(id, context));
        ensure(begun.is_some(), "read gate", || {
            format!("{id} answers {context}, which did not begin or was answered before")
        })?;
        self.answered += 1;
        ensure(begun <= Some(index), "read gate", || {
            format!("{id} answers a read at {index}, but {begun:?} was acknowledged before the read began")
        })
    }
}
