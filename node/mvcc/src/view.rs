//! Owns the immutable view of the store that readers share. Does not own the rules of reads (`range`, `txn`, `hash`).

use crate::command::{Alarm, Range, Txn};
use crate::hash::{self, HashResult};
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::level::FeatureLevel;
use crate::meter::{Meter, ReadFailure};
use crate::outcome::{CommandError, RangeError, RangeResult, TxnResult};
use crate::range::{self, Extent};
use crate::revision::Revision;
use crate::{txn, txn_cost, txn_measure};

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
        self.range_metered(range, &mut Meter::unlimited()).map_err(refusal)
    }

    /// Reads a key or an interval of keys, and measures the read.
    ///
    /// # Errors
    /// Returns [`ReadFailure`] if [`View::range`] fails, or if the meter stops the read.
    pub fn range_metered(&self, range: &Range, meter: &mut Meter<'_>) -> Result<RangeResult, ReadFailure> {
        range::run(&self.space, range, self.space.revision, Extent::Whole, meter)
    }

    /// Reads as [`View::range_metered`] does, but leaves the count at 0, and ends with the key at which the answer reaches
    /// `bytes`. A part of a large interval is read at a cost that does not depend on the rest of the interval.
    ///
    /// # Errors
    /// Returns [`ReadFailure`] if [`View::range`] fails, or if the meter stops the read.
    pub fn page(&self, range: &Range, bytes: u64, meter: &mut Meter<'_>) -> Result<RangeResult, ReadFailure> {
        range::run(&self.space, range, self.space.revision, Extent::Page { bytes }, meter)
    }

    /// Measures what [`View::range_metered`] would collect and answer, and allocates nothing.
    ///
    /// # Errors
    /// Returns [`ReadFailure`] if [`View::range`] would fail, or if the meter stops the read.
    pub fn measure_range(&self, range: &Range, meter: &mut Meter<'_>) -> Result<(), ReadFailure> {
        range::measure(&self.space, range, self.space.revision, meter)
    }

    /// Estimate of the cost of a read: 8 for each key whose version may be looked up, more if values are compared. The
    /// estimate itself takes a time that is logarithmic in the number of keys.
    #[must_use]
    pub fn range_cost(&self, range: &Range) -> u64 {
        txn_cost::range_cost(&self.space, range, txn_cost::LONG_VALUES)
    }

    /// Runs a transaction for which [`Txn::is_read_only`] holds. The response header has [`View::revision`].
    ///
    /// # Errors
    /// Returns [`CommandError`] if a range is refused, or if the branch taken has an operation other than a range.
    pub fn txn(&self, txn: &Txn) -> Result<TxnResult, CommandError> {
        self.txn_metered(txn, &mut Meter::unlimited()).map_err(command_refusal)
    }

    /// Runs a transaction as [`View::txn`] does, and measures it.
    ///
    /// # Errors
    /// Returns [`ReadFailure`] if [`View::txn`] fails, or if the meter stops the read.
    pub fn txn_metered(&self, txn: &Txn, meter: &mut Meter<'_>) -> Result<TxnResult, ReadFailure> {
        txn::read(&self.space, txn, meter)
    }

    /// Measures what a transaction would collect and answer, and allocates nothing. Of a transaction that only reads, the
    /// branch that it takes is measured; of others, the larger one.
    ///
    /// # Errors
    /// Returns [`ReadFailure`] if the transaction would fail, or if the meter stops the read.
    pub fn measure_txn(&self, txn: &Txn, meter: &mut Meter<'_>) -> Result<(), ReadFailure> {
        txn_measure::measure(&self.space, txn, meter)
    }

    /// Estimate of the cost of a transaction in the unit of [`View::range_cost`].
    #[must_use]
    pub fn txn_cost(&self, txn: &Txn) -> u64 {
        txn_cost::cost(&self.space, txn, txn_cost::LONG_VALUES)
    }

    /// Returns whether a transaction would visit too many keys of this content. Such a transaction would delay all later
    /// commands, or the other heavy reads, and must therefore neither be proposed nor run. The limit is far above what one
    /// key for each operation needs, and allows three operations on all keys.
    #[must_use]
    pub fn is_too_expensive(&self, txn: &Txn) -> bool {
        txn_cost::is_too_expensive(&self.space, txn)
    }

    /// Computes etcd's hash of the keyspace up to a revision; 0 means the newest revision.
    ///
    /// # Errors
    /// Returns [`RangeError`] if the revision is compacted or in the future.
    pub fn hash_kv(&self, revision: i64) -> Result<HashResult, RangeError> {
        self.hash_kv_metered(revision, &mut Meter::unlimited()).map_err(refusal)
    }

    /// Computes the hash as [`View::hash_kv`] does, and measures the work.
    ///
    /// # Errors
    /// Returns [`ReadFailure`] if [`View::hash_kv`] fails, or if the meter stops the read.
    pub fn hash_kv_metered(&self, revision: i64, meter: &mut Meter<'_>) -> Result<HashResult, ReadFailure> {
        hash::run(&self.space, revision, meter)
    }
}

/// Why a read without limits failed.
fn command_refusal(failure: ReadFailure) -> CommandError {
    match failure {
        ReadFailure::Refused(error) => error,
        ReadFailure::TooLarge { .. } | ReadFailure::TooHeavy | ReadFailure::Abandoned => {
            unreachable!("a meter without limits stops nothing")
        }
    }
}

fn refusal(failure: ReadFailure) -> RangeError {
    match command_refusal(failure) {
        CommandError::Invalid(error) => RangeError::Invalid(error),
        CommandError::Compacted => RangeError::Compacted,
        CommandError::FutureRevision => RangeError::FutureRevision,
        CommandError::KeyNotFound | CommandError::LeaseNotFound | CommandError::NoSpace | CommandError::Corrupt => {
            unreachable!("only writes are refused for this reason")
        }
    }
}
