//! Owns what a log entry may ask of the store, and what a reader may ask of a view: plain types, their costs, their kinds.
//! Does not own their bytes (`command::codec`, `command::batch`), the checks at the door (`command::validate`) or what
//! they do (`apply`, `range`, `txn`).

mod batch;
mod codec;
mod validate;

use bytes::Bytes;

pub use batch::{Batch, BatchBuilder, BatchError};
pub use codec::DecodeError;
pub use validate::{MAX_TXN_OPS, ValidateError};

/// One request that changes the store, as it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sets one key (etcd API `PutRequest`).
    Put(Put),
    /// Deletes a key or an interval of keys (etcd API `DeleteRangeRequest`).
    DeleteRange(DeleteRange),
    /// Compares, then one of two lists of operations, atomically (etcd API `TxnRequest`).
    Txn(Txn),
    /// Forgets history (etcd API `CompactionRequest`).
    Compact(Compact),
    /// Raises or clears an alarm (etcd API `AlarmRequest` with `ACTIVATE` or `DEACTIVATE`; a `GET` reads [`crate::View::alarms`]).
    Alarm(AlarmChange),
}

impl Command {
    /// What etcd's quota charges, in bytes: 256 + key + value for each put, of a transaction the dearer branch
    /// (etcd-api.md §8). 0 means that the command passes while `NOSPACE` is raised.
    #[must_use]
    pub fn cost_bytes(&self) -> u64 {
        match self {
            Command::Put(put) => put.cost_bytes(),
            Command::Txn(txn) => txn.cost_bytes(),
            Command::DeleteRange(_) | Command::Compact(_) | Command::Alarm(_) => 0,
        }
    }
}

/// Sets one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The key; not empty.
    pub key: Bytes,
    /// The new value; must be empty with `ignore_value`.
    pub value: Bytes,
    /// The lease to attach, 0 for none. There are no leases in this version: any other is refused.
    pub lease: i64,
    /// Answer with the version that was replaced.
    pub prev_kv: bool,
    /// Keep the present value; the key must exist.
    pub ignore_value: bool,
    /// Keep the present lease; the key must exist.
    pub ignore_lease: bool,
}

impl Put {
    fn cost_bytes(&self) -> u64 {
        const KEY_VALUE_OVERHEAD_BYTES: u64 = 256;
        KEY_VALUE_OVERHEAD_BYTES + self.key.len() as u64 + self.value.len() as u64
    }
}

/// Deletes keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRange {
    /// The key, or the start of the interval; not empty.
    pub key: Bytes,
    /// Empty for one key, `"\0"` for all keys from `key`, else the end, which is not deleted.
    pub range_end: Bytes,
    /// Answer with the versions that were deleted, in key order.
    pub prev_kv: bool,
}

/// A transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold for `success`; none holds too.
    pub compare: Vec<Compare>,
    /// Runs if every comparison holds.
    pub success: Vec<Op>,
    /// Runs otherwise.
    pub failure: Vec<Op>,
}

impl Txn {
    /// Whether it consists of ranges alone, on both branches, so that a [`crate::View`] can run it and the log need not
    /// (a nested transaction counts as a write, as in etcd).
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| matches!(op, Op::Range(_)))
    }

    fn cost_bytes(&self) -> u64 {
        let branch = |ops: &[Op]| -> u64 {
            ops.iter()
                .map(|op| match op {
                    Op::Put(put) => put.cost_bytes(),
                    Op::Txn(txn) => txn.cost_bytes(),
                    Op::Range(_) | Op::DeleteRange(_) | Op::Empty => 0,
                })
                .sum()
        };
        branch(&self.success).max(branch(&self.failure))
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads, seeing what earlier operations of the same transaction did.
    Range(Range),
    /// Sets a key.
    Put(Put),
    /// Deletes keys.
    DeleteRange(DeleteRange),
    /// A transaction inside; its comparisons are evaluated with those of the outermost, before any operation.
    Txn(Txn),
    /// A `RequestOp` without content, as protobuf allows; always refused by [`Command::validate`].
    Empty,
}

/// One comparison of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key, or the start of the interval; not empty.
    pub key: Bytes,
    /// Empty for one key, `"\0"` for all keys from `key`, else the end. Every key of an interval must satisfy it.
    pub range_end: Bytes,
    /// How the stored thing must relate to `operand`.
    pub relation: Relation,
    /// Which thing, and to what it is compared.
    pub operand: Operand,
}

/// How a comparison relates the stored to the given (etcd API `Compare.CompareResult`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// Stored = given.
    Equal,
    /// Stored > given.
    Greater,
    /// Stored < given.
    Less,
    /// Stored ≠ given.
    NotEqual,
    /// A number that the API does not define: holds always, as in etcd (but for the value of a missing key).
    Unrecognized(i32),
}

