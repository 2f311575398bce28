//! Owns the jobs for the apply thread. Does not own their execution (`run.rs`), nor how much is given to the thread at a time, which
//! the core bounds.

use raft::{Entry, SnapshotMeta};

use crate::log_thread::InstalledSignal;
use crate::mailbox::Mailbox;
use crate::slot::Slot;

/// A job for the apply thread. The queue keeps jobs in log order.
#[derive(Debug)]
pub(crate) enum ApplyJob {
    /// Committed entries.
    Entries(Vec<Entry>),
    /// Committed entries that the log thread reads from the disk.
    Stored(Slot<Vec<Entry>>),
    /// Replace the state by this snapshot once the snapshot is installed.
    Install { meta: SnapshotMeta, installed: InstalledSignal },
}

impl ApplyJob {
    /// Returns whether the job can begin without waiting for the log thread.
    pub(super) fn can_begin(&self) -> bool {
        match self {
            Self::Entries(_) => true,
            Self::Stored(slot) => slot.is_set(),
            Self::Install { installed, .. } => installed.is_set(),
        }
    }
}

/// Queue of jobs for the apply thread.
pub(crate) type ApplyQueue = Mailbox<ApplyJob>;
