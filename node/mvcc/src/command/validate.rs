//! Owns the checks that need no store. The checks run in etcd's order, so that a request gets the same error as from etcd
//! (`docs/etcd_rules.md` §3 and §4). Does not own the checks against the content (`txn`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Command, DeleteRange, Op, Put, Range, SortOrder, SortTarget, Txn};

/// Maximum number of comparisons, and maximum number of operations in one branch, of a transaction (etcd's
/// `--max-txn-ops`). For a nested transaction the limit is lower than the limit of its parent. The difference is the
/// largest of three counts of the parent: its comparisons, its operations in `success`, and its operations in
/// `failure`.
pub const MAX_TXN_OPS: usize = 128;

/// Why a request is not valid. An invalid request must not enter the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidateError {
    /// etcd's error InvalidArgument "etcdserver: key is not provided".
    #[error("the key is empty: give a key")]
    EmptyKey,
    /// etcd's error InvalidArgument "etcdserver: invalid sort option".
    #[error("the sort order or target does not exist")]
    InvalidSortOption,
    /// etcd's error InvalidArgument "etcdserver: value is provided".
    #[error("a value was given together with ignore_value: leave one out")]
    ValueProvided,
    /// etcd's error InvalidArgument "etcdserver: lease is provided".
    #[error("a lease was given together with ignore_lease: leave one out")]
    LeaseProvided,
    /// etcd's error InvalidArgument "etcdserver: too many operations in txn request".
    #[error("the transaction has too many operations: split it")]
    TooManyOps,
    /// etcd's error InvalidArgument "etcdserver: key not found", with which etcd answers an operation without content.
    #[error("an operation of the transaction has no content")]
    EmptyOp,
    /// etcd's error InvalidArgument "etcdserver: duplicate key given in txn request".
    #[error("the transaction puts a key twice, or puts and deletes it")]
    DuplicateKey,
}

impl Command {
    /// Runs the checks that etcd makes before a proposal.
    ///
    /// # Errors
    /// Returns [`ValidateError`] if the request is not valid. An invalid request must not be proposed.
    pub fn validate(&self) -> Result<(), ValidateError> {
        match self {
            Command::Put(put) => put.validate(),
            Command::DeleteRange(delete) => delete.validate(),
            Command::Txn(txn) => txn.validate(),
            Command::Compact(_) | Command::Alarm(_) | Command::RaiseFeatureLevel { .. } => Ok(()),
        }
    }
}

impl Range {
    /// Runs the checks that etcd makes before a read.
    ///
    /// # Errors
    /// Returns [`ValidateError`] if the key is empty or the sort option is unknown. In both cases the read must not run.
    pub fn validate(&self) -> Result<(), ValidateError> {
        if self.key.is_empty() {
            return Err(ValidateError::EmptyKey);
        }
        self.validate_sort()
    }

    pub(crate) fn validate_sort(&self) -> Result<(), ValidateError> {
        match (self.sort_order, self.sort_target) {
            (SortOrder::Unrecognized(_), _) | (_, SortTarget::Unrecognized(_)) => Err(ValidateError::InvalidSortOption),
            _ => Ok(()),
        }
    }
}

impl Put {
    fn validate(&self) -> Result<(), ValidateError> {
        if self.key.is_empty() {
            return Err(ValidateError::EmptyKey);
        }
        if self.ignore_value && !self.value.is_empty() {
            return Err(ValidateError::ValueProvided);
        }
        if self.ignore_lease && self.lease != 0 {
            return Err(ValidateError::LeaseProvided);
        }
        Ok(())
    }
}

impl DeleteRange {
    fn validate(&self) -> Result<(), ValidateError> {
        if self.key.is_empty() { Err(ValidateError::EmptyKey) } else { Ok(()) }
    }
}

impl Txn {
    /// Runs the checks that etcd makes before a transaction. The checks are the same for read-only transactions.
    ///
    /// # Errors
    /// Returns [`ValidateError`] if the transaction is not valid. An invalid transaction must not run.
    pub fn validate(&self) -> Result<(), ValidateError> {
        self.validate_shape(MAX_TXN_OPS)?;
        // The search for overlaps runs after the check of the limits, because the cost of the search is quadratic in
        // the number of operations.
        Writes::of(&self.success)?;
        Writes::of(&self.failure)?;
        Ok(())
    }

