//! Owns the list of events on the client port that the program can count. Does not own counting: the program's metrics
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
    /// A transaction that only reads, and does not go through the log.
    ReadonlyTxn,
    /// A compaction.
    Compaction,
    /// A call that raises or clears an alarm.
    Alarm,
}

impl Request {
    /// All requests, in the order of their numbers.
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

/// Whether a request succeeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// The request succeeded.
    Yes,
    /// The request failed or was refused.
    No,
}

impl Success {
    /// Returns whether a result is a success.
    #[must_use]
    pub fn of<T, E>(result: &Result<T, E>) -> Success {
        if result.is_ok() { Success::Yes } else { Success::No }
    }
}

/// Receives the events of calls. Each method is called on the thread of the connection, therefore an implementation
/// must not block.
pub trait CallObserver: fmt::Debug + Send + Sync {
    /// A proposal was made. A call of [`CallObserver::proposal_ended`] follows.
    fn proposal_began(&self);

    /// A proposal has an outcome, or its call was cancelled.
    fn proposal_ended(&self);

    /// A proposal was refused, or had no outcome in time.
    fn proposal_failed(&self);

    /// A linearizable read was confirmed after `took`.
    fn read_confirmed(&self, took: Duration);

    /// A linearizable read could not be confirmed.
    fn read_failed(&self);

    /// A range was read outside a transaction.
    fn range_read(&self);

    /// A transaction that did not go through the log was executed.
    fn transaction(&self, result: &TxnResult);

    /// The outcome of a request is known; the request took the duration `took`.
    fn request(&self, request: Request, success: Success, took: Duration);

    /// A gRPC call was answered with this code.
    fn call(&self, method: Method, code: Code);

    /// `/health` was answered.
    fn health_checked(&self, success: Success);
}

/// Guard of a pending proposal. When the guard is dropped, it reports the end of the proposal. The end of a cancelled
/// call is therefore reported as well.
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
    fn requests_are_listed_in_the_order_of_their_numbers() {
        for (index, request) in Request::ALL.into_iter().enumerate() {
            assert_eq!(request as usize, index);
        }
    }
}
