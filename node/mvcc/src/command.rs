//! Owns the requests to the store (from log entries) and to a view (from readers), as plain types, and their costs. Does not own
//! the encoding of requests (`command::codec`, `command::batch`), the checks before a proposal (`command::validate`) or the
//! effects of requests (`apply`, `range`, `txn`).

mod batch;
mod codec;
mod header;
mod validate;

use bytes::Bytes;

use crate::level::FeatureLevel;

pub use batch::{Batch, BatchBuilder, BatchError, BatchFormat};
pub use codec::DecodeError;
pub use header::HeaderError;
pub use validate::{MAX_TXN_OPS, ValidateError};

/// One request that changes the store, as a log entry holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Sets one key (etcd API `PutRequest`).
    Put(Put),
    /// Deletes a key or an interval of keys (etcd API `DeleteRangeRequest`).
    DeleteRange(DeleteRange),
    /// Atomically evaluates comparisons and then runs one of two lists of operations (etcd API `TxnRequest`).
    Txn(Txn),
    /// Makes old versions unreadable (etcd API `CompactionRequest`).
    Compact(Compact),
    /// Raises or clears an alarm (etcd API `AlarmRequest` with `ACTIVATE` or `DEACTIVATE`). A `GET` is not a command: it reads
    /// [`crate::View::alarms`].
    Alarm(AlarmChange),
    /// Raises the feature level of the cluster. A level that is reached already changes nothing.
    RaiseFeatureLevel {
        /// The level that holds at least after the command.
        to: FeatureLevel,
    },
}

impl Command {
    /// The cost that etcd's quota charges, in bytes (`docs/etcd_rules.md` §6). A put costs 256 plus the lengths of key and
    /// value; a transaction costs as much as its more expensive branch. A command that costs 0 is accepted even while `NOSPACE`
    /// is raised.
    #[must_use]
    pub fn cost_bytes(&self) -> u64 {
        match self {
            Command::Put(put) => put.cost_bytes(),
            Command::Txn(txn) => txn.cost_bytes(),
            Command::DeleteRange(_) | Command::Compact(_) | Command::Alarm(_) | Command::RaiseFeatureLevel { .. } => 0,
        }
    }
}

impl Command {
    /// Returns whether the command may put a version: a put, or a transaction with a put in either branch. All other commands
    /// only free space.
    #[must_use]
    pub fn adds_content(&self) -> bool {
        // Every put has a cost, whatever its key and value are.
        self.cost_bytes() > 0
    }
}

/// Sets one key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// The key, which must not be empty.
    pub key: Bytes,
    /// The new value. It must be empty if `ignore_value` is set.
    pub value: Bytes,
    /// The lease to attach, 0 for none. This version has no leases, so every value except 0 is refused.
    pub lease: i64,
    /// If set, the answer contains the version that was replaced.
    pub prev_kv: bool,
    /// If set, the put keeps the present value. The key must exist.
    pub ignore_value: bool,
    /// If set, the put keeps the present lease. The key must exist.
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
    /// The key, or the start of an interval of keys. Must not be empty.
    pub key: Bytes,
    /// If empty, only `key` is meant. If `"\0"`, `key` and all keys after `key` are meant. Otherwise this field is the
    /// end of the interval, and the interval does not contain its end.
    pub range_end: Bytes,
    /// If set, the answer contains the deleted versions in key order.
    pub prev_kv: bool,
}

/// A transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// The comparisons that decide which branch runs.
    pub compare: Vec<Compare>,
    /// The branch that runs if every comparison holds. It also runs if there are no comparisons.
    pub success: Vec<Op>,
    /// The branch that runs if a comparison does not hold.
    pub failure: Vec<Op>,
}

impl Txn {
    /// Returns whether both branches consist of ranges only. Such a transaction does not go through the log, because a
    /// [`crate::View`] can run it. A nested transaction counts as a write, as in etcd.
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
    /// Reads keys. The read sees the changes of earlier operations of the same transaction.
    Range(Range),
    /// Sets a key.
    Put(Put),
    /// Deletes keys.
    DeleteRange(DeleteRange),
    /// Runs a nested transaction. The comparisons of all transactions, nested or not, are evaluated before any operation runs.
    Txn(Txn),
    /// A `RequestOp` without content, which protobuf allows and [`Command::validate`] always refuses.
    Empty,
}

