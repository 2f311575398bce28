//! Owns the store and what each command does to it. Does not own transactions (`txn`), reads (`range`) or the removal of
//! compacted versions (`compaction`).

use std::sync::Arc;

use crate::command::{AlarmAction, AlarmChange, AlarmKind, Command, DeleteRange, Put, ValidateError};
use crate::index::Interval;
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::range::{RangeError, RangeResult};
use crate::revision::{FullRevision, Revision};
use crate::txn;
use crate::view::View;

/// The replicated store. One thread owns it and applies committed commands in log order; readers hold [`View`]s.
///
/// Members that apply the same commands with the same times hold the same content, to the byte.
#[derive(Debug)]
pub struct Store {
    pub(crate) space: Keyspace,
    scratch: Vec<u8>,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The store's revision afterwards: the header's.
    pub revision: Revision,
    /// The rest of the answer.
    pub response: Response,
}

/// The part of an answer that depends on the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To [`Command::Put`].
    Put(PutResult),
    /// To [`Command::DeleteRange`].
    DeleteRange(DeleteRangeResult),
    /// To [`Command::Txn`].
    Txn(TxnResult),
    /// To [`Command::Compact`].
    Compact,
    /// To [`Command::Alarm`]: the alarm, raised now or before, or cleared; `None` if there was none to clear.
    Alarm(Option<crate::Alarm>),
}

/// The answer to a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutResult {
    /// The revision it made: the header's, also inside a transaction.
    pub revision: Revision,
    /// The version it replaced, if asked for and there was one.
    pub prev_kv: Option<KeyValue>,
}

/// The answer to a delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRangeResult {
    /// The revision afterwards: the header's, also inside a transaction.
    pub revision: Revision,
    /// How many keys it deleted.
    pub deleted: u64,
    /// The versions it deleted, in key order, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// The answer to a transaction. The outermost takes its header's revision from [`Outcome`]; a nested one has an empty header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnResult {
    /// Whether the comparisons held and `success` ran.
    pub succeeded: bool,
    /// The answers to the operations of the branch that ran, in order.
    pub responses: Vec<OpResult>,
}

/// The answer to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpResult {
    /// To a range.
    Range(RangeResult),
    /// To a put.
    Put(PutResult),
    /// To a delete.
    DeleteRange(DeleteRangeResult),
    /// To a nested transaction.
    Txn(TxnResult),
}

