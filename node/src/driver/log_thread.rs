//! The thread that owns the disk: everything that gathered during one sync goes into the next write and sync, together
//! (group commit). Owns the order of the jobs; the order inside a job is `storage`'s. A failed sync ends the process: nobody
//! knows what is on the disk then, and a retry could report success over lost bytes.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raft::{HardState, Index, IoId, MemberId, Persist, SnapshotMeta};
use storage::{Storage, StorageError};

use crate::driver::mailbox::Mailbox;
use crate::fatal::fatal;
use crate::handle::Shared;

/// A full disk is tried again so often.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// Work for the log thread, in the core's order.
#[derive(Debug)]
pub(crate) enum LogJob {
    /// Make durable, with one sync, and acknowledge.
    Persist(Vec<Persist>),
    /// Replace the log by a received snapshot, then acknowledge and let the apply thread load it.
    Install { io: IoId, from: MemberId, hard_state: Option<HardState>, meta: SnapshotMeta, installed: InstalledSignal },
    /// Received snapshots up to this index are of no use.
    Discard { index: Index },
    /// Nothing below this index is needed any more.
    Purge { first_kept: Index },
    /// The member was removed.
    Tombstone { index: Index },
}

impl LogJob {
    fn what(&self) -> &'static str {
        match self {
            Self::Persist(_) => "write to the log",
            Self::Install { .. } => "install a snapshot",
            Self::Discard { .. } => "discard a received snapshot",
            Self::Purge { .. } => "purge the log",
            Self::Tombstone { .. } => "write the tombstone",
        }
    }
}

/// Tells the apply thread that a snapshot is installed.
#[derive(Clone, Debug, Default)]
pub(crate) struct InstalledSignal(Arc<(Mutex<bool>, Condvar)>);

impl InstalledSignal {
    fn set(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Whether it is set.
    pub(crate) fn is_set(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Blocks until it is set; the log thread sets it, or ends the process.
    pub(crate) fn wait(&self) {
        let mut set = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*set {
            set = self.0.1.wait(set).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Carries jobs out, one after the other: what stands before one in the core's order is durable before it begins.
pub(crate) struct LogWriter {
    storage: Storage,
    waiting: VecDeque<LogJob>,
    shared: Arc<Shared>,
}

impl LogWriter {
    /// Owns `storage` from here on.
    pub(crate) fn new(storage: Storage, shared: Arc<Shared>) -> Self {
        Self { storage, waiting: VecDeque::new(), shared }
    }

    /// Adds jobs, and leaves `jobs` empty; writes that follow each other become one.
    pub(crate) fn take_in(&mut self, jobs: &mut Vec<LogJob>) {
        for job in jobs.drain(..) {
            match (self.waiting.back_mut(), job) {
                (Some(LogJob::Persist(group)), LogJob::Persist(mut more)) => group.append(&mut more),
                (_, job) => self.waiting.push_back(job),
            }
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Does the next job and tells who waits for it. The job; `None`: there was none.
    ///
    /// # Errors
    /// It is not done, and still the next.
    pub(crate) fn advance(&mut self) -> Result<Option<LogJob>, (&'static str, StorageError)> {
        let Some(job) = self.waiting.pop_front() else { return Ok(None) };
        match self.carry_out(&job) {
            Ok(()) => Ok(Some(job)),
            Err(reason) => {
                let what = job.what();
                self.waiting.push_front(job);
                Err((what, reason))
            }
        }
    }

    fn carry_out(&mut self, job: &LogJob) -> Result<(), StorageError> {
        match job {
            LogJob::Persist(group) => self.commit(group),
            LogJob::Install { io, from, hard_state, meta, installed } => {
                self.storage.install_snapshot(meta, *hard_state)?;
                let index = meta.last.index;
                tracing::info!(%index, %from, "installed a snapshot");
                self.shared.snapshot.fetch_max(index.0, Ordering::Relaxed);
                installed.set();
                self.shared.inbox.persisted(*io);
                self.waiting.push_front(LogJob::Discard { index });
                Ok(())
            }
            LogJob::Discard { index } => self.storage.snapshots().discard_received(*index),
            LogJob::Purge { first_kept } => self.storage.purge(*first_kept),
            LogJob::Tombstone { index } => self.storage.bury(*index),
        }
    }

    fn commit(&mut self, group: &[Persist]) -> Result<(), StorageError> {
        let Some(last) = group.last().map(|persist| persist.io) else { return Ok(()) };
        let entries = group.iter().map(|persist| persist.entries.len()).sum();
        let started = Instant::now();
        self.storage.append(group)?;
        self.shared.metrics.log_written(entries, started.elapsed());
        self.shared.inbox.persisted(last);
        Ok(())
    }
}

/// The log thread.
pub(crate) struct LogThread {
    writer: LogWriter,
    jobs: Arc<Mailbox<LogJob>>,
}

impl LogThread {
    /// Gives `writer` what comes into the mailbox.
    pub(crate) fn new(writer: LogWriter, jobs: Arc<Mailbox<LogJob>>) -> Self {
        Self { writer, jobs }
    }

    /// Runs until its mailbox is closed and empty; gives the storage back.
    pub(crate) fn run(mut self) -> Storage {
        let mut jobs = Vec::new();
        while self.jobs.take(&mut jobs) {
            self.writer.take_in(&mut jobs);
            self.insist();
        }
        self.writer.storage
    }

    /// Does all that waits, waiting for space if there is none; any other failure is the end.
    fn insist(&mut self) {
        let mut complained = false;
        loop {
            match self.writer.advance() {
                Ok(None) => return,
                Ok(Some(_)) => complained = false,
                Err((what, reason @ StorageError::Full { .. })) => {
                    if !complained {
                        tracing::error!(%reason, "waiting for space to {what}");
                        complained = true;
                    }
                    std::thread::sleep(FULL_RETRY);
                }
                Err((what, reason)) => fatal(format_args!("cannot {what}: {reason}")),
            }
        }
    }
}
