//! Read gate: a linearizable read is answered at or behind the index of every write that was acknowledged before the read
//! began (Raft thesis §6.4; etcd#7331, etcd#20418).

use std::collections::BTreeMap;

use raft::{Index, MemberId, ReadContext};

use crate::invariant::{Checked, ensure};

/// Reads under way.
#[derive(Debug, Default)]
pub struct ReadGate {
    acknowledged: Index,
    /// What was acknowledged when each began.
    begun: BTreeMap<(MemberId, ReadContext), Index>,
    /// How many were answered.
    pub answered: u64,
}

impl ReadGate {
    /// A write at `index` was acknowledged to its client.
    pub fn acknowledged(&mut self, index: Index) {
        self.acknowledged = self.acknowledged.max(index);
    }

    /// A read begins.
    pub fn began(&mut self, id: MemberId, context: ReadContext) {
        self.begun.insert((id, context), self.acknowledged);
    }

    /// The core says that a read may be served at `index`.
    ///
    /// # Errors
    /// Returns a violation if the read would miss an acknowledged write.
    pub fn ready(&mut self, id: MemberId, context: ReadContext, index: Index) -> Checked {
        let begun = self.begun.remove(&(id, context));
        ensure(begun.is_some(), "read gate", || {
            format!("{id} answers {context}, which it was not asked or did before")
        })?;
        self.answered += 1;
        ensure(begun <= Some(index), "read gate", || {
            format!("{id} would read at {index}, but {begun:?} was acknowledged before the read began")
        })
    }
}
