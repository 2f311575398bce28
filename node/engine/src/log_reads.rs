//! Owns the receivers of entries that are read back from the log, and the answers to a member that repairs its own log. Does not own the
//! reading (`log_thread.rs`), the connection to that member (the program), or why it must get the log of a leader
//! (`node/docs/repair.md`).

use std::sync::{Arc, Mutex, PoisonError};

use raft::{Entry, EntryId, MemberId, Term};
use storage::ReadFault;
use tokio::sync::oneshot;

use crate::slot::Slot;

/// Receiver of entries that are read from the log.
#[derive(Clone, Debug)]
pub enum ReadTarget {
    /// The core, which sends them to this member.
    Peer(MemberId),
    /// The apply thread. All entries of the range are read.
    Apply(Slot<Vec<Entry>>),
    /// A caller, for a member that repairs its log.
    Caller(LogReply),
}

/// The log of a leader, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderLog {
    /// Term that the member leads.
    pub term: Term,
    /// Last entry of its log. It may not be durable yet on this member.
    pub last: EntryId,
    /// Payload bytes of the entries after the one that the caller named; an estimate.
    pub payload_bytes: u64,
}

/// Why a question about the log has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogReadError {
    /// This member does not lead.
    #[error("this member does not lead")]
    NotLeader {
        /// The leader, if this member knows one.
        leader: Option<MemberId>,
    },
    /// Too many calls wait for the core.
    #[error("too many calls wait")]
    Overloaded,
    /// The core does not run.
    #[error("the member does not run")]
    Stopped,
    /// The entries cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadFault),
}

/// Entries that were read, or why the first one was not.
pub type LogRead = Result<Vec<Entry>, ReadFault>;

/// Receiver of entries for a caller. It is used once.
#[derive(Clone, Debug)]
pub struct LogReply(Arc<Mutex<Option<oneshot::Sender<LogRead>>>>);

impl LogReply {
    pub(crate) fn new(reply: oneshot::Sender<LogRead>) -> Self {
        Self(Arc::new(Mutex::new(Some(reply))))
    }

    /// Answers. The caller may have stopped waiting.
    pub(crate) fn send(&self, read: LogRead) {
        if let Some(reply) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(reply.send(read));
        }
    }
}
