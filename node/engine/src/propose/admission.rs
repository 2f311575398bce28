//! Owns the admission of commands: limits on the number and bytes of commands under way, above which new commands are refused.
//! Does not own batching (`batch.rs`) or outcomes (`pending.rs`).

use std::sync::atomic::{AtomicUsize, Ordering};

use mvcc::Command;

use crate::error::ProposeError;
use crate::outcome::Committed;
use crate::reply::Waiter;

/// Maximum number of commands under way. A command is under way from its admission until its answer.
const REQUESTS_MAX: usize = 16_384;
/// Maximum number of bytes of all commands under way. A command counts with the bytes that the quota charges for it, or with
/// those of the message that it keeps in memory, whichever are more: deletions and comparisons cost the quota nothing.
/// [`Admission::limit`] changes it.
const BYTES_MAX: usize = 64 << 20;

/// Maximum number of bytes of one command. If an entry is almost full and a command of this size is added, the entry
/// still fits into one frame between members.
const COMMAND_BYTES_MAX: usize = 48 << 20;

/// A command and the caller that waits for its outcome.
#[derive(Debug)]
pub(crate) struct Proposal {
    /// The command.
    pub(crate) command: Command,
    /// Bytes that [`Admission`] counts for the command.
    pub(crate) bytes: usize,
    /// The caller.
    pub(crate) waiter: Waiter<Result<Committed, ProposeError>>,
}

/// Number and bytes of the commands under way. Every admitted command is released exactly once, when the command is answered.
#[derive(Debug)]
pub(crate) struct Admission {
    requests: AtomicUsize,
    bytes: AtomicUsize,
    bytes_max: AtomicUsize,
}

impl Default for Admission {
    fn default() -> Self {
        Self { requests: AtomicUsize::new(0), bytes: AtomicUsize::new(0), bytes_max: AtomicUsize::new(BYTES_MAX) }
    }
}

impl Admission {
    /// Changes the maximum number of bytes of all commands under way.
    pub(crate) fn limit(&self, bytes_max: usize) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Admits a command, which keeps `message_bytes` in memory, if the limits allow it.
    pub(crate) fn admit(
        &self,
        command: Command,
        message_bytes: usize,
        waiter: Waiter<Result<Committed, ProposeError>>,
    ) -> Result<Proposal, ProposeError> {
        let bytes = usize::try_from(command.cost_bytes()).unwrap_or(usize::MAX).max(message_bytes);
        if bytes > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLarge { bytes, limit: COMMAND_BYTES_MAX });
        }
        let bytes_max = self.bytes_max.load(Ordering::Relaxed);
        let requests = self.requests.fetch_add(1, Ordering::Relaxed);
        let waiting_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // A command is always admitted while no other command is under way, because the check above already limits the command's
        // size.
        if requests > 0 && (requests >= REQUESTS_MAX || waiting_bytes.saturating_add(bytes) > bytes_max) {
            self.release(1, bytes);
            return Err(ProposeError::Overloaded);
        }
        Ok(Proposal { command, bytes, waiter })
    }

    /// Releases this number of answered commands, and their bytes.
    pub(crate) fn release(&self, requests: usize, bytes: usize) {
        self.requests.fetch_sub(requests, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Number of commands under way.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use mvcc::DeleteRange;
    use tokio::sync::oneshot;

    use super::*;
    use crate::reply::ReplyLaneId;

    /// The quota charges nothing for a deletion, however long its key is. Its caller may be gone before it is proposed.
    #[test]
    fn a_command_counts_with_the_message_that_it_keeps() {
        const MESSAGE_BYTES: usize = 1 << 20;
        let admission = Admission::default();
        let admit = || {
            let (reply, _) = oneshot::channel();
            let command = Command::DeleteRange(DeleteRange { key: vec![0; 100].into(), ..DeleteRange::default() });
            admission.admit(command, MESSAGE_BYTES, Waiter { reply, lane: ReplyLaneId(0) })
        };
        let admitted: Vec<_> = std::iter::from_fn(|| admit().ok()).take(1_000).collect();
        assert_eq!(admitted.len(), BYTES_MAX / MESSAGE_BYTES);
        admitted.iter().for_each(|proposal| admission.release(1, proposal.bytes));
        assert!(admit().is_ok());
    }
}