/// One comparison of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key, or the start of an interval of keys. Must not be empty.
    pub key: Bytes,
    /// If empty, only `key` is meant. If `"\0"`, `key` and all keys after `key` are meant. Otherwise this field is the
    /// end of the interval, and the interval does not contain its end. The comparison must hold for every key of the
    /// interval.
    pub range_end: Bytes,
    /// The comparison holds if the stored value of the field has this relation to the given value.
    pub relation: Relation,
    /// The field that is compared, and the given value.
    pub operand: Operand,
}

/// The relation of the stored value of a field to the given value (etcd API `Compare.CompareResult`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// The two values are equal.
    Equal,
    /// The stored value is greater.
    Greater,
    /// The stored value is less.
    Less,
    /// The two values differ.
    NotEqual,
    /// A number that the API does not define. As in etcd, such a comparison always holds, except a comparison of the value of a
    /// missing key.
    Unrecognized(i32),
}

/// The field that a comparison reads, and the given value (etcd API `Compare.CompareTarget` and `target_union`). If the union is
/// unset or does not match the target, the given value is 0 or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Version counter of the key; 0 for a missing key.
    Version(i64),
    /// Revision at which the key was created; 0 for a missing key.
    CreateRevision(i64),
    /// Revision at which the key was last changed; 0 for a missing key.
    ModRevision(i64),
    /// Value of the key. The comparison never holds for a missing key.
    Value(Bytes),
    /// Lease attached to the key; 0 if there is no lease, and for a missing key.
    Lease(i64),
    /// A target that the API does not define. As in etcd, the two values count as equal.
    Unrecognized(i32),
}

/// Makes the content at revisions below a given revision unreadable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compact {
    /// The new compaction mark. After the command, reads below the mark fail.
    pub revision: i64,
    /// True if the client waits until the versions are removed (the service waits). The store ignores this field:
    /// [`crate::Store::compact_slice`] removes the versions in either case.
    pub physical: bool,
}

/// Raises or clears an alarm. Raising or clearing an alarm twice is not an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmChange {
    /// Whether the alarm is raised or cleared.
    pub action: AlarmAction,
    /// The alarm, with its member.
    pub alarm: Alarm,
}

/// The change of an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlarmAction {
    /// The alarm is raised.
    Activate,
    /// The alarm is cleared.
    Deactivate,
}

/// An alarm of one member. The whole cluster obeys the alarm until the alarm is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// Kind of the alarm.
    pub kind: AlarmKind,
    /// ID of the member that raised the alarm.
    pub member: u64,
}

/// The kinds of alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The quota is used up. Commands with a put fail until the alarm is cleared.
    NoSpace,
    /// Members disagree about the content. Every write fails until the alarm is cleared.
    Corrupt,
}

/// A read (etcd API `RangeRequest`). The choice of the view decides whether the read is linearizable or serializable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The key, or the start of an interval of keys. Must not be empty.
    pub key: Bytes,
    /// If empty, only `key` is meant. If `"\0"`, `key` and all keys after `key` are meant. Otherwise this field is the
    /// end of the interval, and the interval does not contain its end.
    pub range_end: Bytes,
    /// Maximum number of keys in the answer; 0 or less: no limit.
    pub limit: i64,
    /// Revision at which to read; 0 or less: the newest revision.
    pub revision: i64,
    /// Order of the answer.
    pub sort_order: SortOrder,
    /// Field by which the answer is ordered.
    pub sort_target: SortTarget,
    /// If set, the answer contains neither values nor leases.
    pub keys_only: bool,
    /// If set, the answer contains only the count.
    pub count_only: bool,
    /// The answer omits keys that were last changed below this revision. 0 disables the filter.
    pub min_mod_revision: i64,
    /// The answer omits keys that were last changed above this revision. 0 disables the filter.
    pub max_mod_revision: i64,
    /// The answer omits keys that were created below this revision. 0 disables the filter.
    pub min_create_revision: i64,
    /// The answer omits keys that were created above this revision. 0 disables the filter.
    pub max_create_revision: i64,
}

/// The order of an answer (etcd API `RangeRequest.SortOrder`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// Key order. With a target other than the key, the answer is sorted by the target, ascending, *after* the limit was applied
    /// in key order.
    #[default]
    None,
    /// Lowest first.
    Ascend,
    /// Highest first.
    Descend,
    /// A number that the API does not define. The request is refused.
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

/// The field by which an answer is ordered (etcd API `RangeRequest.SortTarget`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// Key.
    #[default]
    Key,
    /// Version counter.
    Version,
    /// Revision of the creation.
    Create,
    /// Revision of the last change.
    Mod,
    /// Value.
    Value,
    /// A number that the API does not define. The request is refused.
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
