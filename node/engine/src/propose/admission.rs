//! One client's command on its way into the log, and how much may be under way. Owns the bound: it refuses rather than
//! grows. Does not own batching (`batch`) or outcomes (`pending`).

use std::sync::atomic::{AtomicUsize, Ordering};

use mvcc::Command;

use crate::error::ProposeError;
use crate::outcome::Committed;
use crate::reply::Waiter;

/// Commands under way, from the door to the answer.
const REQUESTS_MAX: usize = 16_384;
/// Their bytes, as the quota would count them.
const BYTES_MAX: usize = 64 << 20;

/// One command; with a full entry around it, it still fits a frame between members.
const COMMAND_BYTES_MAX: usize = 48 << 20;

/// A command and who waits for its outcome.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// What to do.
    pub(crate) command: Command,
    /// What it counts as in [`Admission`].
    pub(crate) bytes: usize,
    /// Who asked.
    pub(crate) waiter: Waiter<Result<Committed, ProposeError>>,
}

/// How much is under way. Every admitted command is released exactly once, when it is answered.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

impl Admission {
    /// Lets a command in, if there is room.
    pub(crate) fn admit(
        &self,
        command: Command,
        waiter: Waiter<Result<Committed, ProposeError>>,
    ) -> Result<Proposal, ProposeError> {
        let bytes = usize::try_from(command.cost_bytes()).unwrap_or(usize::MAX);
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes, limit: COMMAND_BYTES_MAX });
        }
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let waiting_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // One command is always let in, however large: the door and the entry limit bound it.
        if requests > 0 && (requests >= REQUESTS_MAX || waiting_bytes.saturating_add(bytes) > BYTES_MAX) {
            self.release(1, bytes);
            return Err(ProposeError::Overloaded);
        }
        Ok(Proposal { command, bytes, waiter })
    }

    /// So many commands of so many bytes were answered.
    pub(crate) fn release(&self, requests: usize, bytes: usize) {
        self.requests.fetch_sub(requests, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Commands under way.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}
