//! The thread that owns the disk: everything that gathered during one sync goes into the next write and sync, together
//! (group commit). Owns the order of the jobs; the order inside a job is `storage`'s. A failed sync ends the process: nobody
//! knows what is on the disk then, and a retry could report success over lost bytes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raft::{EntryId, HardState, Index, IoId, MemberId, Persist, SnapshotMeta};
use storage::{Storage, StorageError};

use crate::driver::mailbox::Mailbox;
use crate::fatal::fatal;
use crate::handle::Shared;

/// A full disk is tried again so often.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// Work for the log thread, in the core's order.
#[derive(Debug)]
pub(crate) enum LogJob {
    /// Make durable and acknowledge.
    Persist(Persist),
    /// Replace the log by a received snapshot, then acknowledge and let the apply thread load it.
    Install { io: IoId, from: MemberId, hard_state: Option<HardState>, meta: SnapshotMeta, installed: InstalledSignal },
    /// A received snapshot is of no use.
    Discard { from: MemberId, last: EntryId },
    /// Nothing below this index is needed any more.
    Purge { first_kept: Index },
    /// The member was removed.
    Tombstone { index: Index },
}

/// Tells the apply thread that a snapshot is installed.
#[derive(Clone, Debug, Default)]
pub(crate) struct InstalledSignal(Arc<(Mutex<bool>, Condvar)>);

impl InstalledSignal {
    fn set(&self) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.1.notify_all();
    }

    /// Blocks until it is set; the log thread sets it, or ends the process.
    pub(crate) fn wait(&self) {
        let mut set = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !*set {
            set = self.0.1.wait(set).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The log thread.
pub(crate) struct LogThread {
    storage: Storage,
    jobs: Arc<Mailbox<LogJob>>,
    shared: Arc<Shared>,
}

impl LogThread {
    /// Owns `storage` from here on.
    pub(crate) fn new(storage: Storage, jobs: Arc<Mailbox<LogJob>>, shared: Arc<Shared>) -> Self {
        Self { storage, jobs, shared }
    }

    /// Runs until its mailbox is closed and empty; gives the storage back.
    pub(crate) fn run(mut self) -> Storage {
        let mut jobs = Vec::new();
        let mut group = Vec::new();
        let mailbox = Arc::clone(&self.jobs);
        while mailbox.take(&mut jobs) {
            for job in jobs.drain(..) {
                if let LogJob::Persist(persist) = job {
                    group.push(persist);
                    continue;
                }
                // What stands before it in the core's order is durable before it begins.
                self.commit(&mut group);
                self.perform(job);
            }
            self.commit(&mut group);
        }
        self.storage
    }

    fn commit(&mut self, group: &mut Vec<Persist>) {
        let Some(last) = group.last().map(|persist| persist.io) else { return };
        let entries = group.iter().map(|persist| persist.entries.len()).sum();
        let started = Instant::now();
        self.insist("write to the log", |storage| storage.append(group));
        self.shared.metrics.log_written(entries, started.elapsed());
        group.clear();
        self.shared.inbox.persisted(last);
    }

    fn perform(&mut self, job: LogJob) {
        match job {
            LogJob::Persist(persist) => self.commit(&mut vec![persist]),
            LogJob::Install { io, from, hard_state, meta, installed } => {
                self.insist("install a snapshot", |storage| storage.install_snapshot(&meta, hard_state).map(drop));
                tracing::info!(index = %meta.last.index, %from, "installed a snapshot");
                self.shared.snapshot.fetch_max(meta.last.index.0, Ordering::Relaxed);
                installed.set();
                self.shared.inbox.persisted(io);
                self.discard(meta.last.index);
            }
            LogJob::Discard { from, last } => {
                tracing::info!(%last, %from, "a received snapshot is of no use");
                self.discard(last.index);
            }
            LogJob::Purge { first_kept } => self.insist("purge the log", |storage| storage.purge(first_kept)),
            LogJob::Tombstone { index } => self.insist("write the tombstone", |storage| storage.bury(index)),
        }
    }

    fn discard(&mut self, index: Index) {
        self.insist("discard a received snapshot", |storage| storage.snapshots().discard_received(index));
    }

    /// Does it, waiting for space if there is none; any other failure is the end.
    fn insist(&mut self, what: &str, mut work: impl FnMut(&mut Storage) -> Result<(), StorageError>) {
        let mut complained = false;
        loop {
            match work(&mut self.storage) {
                Ok(()) => return,
                Err(reason @ StorageError::Full { .. }) => {
                    if !complained {
                        tracing::error!(%reason, "waiting for space to {what}");
                        complained = true;
                    }
                    std::thread::sleep(FULL_RETRY);
                }
                Err(reason) => fatal(format_args!("cannot {what}: {reason}")),
            }
        }
    }
}
