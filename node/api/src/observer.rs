//! Owns the list of what happens on the client port that the program may count. Does not own counting: the program's metrics
//! implement [`CallObserver`].

use std::fmt;
use std::time::Duration;

use mvcc::TxnResult;
use tonic::Code;

use crate::method::Method;

/// Requests whose duration is measured (etcd's label `type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A range.
    Range,
    /// A put.
    Put,
    /// A delete.
    DeleteRange,
    /// A transaction that goes through the log.
    Txn,
    /// A transaction that does not.
    ReadonlyTxn,
    /// A compaction.
    Compaction,
    /// Raising or clearing an alarm.
    Alarm,
}

impl Request {
    /// All of them, each at the place of its number.
    pub const ALL: [Request; 7] = [
        Request::Range,
        Request::Put,
        Request::DeleteRange,
        Request::Txn,
        Request::ReadonlyTxn,
        Request::Compaction,
        Request::Alarm,
    ];

    /// Value of etcd's label `type`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Request::Range => "Range",
            Request::Put => "Put",
            Request::DeleteRange => "DeleteRange",
            Request::Txn => "Txn",
            Request::ReadonlyTxn => "ReadonlyTxn",
            Request::Compaction => "Compaction",
            Request::Alarm => "Alarm",
        }
    }
}

/// Whether a request did what it was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// It did.
    Yes,
    /// It failed or was refused.
    No,
}

impl Success {
    /// Of a result.
    #[must_use]
    pub fn of<T, E>(result: &Result<T, E>) -> Success {
        if result.is_ok() { Success::Yes } else { Success::No }
    }
}

/// Is notified as calls proceed, on the thread of their connection, so an implementation must not block.
pub trait CallObserver: fmt::Debug + Send + Sync {
    /// A proposal awaits its outcome. [`CallObserver::proposal_ended`] follows.
    fn proposal_began(&self);

    /// A proposal awaits its outcome no longer.
    fn proposal_ended(&self);

    /// A proposal was refused, or its outcome was not seen in time.
    fn proposal_failed(&self);

    /// A linearizable read was confirmed.
    fn read_confirmed(&self, took: Duration);

    /// A linearizable read could not be confirmed.
    fn read_failed(&self);

    /// A range was read outside a transaction.
    fn range_read(&self);

    /// A transaction was executed around the log.
    fn transaction(&self, result: &TxnResult);

    /// A request has its outcome.
    fn request(&self, request: Request, success: Success, took: Duration);

    /// A gRPC call was answered with this code.
    fn call(&self, method: Method, code: Code);

    /// `/health` was answered.
    fn health_checked(&self, success: Success);
}

/// A proposal that awaits its outcome; it ends with this value, also when its call is cancelled.
#[derive(Debug)]
pub(super) struct PendingProposal<'a>(&'a dyn CallObserver);

impl<'a> PendingProposal<'a> {
    pub(super) fn begin(observer: &'a dyn CallObserver) -> Self {
        observer.proposal_began();
        Self(observer)
    }
}

impl Drop for PendingProposal<'_> {
    fn drop(&mut self) {
        self.0.proposal_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_its_own_place() {
        for (place, request) in Request::ALL.into_iter().enumerate() {
            assert_eq!(request as usize, place);
        }
    }
}
