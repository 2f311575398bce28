//! Owns the queue of jobs for the apply thread, and the count of the jobs' bytes. Does not own the execution of jobs (`run.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft::{Entry, SnapshotMeta};

use crate::log_thread::InstalledSignal;
use crate::mailbox::Mailbox;
use crate::shared::Shared;
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
    /// Payload bytes of the job's entries; 0 for entries that are yet to be read, which the core bounds.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Entries(entries) => entries.iter().map(|entry| entry.payload.len()).sum(),
            Self::Stored(_) | Self::Install { .. } => 0,
        }
    }

    /// Returns whether the job can begin without waiting for the log thread.
    pub(super) fn can_begin(&self) -> bool {
        match self {
            Self::Entries(_) => true,
            Self::Stored(slot) => slot.is_set(),
            Self::Install { installed, .. } => installed.is_set(),
        }
    }
}

/// Queue of jobs for the apply thread. The bytes of a job count as [`Shared::unapplied_bytes`] until the job is done.
#[derive(Debug)]
pub(crate) struct ApplyQueue {
    jobs: Mailbox<ApplyJob>,
    shared: Arc<Shared>,
}

impl ApplyQueue {
    /// An empty queue.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { jobs: Mailbox::default(), shared }
    }

    /// Adds a job.
    pub(crate) fn push(&self, job: ApplyJob) {
        self.shared.unapplied_bytes.fetch_add(job.bytes(), Ordering::Relaxed);
        self.jobs.push(job);
    }

    /// Sleeps until a job waits, then moves all jobs into `jobs`, which must be empty. Returns `false` once the queue is closed
    /// and empty.
    pub(super) fn take(&self, jobs: &mut Vec<ApplyJob>) -> bool {
        self.jobs.take(jobs)
    }

    /// Adds all jobs to `jobs` without waiting.
    pub(super) fn take_now(&self, jobs: &mut Vec<ApplyJob>) {
        self.jobs.take_now(jobs);
    }

    /// Reports that a job of this size is done.
    pub(super) fn applied(&self, bytes: usize) {
        self.shared.unapplied_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns whether a job waits, or the queue is closed.
    pub(super) fn has_work(&self) -> bool {
        self.jobs.has_work()
    }

    /// Closes the queue. The thread ends once it has executed the jobs that still wait.
    pub(crate) fn close(&self) {
        self.jobs.close();
    }
}