/// What a comparison looks at, and the given side (etcd API `Compare.CompareTarget` and `target_union`; where the union is
/// unset or of another kind than the target, the given side is 0 or empty).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The version counter; a missing key has 0.
    Version(i64),
    /// The revision of creation; a missing key has 0.
    CreateRevision(i64),
    /// The revision of the last change; a missing key has 0.
    ModRevision(i64),
    /// The value; never holds for a missing key.
    Value(Bytes),
    /// The attached lease; 0 for none and for a missing key.
    Lease(i64),
    /// A target that the API does not define: both sides count as equal, as in etcd.
    Unrecognized(i32),
}

/// Forgets history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compact {
    /// Reads below it fail afterwards.
    pub revision: i64,
    /// The asker waits until the removal is done. The store itself does the same either way: see
    /// [`crate::Store::compact_slice`].
    pub physical: bool,
}

/// Raises or clears an alarm; doing so twice is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmChange {
    /// Raise or clear.
    pub action: AlarmAction,
    /// Which, at which member.
    pub alarm: Alarm,
}

/// What to do with an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmAction {
    /// Raise it.
    Activate,
    /// Clear it.
    Deactivate,
}

/// An alarm of one member; it binds the whole cluster while it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// Its kind.
    pub kind: AlarmKind,
    /// The member that raised it.
    pub member: u64,
}

/// The kinds of alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The quota is used up: commands with a put fail until it is cleared.
    NoSpace,
    /// Members disagree about the content: every write fails until it is cleared.
    Corrupt,
}

/// A read (etcd API `RangeRequest`; whether it is serializable is the caller's affair).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The key, or the start of the interval; not empty.
    pub key: Bytes,
    /// Empty for one key, `"\0"` for all keys from `key`, else the end, which is not read.
    pub range_end: Bytes,
    /// At most so many keys; 0 or less for all.
    pub limit: i64,
    /// The revision to read at; 0 or less for the newest.
    pub revision: i64,
    /// The order of the answer.
    pub sort_order: SortOrder,
    /// What the answer is ordered by.
    pub sort_target: SortTarget,
    /// Leave out values and leases.
    pub keys_only: bool,
    /// Answer only with the count.
    pub count_only: bool,
    /// Leave out keys last changed before it; 0 for none.
    pub min_mod_revision: i64,
    /// Leave out keys last changed after it; 0 for none.
    pub max_mod_revision: i64,
    /// Leave out keys created before it; 0 for none.
    pub min_create_revision: i64,
    /// Leave out keys created after it; 0 for none.
    pub max_create_revision: i64,
}

/// The order of an answer (etcd API `RangeRequest.SortOrder`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// By key, unless the target says otherwise: then ascending, *after* the limit has cut in key order.
    #[default]
    None,
    /// Ascending.
    Ascend,
    /// Descending.
    Descend,
    /// A number that the API does not define; refused.
    Unrecognized(i32),
}

impl From<i32> for SortOrder {
    fn from(number: i32) -> Self {
        match number {
            0 => SortOrder::None,
            1 => SortOrder::Ascend,
            2 => SortOrder::Descend,
            other => SortOrder::Unrecognized(other),
        }
    }
}

impl From<SortOrder> for i32 {
    fn from(order: SortOrder) -> Self {
        match order {
            SortOrder::None => 0,
            SortOrder::Ascend => 1,
            SortOrder::Descend => 2,
            SortOrder::Unrecognized(other) => other,
        }
    }
}

/// What an answer is ordered by (etcd API `RangeRequest.SortTarget`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version counter.
    Version,
    /// The revision of creation.
    Create,
    /// The revision of the last change.
    Mod,
    /// The value.
    Value,
    /// A number that the API does not define; refused.
    Unrecognized(i32),
}

impl From<i32> for SortTarget {
    fn from(number: i32) -> Self {
        match number {
            0 => SortTarget::Key,
            1 => SortTarget::Version,
            2 => SortTarget::Create,
            3 => SortTarget::Mod,
            4 => SortTarget::Value,
            other => SortTarget::Unrecognized(other),
        }
    }
}

impl From<SortTarget> for i32 {
    fn from(target: SortTarget) -> Self {
        match target {
            SortTarget::Key => 0,
            SortTarget::Version => 1,
            SortTarget::Create => 2,
            SortTarget::Mod => 3,
            SortTarget::Value => 4,
            SortTarget::Unrecognized(other) => other,
        }
    }
}

impl From<i32> for Relation {
    fn from(number: i32) -> Self {
        match number {
            0 => Relation::Equal,
            1 => Relation::Greater,
            2 => Relation::Less,
            3 => Relation::NotEqual,
            other => Relation::Unrecognized(other),
        }
    }
}

impl From<Relation> for i32 {
    fn from(relation: Relation) -> Self {
        match relation {
            Relation::Equal => 0,
            Relation::Greater => 1,
            Relation::Less => 2,
            Relation::NotEqual => 3,
            Relation::Unrecognized(other) => other,
        }
    }
}