/// Why a command changed nothing. Every member finds the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The request should have been refused at the door by [`Command::validate`].
    #[error(transparent)]
    Invalid(#[from] ValidateError),
    /// InvalidArgument "etcdserver: key not found": `ignore_value` or `ignore_lease` on a missing key.
    #[error("the key whose value or lease was to be kept does not exist")]
    KeyNotFound,
    /// NotFound "etcdserver: requested lease not found".
    #[error("the lease does not exist")]
    LeaseNotFound,
    /// OutOfRange "etcdserver: mvcc: required revision has been compacted".
    #[error("the revision is compacted already")]
    Compacted,
    /// OutOfRange "etcdserver: mvcc: required revision is a future revision".
    #[error("the revision does not exist yet")]
    FutureRevision,
    /// ResourceExhausted "etcdserver: mvcc: database space exceeded".
    #[error("the quota is used up: delete keys, compact, then clear the alarm")]
    NoSpace,
    /// DataLoss "etcdserver: corrupt cluster".
    #[error("members disagree about the content: find the right one, then clear the alarm")]
    Corrupt,
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

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty store: revision 1, never compacted.
    #[must_use]
    pub fn new() -> Store {
        Store::holding(Keyspace::new())
    }

    pub(crate) fn holding(space: Keyspace) -> Store {
        Store { space, scratch: Vec::new() }
    }

    /// An immutable picture of the content as it is now; costs nothing, whatever the size.
    #[must_use]
    pub fn view(&self) -> View {
        View { space: self.space.clone() }
    }

    /// Applies one committed command. `time_ms` is the time of its log entry, in milliseconds since the Unix epoch; it is
    /// kept if it is newer than all before.
    ///
    /// # Errors
    /// Nothing changed but the time; the error is the command's answer.
    pub fn apply(&mut self, time_ms: u64, command: &Command) -> Result<Outcome, CommandError> {
        self.space.time_ms = self.space.time_ms.max(time_ms);
        self.refuse_under_alarm(command)?;
        let response = match command {
            Command::Put(put) => {
                txn::check_put(&self.space, put)?;
                self.write(|write| Response::Put(write.put(put)))
            }
            Command::DeleteRange(delete) => self.write(|write| Response::DeleteRange(write.delete_range(delete))),
            Command::Txn(txn) => {
                let path = txn::compare(&self.space, txn);
                txn::check(&self.space, txn, &path)?;
                self.write(|write| Response::Txn(txn::run(write, txn, &path)))
            }
            Command::Compact(compact) => {
                self.space.compact(Revision(compact.revision))?;
                Response::Compact
            }
            Command::Alarm(change) => Response::Alarm(self.change_alarm(*change)),
        };
        Ok(Outcome { revision: self.space.revision, response })
    }

    fn refuse_under_alarm(&self, command: &Command) -> Result<(), CommandError> {
        if self.space.alarms.is_empty() || matches!(command, Command::Alarm(_)) {
            return Ok(());
        }
        if self.space.alarm_raised(AlarmKind::Corrupt) {
            return Err(CommandError::Corrupt);
        }
        if self.space.alarm_raised(AlarmKind::NoSpace) && command.cost_bytes() > 0 {
            return Err(CommandError::NoSpace);
        }
        Ok(())
    }

    fn change_alarm(&mut self, change: AlarmChange) -> Option<crate::Alarm> {
        let alarms = Arc::make_mut(&mut self.space.alarms);
        match change.action {
            AlarmAction::Activate => {
                alarms.insert(change.alarm);
                Some(change.alarm)
            }
            AlarmAction::Deactivate => alarms.take(&change.alarm),
        }
    }

    /// Runs changes that share one revision; it counts only if something changed.
    fn write(&mut self, changes: impl FnOnce(&mut Write<'_>) -> Response) -> Response {
        let mut write = Write { space: &mut self.space, scratch: &mut self.scratch, changes: 0 };
        let response = changes(&mut write);
        self.space.revision = write.revision();
        response
    }
}

/// The changes of one command, under way.
pub(crate) struct Write<'a> {
    pub(crate) space: &'a mut Keyspace,
    scratch: &'a mut Vec<u8>,
    changes: u32,
}

impl Write<'_> {
    /// The revision that the content now belongs to: the next one, as soon as something has changed.
    pub(crate) fn revision(&self) -> Revision {
        if self.changes == 0 { self.space.revision } else { self.space.revision.next() }
    }

    /// The full revision of the next change.
    fn next_change(&mut self) -> FullRevision {
        let revision = FullRevision { main: self.space.revision.next(), sub: self.changes };
        self.changes = self.changes.checked_add(1).expect("no command names 2^32 keys");
        revision
    }

    pub(crate) fn put(&mut self, put: &Put) -> PutResult {
        let wants_previous = put.prev_kv || put.ignore_value || put.ignore_lease;
        let previous = if wants_previous { self.space.newest(&put.key) } else { None };
        let kept = previous.as_ref().map(KeyValue::fields).unwrap_or_default();
        let value = if put.ignore_value { kept.value } else { &put.value };
        let lease = if put.ignore_lease { kept.lease } else { put.lease };

        let revision = self.next_change();
        self.space.put(self.scratch, revision, &put.key, value, lease);
        PutResult { revision: revision.main, prev_kv: previous.filter(|_| put.prev_kv) }
    }

    pub(crate) fn delete_range(&mut self, delete: &DeleteRange) -> DeleteRangeResult {
        let interval = Interval::new(&delete.key, &delete.range_end);
        let doomed: Vec<KeyValue> = self
            .space
            .index
            .scan(interval)
            .filter(|(_, entry)| entry.is_live())
            .map(|(_, entry)| self.space.version(entry).clone())
            .collect();
        for version in &doomed {
            let revision = self.next_change();
            self.space.delete(self.scratch, revision, version.key());
        }
        let deleted = doomed.len() as u64;
        DeleteRangeResult {
            revision: self.revision(),
            deleted,
            prev_kvs: if delete.prev_kv { doomed } else { Vec::new() },
        }
    }
}
