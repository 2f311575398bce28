//! Owns the immutable picture of the store that readers share. Does not own how reads work (`range`, `txn`, `hash`).

use crate::apply::{CommandError, TxnResult};
use crate::command::{Alarm, Range, Txn};
use crate::hash::{self, HashResult};
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::range::{self, RangeError, RangeResult};
use crate::revision::Revision;
use crate::txn;

/// The content of a [`crate::Store`] at one moment. Cloning costs nothing; it never changes, and keeps alive only what was
/// changed since.
#[derive(Clone, Debug)]
pub struct View {
    pub(crate) space: Keyspace,
}

impl View {
    /// The store's revision.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.space.revision
    }

    /// Reads below it fail; [`Revision::NEVER`] before the first compaction.
    #[must_use]
    pub fn compact_revision(&self) -> Revision {
        self.space.compacted
    }

    /// The time of the newest command that was applied, in milliseconds since the Unix epoch; 0 before the first.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.space.time_ms
    }

    /// The alarms that are raised, ordered by kind, then member.
    pub fn alarms(&self) -> impl ExactSizeIterator<Item = Alarm> + '_ {
        self.space.alarms.iter().copied()
    }

    /// What the content takes in memory, history included, in bytes: every marshalled version and every key, with a
    /// constant for what surrounds each. It falls as compacted versions are removed. etcd's `dbSize` and `dbSizeInUse` are
    /// both this, as nothing is fragmented; the quota is compared with this plus [`crate::Command::cost_bytes`].
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.space.size_bytes
    }

    /// How many versions are remembered, tombstones included.
    #[must_use]
    pub fn version_count(&self) -> u64 {
        self.space.history.len() as u64
    }

    /// The newest version of one key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<KeyValue> {
        self.space.newest(key)
    }

    /// Reads.
    ///
    /// # Errors
    /// The revision is compacted or in the future, or the request makes no sense.
    pub fn range(&self, range: &Range) -> Result<RangeResult, RangeError> {
        range::run(&self.space, range, self.space.revision)
    }

    /// Runs a transaction for which [`Txn::is_read_only`] holds; its header has [`View::revision`].
    ///
    /// # Errors
    /// As for a command; also if it is not one of ranges alone.
    pub fn txn(&self, txn: &Txn) -> Result<TxnResult, CommandError> {
        txn::read(&self.space, txn)
    }

    /// etcd's hash of the keyspace up to a revision, 0 for the newest.
    ///
    /// # Errors
    /// The revision is compacted or in the future.
    pub fn hash_kv(&self, revision: i64) -> Result<HashResult, RangeError> {
        hash::run(&self.space, revision)
    }
}