    fn validate_shape(&self, ops_max: usize) -> Result<(), ValidateError> {
        let ops = self.compare.len().max(self.success.len()).max(self.failure.len());
        let Some(ops_left) = ops_max.checked_sub(ops) else {
            return Err(ValidateError::TooManyOps);
        };
        debug_assert!(ops_left <= MAX_TXN_OPS, "a nested transaction is allowed no more than its parent");
        if self.compare.iter().any(|compare| compare.key.is_empty()) {
            return Err(ValidateError::EmptyKey);
        }
        self.success.iter().chain(&self.failure).try_for_each(|op| match op {
            Op::Range(range) => range.validate(),
            Op::Put(put) => put.validate(),
            Op::DeleteRange(delete) => delete.validate(),
            Op::Txn(txn) => txn.validate_shape(ops_left),
            Op::Empty => Err(ValidateError::EmptyOp),
        })
    }
}

/// The writes of one list of operations, including nested transactions.
///
/// The check for duplicate keys has the same gaps as etcd's check. A nested delete is compared with the puts of *later*
/// nested transactions and of this level, but not with the puts of earlier nested transactions. An interval that ends
/// in `"\0"` overlaps no put.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    deletes: Deletes<'a>,
}

impl<'a> Writes<'a> {
    fn of(ops: &'a [Op]) -> Result<Writes<'a>, ValidateError> {
        let mut writes = Writes::default();
        for op in ops {
            if let Op::DeleteRange(delete) = op {
                writes.deletes.add(delete);
            }
        }
        for op in ops {
            if let Op::Txn(txn) = op {
                writes.add_nested(Writes::of(&txn.success)?, Writes::of(&txn.failure)?)?;
            }
        }
        for op in ops {
            if let Op::Put(put) = op {
                writes.add_put(&put.key)?;
            }
        }
        Ok(writes)
    }

    fn add_put(&mut self, key: &'a [u8]) -> Result<(), ValidateError> {
        if self.deletes.contain(key) || !self.puts.insert(key) {
            return Err(ValidateError::DuplicateKey);
        }
        Ok(())
    }

    /// Adds the writes of a nested transaction. Both branches may put the same key, because only one of the branches runs.
    fn add_nested(&mut self, success: Writes<'a>, failure: Writes<'a>) -> Result<(), ValidateError> {
        for &key in &success.puts {
            self.add_put(key)?;
        }
        for &key in failure.puts.difference(&success.puts) {
            self.add_put(key)?;
        }
        self.deletes.merge(success.deletes);
        self.deletes.merge(failure.deletes);
        Ok(())
    }
}

/// A set of deleted keys and intervals. The intervals are kept disjoint, so that the cost of a lookup is logarithmic in the
/// number of intervals.
#[derive(Default)]
struct Deletes<'a> {
    keys: BTreeSet<&'a [u8]>,
    /// Map from the start of an interval to its end. The end is excluded from the interval.
    intervals: BTreeMap<&'a [u8], &'a [u8]>,
}

impl<'a> Deletes<'a> {
    fn add(&mut self, delete: &'a DeleteRange) {
        if delete.range_end.is_empty() {
            self.keys.insert(&delete.key);
        } else {
            self.add_interval(&delete.key, &delete.range_end);
        }
    }

    fn add_interval(&mut self, mut start: &'a [u8], mut end: &'a [u8]) {
        if start >= end {
            return;
        }
        while let Some((&before_start, &before_end)) = self.intervals.range(..=end).next_back() {
            if before_end < start {
                break;
            }
            self.intervals.remove(before_start);
            start = start.min(before_start);
            end = end.max(before_end);
        }
        debug_assert!(
            self.intervals.range(start..).next().is_none_or(|(&after_start, _)| after_start > end),
            "intervals are disjoint"
        );
        self.intervals.insert(start, end);
    }

    fn contain(&self, key: &[u8]) -> bool {
        let inside = self.intervals.range(..=key).next_back().is_some_and(|(_, &end)| key < end);
        inside || self.keys.contains(key)
    }

    fn merge(&mut self, other: Deletes<'a>) {
        self.keys.extend(other.keys);
        for (start, end) in other.intervals {
            self.add_interval(start, end);
        }
    }
}
