//! Owns the administrative calls that wait for the core, and the bound of their number. Each call waits a few seconds at most.
//! Does not own their outcome (`control.rs`, `level.rs`).

use std::time::Duration;

use mvcc::FeatureLevel;
use raft::{Index, MemberId, Term};
use tokio::sync::oneshot;

use crate::error::{ChangeError, RaiseError, TransferError};

/// Maximum number of calls that wait. Any client may ask for a transfer, as often as it likes.
const CALLS_MAX: usize = 64;

/// A membership change whose entry is not committed yet.
#[derive(Debug)]
pub(super) struct PendingChange {
    pub(super) index: Index,
    pub(super) term: Term,
    pub(super) deadline: Duration,
    pub(super) reply: oneshot::Sender<Result<Index, ChangeError>>,
}

/// A leadership transfer that has not ended.
#[derive(Debug)]
pub(super) struct PendingTransfer {
    pub(super) deadline: Duration,
    pub(super) reply: oneshot::Sender<Result<MemberId, TransferError>>,
}

/// A raise of the feature level whose entry is in the log of this leader and not applied yet.
#[derive(Debug)]
pub(super) struct PendingRaise {
    pub(super) to: FeatureLevel,
    pub(super) index: Index,
    pub(super) term: Term,
    pub(super) deadline: Duration,
    /// `None` once the caller was answered, because the deadline has passed.
    pub(super) reply: Option<oneshot::Sender<Result<FeatureLevel, RaiseError>>>,
}

/// Administrative calls that wait for an outcome.
#[derive(Debug, Default)]
pub(super) struct PendingCalls {
    pub(super) changes: Vec<PendingChange>,
    pub(super) transfers: Vec<PendingTransfer>,
    /// The raise of the feature level in progress. At most one is.
    pub(super) raise: Option<PendingRaise>,
}

impl PendingCalls {
    /// Returns whether no further call may wait.
    pub(super) fn are_full(&self) -> bool {
        self.changes.len() + self.transfers.len() >= CALLS_MAX
    }

    /// Earliest deadline of a pending call; `None` if no call waits.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let changes = self.changes.iter().map(|change| change.deadline);
        let raise = self.raise.as_ref().filter(|raise| raise.reply.is_some()).map(|raise| raise.deadline);
        changes.chain(self.transfers.iter().map(|transfer| transfer.deadline)).chain(raise).min()
    }
}
