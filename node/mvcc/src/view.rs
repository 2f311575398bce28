//! Owns the immutable view of the store that readers share. Does not own the rules of reads (`range`, `txn`, `hash`).

use crate::command::{Alarm, Range, Txn};
use crate::hash::{self, HashResult};
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::level::FeatureLevel;
use crate::outcome::{CommandError, RangeError, RangeResult, TxnResult};
use crate::range;
use crate::revision::Revision;
use crate::{txn, txn_cost};

/// The immutable content of a [`crate::Store`] at one moment. A clone is cheap. A view shares its content with the
/// store, and costs memory only for parts that the store has changed or removed after that moment.
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

    /// The compaction mark. Reads below the mark fail. [`Revision::NEVER`] before the first compaction.
    #[must_use]
    pub fn compact_revision(&self) -> Revision {
        self.space.compacted
    }

    /// Latest time of an applied command, in milliseconds since the Unix epoch; 0 before the first command.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.space.time_ms
    }

    /// The raised alarms, ordered by kind, then by member.
    pub fn alarms(&self) -> impl ExactSizeIterator<Item = Alarm> + '_ {
        self.space.alarms.iter().copied()
    }

    /// The cluster's feature level.
    #[must_use]
    pub fn level(&self) -> FeatureLevel {
        self.space.level
    }

    /// Memory of the content including the history, in bytes: every marshalled version and every key, each with a constant
    /// overhead. The size falls when compacted versions are removed. The fields `dbSize` and `dbSizeInUse` of etcd's API both
    /// report this size, because the store has no fragmentation. The sum of this size and [`crate::Command::cost_bytes`] is
    /// compared with the quota.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.space.size_bytes
    }

    /// Number of versions that are not removed, including tombstones.
    #[must_use]
    pub fn version_count(&self) -> u64 {
        self.space.history.len() as u64
    }

    /// The newest version of a key, if the key is live.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<KeyValue> {
        self.space.newest(key)
    }

    /// Reads a key or an interval of keys.
    ///
    /// # Errors
    /// Returns [`RangeError`] if the revision is compacted or in the future, or if [`Range::validate`] refuses the sort option.
    pub fn range(&self, range: &Range) -> Result<RangeResult, RangeError> {
        range::run(&self.space, range, self.space.revision)
    }

    /// Runs a transaction for which [`Txn::is_read_only`] holds. The response header has [`View::revision`].
    ///
    /// # Errors
    /// Returns [`CommandError`] if a range is refused, or if the branch taken has an operation other than a range.
    pub fn txn(&self, txn: &Txn) -> Result<TxnResult, CommandError> {
        txn::read(&self.space, txn)
    }

    /// Returns whether a transaction would visit too many keys of this content. Such a transaction would delay all later
    /// commands, or the other requests of the thread that runs it, and must therefore neither be proposed nor run. The
    /// limit is far above what one key for each operation needs, and allows three operations on all keys.
    #[must_use]
    pub fn is_too_expensive(&self, txn: &Txn) -> bool {
        txn_cost::is_too_expensive(&self.space, txn)
    }

    /// Computes etcd's hash of the keyspace up to a revision; 0 means the newest revision.
    ///
    /// # Errors
    /// Returns [`RangeError`] if the revision is compacted or in the future.
    pub fn hash_kv(&self, revision: i64) -> Result<HashResult, RangeError> {
        hash::run(&self.space, revision)
    }
}
