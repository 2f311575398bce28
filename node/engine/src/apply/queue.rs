//! Owns what waits for the apply thread, and how many bytes of it there are. Does not own the work (`run.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use raft::{Entry, SnapshotMeta};

use crate::log_thread::InstalledSignal;
use crate::mailbox::Mailbox;
use crate::shared::Shared;

/// Work for the apply thread, in log order.
#[derive(Debug)]
pub(crate) enum ApplyJob {
    /// Committed entries.
    Entries(Vec<Entry>),
    /// The state is replaced by this snapshot, once it is installed.
    Install { meta: SnapshotMeta, installed: InstalledSignal },
}

impl ApplyJob {
    /// Payload bytes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Entries(entries) => entries.iter().map(|entry| entry.payload.len()).sum(),
            Self::Install { .. } => 0,
        }
    }

    /// Whether the job would not wait for the log thread.
    pub(super) fn can_begin(&self) -> bool {
        match self {
            Self::Entries(_) => true,
            Self::Install { installed, .. } => installed.is_set(),
        }
    }
}

/// The apply thread's work. Its bytes count as [`Shared::unapplied_bytes`] until they are applied.
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

    /// Sleeps until there is work, then takes all of it into `jobs`, which must be empty. Returns `false` once the queue is closed
    /// and empty.
    pub(super) fn take(&self, jobs: &mut Vec<ApplyJob>) -> bool {
        self.jobs.take(jobs)
    }

    /// Adds all work to `jobs` without waiting.
    pub(super) fn take_now(&self, jobs: &mut Vec<ApplyJob>) {
        self.jobs.take_now(jobs);
    }

    /// Reports that a job of this size was carried out.
    pub(super) fn applied(&self, bytes: usize) {
        self.shared.unapplied_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether work waits, or the queue is closed.
    pub(super) fn has_work(&self) -> bool {
        self.jobs.has_work()
    }

    /// Ends the thread once it has done what waits.
    pub(crate) fn close(&self) {
        self.jobs.close();
    }
}
