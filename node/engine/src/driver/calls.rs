//! Owns the administrative calls that wait for the core: as many as the inbox lets in, each for a few seconds at most. Does not
//! own their outcome (`control.rs`).

use std::time::Duration;

use raft::{Index, MemberId, Term};
use tokio::sync::oneshot;

use crate::error::{ChangeError, TransferError};

/// A membership change whose entry is not committed yet.
#[derive(Debug)]
pub(super) struct Changing {
    pub(super) index: Index,
    pub(super) term: Term,
    pub(super) deadline: Duration,
    pub(super) reply: oneshot::Sender<Result<Index, ChangeError>>,
}

/// A leadership transfer that has not ended.
#[derive(Debug)]
pub(super) struct Transferring {
    pub(super) deadline: Duration,
    pub(super) reply: oneshot::Sender<Result<MemberId, TransferError>>,
}

/// Calls that are under way. As many as the inbox lets in, each for a few seconds at most.
#[derive(Debug, Default)]
pub(super) struct Controls {
    pub(super) changing: Vec<Changing>,
    pub(super) transferring: Vec<Transferring>,
}

impl Controls {
    /// When the first of them times out.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let changes = self.changing.iter().map(|changing| changing.deadline);
        changes.chain(self.transferring.iter().map(|transferring| transferring.deadline)).min()
    }
}
