//! Owns the list of events on the client port that the program can count. Does not own counting: the program's metrics
//! implement [`CallObserver`].

use std::fmt;
use std::time::{Duration, Instant};

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
/// call, or of one whose time is over, is therefore reported as well, and counts as a failure.
#[derive(Debug)]
pub(super) struct PendingProposal<'a> {
    observer: &'a dyn CallObserver,
    has_outcome: bool,
}

impl<'a> PendingProposal<'a> {
    pub(super) fn begin(observer: &'a dyn CallObserver) -> Self {
        observer.proposal_began();
        Self { observer, has_outcome: false }
    }

    /// Ends the proposal, because its outcome is known.
    pub(super) fn succeed(mut self) {
        self.has_outcome = true;
    }
}

impl Drop for PendingProposal<'_> {
    fn drop(&mut self) {
        self.observer.proposal_ended();
        if !self.has_outcome {
            self.observer.proposal_failed();
        }
    }
}

/// Guard of a request whose duration is measured. When the guard is dropped, it reports the request, as failed unless
/// [`PendingRequest::end`] was called. Requests whose time is over are therefore reported as well.
#[derive(Debug)]
pub(super) struct PendingRequest<'a> {
    observer: &'a dyn CallObserver,
    request: Request,
    started: Instant,
    success: Success,
}

impl<'a> PendingRequest<'a> {
    pub(super) fn begin(observer: &'a dyn CallObserver, request: Request) -> Self {
        Self { observer, request, started: Instant::now(), success: Success::No }
    }

    /// Ends the request with this result.
    pub(super) fn end<T, E>(mut self, result: &Result<T, E>) {
        self.success = Success::of(result);
    }
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        self.observer.request(self.request, self.success, self.started.elapsed());
    }
}

/// Guard of a call. When the guard is dropped, it reports the call, as cancelled by the client unless
/// [`PendingCall::end`] was called.
#[derive(Debug)]
pub(super) struct PendingCall<'a> {
    observer: &'a dyn CallObserver,
    method: Method,
    code: Code,
}

impl<'a> PendingCall<'a> {
    pub(super) fn begin(observer: &'a dyn CallObserver, method: Method) -> Self {
        Self { observer, method, code: Code::Cancelled }
    }

    /// Ends the call with this code.
    pub(super) fn end(mut self, code: Code) {
        self.code = code;
    }
}

impl Drop for PendingCall<'_> {
    fn drop(&mut self) {
        self.observer.call(self.method, self.code);
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
