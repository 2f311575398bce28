//! Owns the answers and refusals of the store, as plain types. Does not own the rules that lead to an answer (`apply`, `txn`,
//! `range`).

use crate::command::{Alarm, ValidateError};
use crate::key_value::KeyValue;
use crate::revision::Revision;

/// Whether a caller waits for the answer to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A caller waits, so that the answer is complete.
    Wanted,
    /// No caller waits. The answer has no content of ranges and no previous versions.
    Discarded,
}

/// The effect of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The store's revision after the command, which is also the revision in the response header.
    pub revision: Revision,
    /// The rest of the answer.
    pub response: Response,
}

/// The part of an answer that depends on the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The answer to [`crate::Command::Put`].
    Put(PutResult),
    /// The answer to [`crate::Command::DeleteRange`].
    DeleteRange(DeleteRangeResult),
    /// The answer to [`crate::Command::Txn`].
    Txn(TxnResult),
    /// The answer to [`crate::Command::Compact`].
    Compact,
    /// The answer to [`crate::Command::Alarm`]: the alarm that was raised or cleared; `None` if there was no alarm to clear.
    Alarm(Option<Alarm>),
    /// The answer to [`crate::Command::RaiseFeatureLevel`].
    RaiseFeatureLevel,
}

/// The answer to a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutResult {
    /// The revision of the new version, which is also the revision in the response header, even inside a transaction.
    pub revision: Revision,
    /// The version that was replaced, if the request has `prev_kv` set and the key existed.
    pub prev_kv: Option<KeyValue>,
}

/// The answer to a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRangeResult {
    /// The revision after the delete, which is also the revision in the response header, even inside a transaction.
    pub revision: Revision,
    /// Number of deleted keys.
    pub deleted: u64,
    /// The deleted versions in key order, if the request has `prev_kv` set.
    pub prev_kvs: Vec<KeyValue>,
}

/// The answer to a transaction. The header of the outermost transaction has the revision of [`Outcome`]. The header of a nested
/// transaction is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether every comparison held. If so, `success` ran, otherwise `failure`.
    pub succeeded: bool,
    /// The answers to the operations of the branch that ran, in order.
    pub responses: Vec<OpResult>,
}

/// The answer to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// The answer to a range.
    Range(RangeResult),
    /// The answer to a put.
    Put(PutResult),
    /// The answer to a delete.
    DeleteRange(DeleteRangeResult),
    /// The answer to a nested transaction.
    Txn(TxnResult),
}

/// The answer to a [`crate::Range`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeResult {
    /// The store's revision at the time of the read, even if the request reads an older revision. It is also the revision in the
    /// response header.
    pub revision: Revision,
    /// The keys in the requested order. With `keys_only` they have no value and, unless they are sorted by value, no lease.
    pub kvs: Vec<KeyValue>,
    /// Number of live keys of the interval, regardless of limit and filters.
    pub count: u64,
    /// Whether the answer lacks keys because of the limit.
    pub more: bool,
}

impl RangeResult {
    /// An answer without keys.
    pub(crate) fn empty(revision: Revision) -> RangeResult {
        RangeResult { revision, kvs: Vec::new(), count: 0, more: false }
    }
}

/// Reason why a command was refused and changed nothing. Every member gives the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// [`crate::Command::validate`] refuses the request, so the request should not have been proposed.
    #[error(transparent)]
    Invalid(#[from] ValidateError),
    /// etcd's error InvalidArgument "etcdserver: key not found": the put has `ignore_value` or `ignore_lease` set, but
    /// the key does not exist.
    #[error("the key whose value or lease was to be kept does not exist")]
    KeyNotFound,
    /// etcd's error NotFound "etcdserver: requested lease not found".
    #[error("the lease does not exist")]
    LeaseNotFound,
    /// etcd's error OutOfRange "etcdserver: mvcc: required revision has been compacted".
    #[error("the revision is compacted already")]
    Compacted,
    /// etcd's error OutOfRange "etcdserver: mvcc: required revision is a future revision".
    #[error("the revision does not exist yet")]
    FutureRevision,
    /// etcd's error ResourceExhausted "etcdserver: mvcc: database space exceeded".
    #[error("the quota is used up: delete keys, compact, then clear the alarm")]
    NoSpace,
    /// etcd's error DataLoss "etcdserver: corrupt cluster".
    #[error("members disagree about the content: find the right one, then clear the alarm")]
    Corrupt,
}

/// Why a read failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// [`crate::Range::validate`] refuses the request.
    #[error(transparent)]
    Invalid(#[from] ValidateError),
    /// etcd's error OutOfRange "etcdserver: mvcc: required revision has been compacted".
    #[error("the revision is compacted: read a newer one")]
    Compacted,
    /// etcd's error OutOfRange "etcdserver: mvcc: required revision is a future revision".
    #[error("the revision does not exist yet: read an older one")]
    FutureRevision,
}

impl From<RangeError> for CommandError {
    fn from(error: RangeError) -> Self {
        match error {
            RangeError::Invalid(error) => CommandError::Invalid(error),
            RangeError::Compacted => CommandError::Compacted,
            RangeError::FutureRevision => CommandError::FutureRevision,
        }
    }
}
