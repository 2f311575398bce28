//! Owns the thread that writes to the disk, and the order of its jobs. Writes that arrive during one sync share the next write
//! and sync (group commit). Does not own the order of steps within a job (`storage`).
//!
//! A failed sync ends the process: the content of the disk is unknown after it, and a retry could report success although bytes
//! are lost. On a full disk the thread first executes jobs that need no space, then waits for space.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use raft::{EntryId, HardState, Index, IoId, MemberId, Persist, SnapshotMeta, Unreadable};
use storage::{Failure, LogFormat, ReadFault, Storage, StorageError};

use crate::fatal::fatal;
use crate::log_reads::ReadTarget;
use crate::mailbox::Mailbox;
use crate::shared::Shared;
use crate::slot::Slot;

/// Maximum weight in bytes of the writes that become one job, unless a single write is longer. Later writes wait for the next job,
/// so that a slow disk delays no acknowledgement by more than one batch.
const GROUP_BYTES: usize = storage::BATCH_BYTES;

/// Interval between attempts to write to a full disk.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// A job for the log thread. Jobs are queued in the core's order.
#[derive(Debug)]
pub enum LogJob {
    /// Make these writes durable with one sync, then acknowledge them.
    Persist(Vec<Persist>),
    /// Replace the log by a received snapshot, then acknowledge the write and let the apply thread load the snapshot.
    Install {
        /// ID of the write.
        io: IoId,
        /// Member that sent the snapshot.
        from: MemberId,
        /// Term and vote, if they changed.
        hard_state: Option<HardState>,
        /// Metadata of the snapshot.
        meta: SnapshotMeta,
        /// Wakes the apply thread.
        installed: InstalledSignal,
    },
    /// Delete the received snapshot that ends with this entry, because the core does not install it.
    Discard {
        /// Last entry in the snapshot.
        last: EntryId,
    },
    /// Delete received snapshots that end at or below this index, because the installed snapshot ends at this index.
    DiscardThrough {
        /// Last index in the installed snapshot.
        index: Index,
    },
    /// Delete the log entries below this index, because a durable snapshot contains the effects of these entries.
    Purge {
        /// First index that is kept.
        first_kept: Index,
    },
    /// Continue the log in this format.
    Format(LogFormat),
    /// Measure the volume, and report its space to the core.
    Measure {
        /// Whether the member saves space from now on ([`Storage::save_space`]).
        saves: bool,
    },
    /// Read entries that are no longer in memory: those from one index to another, as long as their payloads fit into `bytes`.
    Read {
        /// Index of the first entry.
        from: Index,
        /// Index of the last entry.
        through: Index,
        /// Maximum payload bytes; a single larger entry is read alone.
        bytes: usize,
        /// Receiver of the entries.
        into: ReadTarget,
    },
    /// Write the tombstone of a removed member.
    Tombstone {
        /// Index of the committed configuration that removed the member.
        index: Index,
    },
}

impl LogJob {
    fn description(&self) -> &'static str {
        match self {
            Self::Persist(_) => "write to the log",
            Self::Install { .. } => "install a snapshot",
            Self::Discard { .. } | Self::DiscardThrough { .. } => "discard a received snapshot",
            Self::Purge { .. } => "purge the log",
            Self::Format(_) => "change the format of the log",
            Self::Measure { .. } => "measure the volume",
            Self::Read { .. } => "read the log",
            Self::Tombstone { .. } => "write the tombstone",
        }
    }

    /// Returns the weight in bytes of the entries that the job writes ([`raft::Entry::weight`]).
    fn bytes(&self) -> usize {
        let Self::Persist(group) = self else { return 0 };
        group.iter().flat_map(|persist| &persist.entries).map(|entry| entry.weight() as usize).sum()
    }

    /// Returns whether the job can be done on a full disk: it frees space, or only reads or measures.
    fn needs_no_space(&self) -> bool {
        match self {
            Self::Discard { .. } | Self::DiscardThrough { .. } | Self::Purge { .. } => true,
            Self::Read { .. } | Self::Measure { .. } => true,
            Self::Persist(_) | Self::Install { .. } | Self::Format(_) | Self::Tombstone { .. } => false,
        }
    }
}

/// Signals to the apply thread that a snapshot is durable.
pub type InstalledSignal = Slot<()>;

/// Executes jobs one after the other in the core's order, so that a job begins only after the jobs before it are
/// durable. On a full disk, however, a job that needs no space comes first.
pub(crate) struct LogWriter {
    storage: Storage,
    waiting: VecDeque<LogJob>,
    /// Weight in bytes of the last group of writes that was added.
    group_bytes: usize,
    shared: Arc<Shared>,
}

impl LogWriter {
    /// Creates a writer without jobs.
    pub(crate) fn new(storage: Storage, shared: Arc<Shared>) -> Self {
        Self { storage, waiting: VecDeque::new(), group_bytes: 0, shared }
    }

    /// Adds jobs and leaves `jobs` empty. Consecutive writes become one job, up to [`GROUP_BYTES`].
    pub(crate) fn add(&mut self, jobs: &mut Vec<LogJob>) {
        for job in jobs.drain(..) {
            let bytes = job.bytes();
            match (self.waiting.back_mut(), job) {
                (Some(LogJob::Persist(group)), LogJob::Persist(mut more))
                    if self.group_bytes.saturating_add(bytes) <= GROUP_BYTES =>
                {
                    group.append(&mut more);
                    self.group_bytes += bytes;
                }
                (_, job) => {
                    if matches!(job, LogJob::Persist(_)) {
                        self.group_bytes = bytes;
                    }
                    self.waiting.push_back(job);
                }
            }
        }
    }

    /// Returns whether no job waits.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Executes the next job, or on a full disk the next job that needs no space, and reports its end. Returns the executed job, or
    /// `None` if no job waits.
    ///
    /// # Errors
    /// Returns why the job failed. The job remains the next one.
    pub(crate) fn advance(&mut self) -> Result<Option<LogJob>, (&'static str, StorageError)> {
        let Some(job) = self.waiting.pop_front() else { return Ok(None) };
        match self.execute(&job) {
            Ok(()) => Ok(Some(job)),
            Err(reason) => {
                let what = job.description();
                self.waiting.push_front(job);
                if matches!(reason, StorageError::Full { .. }) && self.prioritize_space() {
                    return self.advance();
                }
                Err((what, reason))
            }
        }
    }

    /// Reserves space for later writes. For a thread that has nothing else to do.
    pub(crate) fn prepare(&mut self) -> Result<(), StorageError> {
        self.storage.prepare()?;
        self.report_bytes();
        Ok(())
    }

    fn report_bytes(&self) {
        self.shared.observer.log_bytes(self.storage.log_bytes(), self.storage.log_preallocated_bytes());
    }

    /// Moves a job that needs no space ahead of the jobs that wait for space. Returns `false` if there is none. A purge may
    /// precede any write, because the purged entries are in a durable snapshot and every later write has higher indexes. A
    /// discard may precede an installation, because a discard never deletes the snapshot that is to be installed. A read may
    /// precede any write, because the core reads only what was durable when it asked. Without the read, the apply thread would
    /// wait for space, too.
    fn prioritize_space(&mut self) -> bool {
        let place = (1..self.waiting.len()).find(|place| self.waiting[*place].needs_no_space());
        let job = place.and_then(|place| self.waiting.remove(place));
        job.map(|job| self.waiting.push_front(job)).is_some()
    }

    fn execute(&mut self, job: &LogJob) -> Result<(), StorageError> {
        match job {
            LogJob::Persist(group) => self.commit(group),
            LogJob::Install { io, from, hard_state, meta, installed } => {
                let installed_bytes = self.storage.install_snapshot(meta, *hard_state)?.bytes;
                self.shared.snapshot_bytes.store(installed_bytes, Ordering::Relaxed);
                let index = meta.last.index;
                tracing::info!(%index, %from, "installed a snapshot");
                self.shared.snapshot.fetch_max(index.0, Ordering::Relaxed);
                installed.set(());
                self.shared.inbox.persisted(*io);
                self.waiting.push_front(LogJob::DiscardThrough { index });
                Ok(())
            }
            LogJob::Discard { last } => self.storage.snapshots().discard_received(*last),
            LogJob::DiscardThrough { index } => self.storage.snapshots().discard_received_through(*index),
            LogJob::Purge { first_kept } => self.storage.purge(*first_kept),
            LogJob::Format(format) => {
                self.storage.use_format(*format);
                Ok(())
            }
            LogJob::Measure { saves } => {
                self.storage.save_space(*saves)?;
                self.shared.inbox.space(self.storage.space());
                Ok(())
            }
            LogJob::Read { from, through, bytes, into } => self.read(*from, *through, *bytes, into),
            LogJob::Tombstone { index } => self.storage.write_tombstone(*index),
        }
    }

    /// Reads entries for `into`. Entries for another member may be unreadable, because a snapshot brings that member past them.
    /// This member itself cannot continue without the entries that it must apply, nor lead without those that it has not applied:
    /// no snapshot holds them, so another member that lacks them would wait for them without end. The next start finds the damage and
    /// repairs the log, or reports that it cannot.
    fn read(&mut self, from: Index, through: Index, bytes: usize, into: &ReadTarget) -> Result<(), StorageError> {
        match into {
            ReadTarget::Peer(to) => {
                let read = match self.storage.read_log(from, through, bytes) {
                    // They were purged before the read, to free space for a write.
                    Err(ReadFault::Gone) => Err(Unreadable),
                    Err(fault) if from > self.shared.published().applied => {
                        return Err(StorageError::Refused(unread(from, &fault)));
                    }
                    Err(fault) => {
                        tracing::error!(%to, %from, %fault, "cannot read the log for another member, which gets a snapshot");
                        Err(Unreadable)
                    }
                    Ok(entries) => Ok(entries),
                };
                self.shared.inbox.log_read(*to, from, read);
            }
            ReadTarget::Apply(slot) => {
                let mut entries = Vec::new();
                let mut next = from;
                while next <= through {
                    let read = self.storage.read_log(next, through, bytes);
                    let mut more = read.map_err(|fault| StorageError::Refused(unread(next, &fault)))?;
                    next = more.last().map_or(through, |entry| entry.id.index).next();
                    entries.append(&mut more);
                }
                slot.set(entries);
            }
            ReadTarget::Caller(reply) => reply.send(self.storage.read_log(from, through, bytes)),
        }
        Ok(())
    }

    fn commit(&mut self, group: &[Persist]) -> Result<(), StorageError> {
        let Some(last) = group.last().map(|persist| persist.io) else { return Ok(()) };
        let entries = group.iter().map(|persist| persist.entries.len()).sum();
        let started = Instant::now();
        self.storage.append(group)?;
        self.shared.observer.log_written(entries, started.elapsed());
        self.shared.log_bytes.store(self.storage.log_bytes(), Ordering::Relaxed);
        self.report_bytes();
        self.shared.inbox.persisted(last);
        Ok(())
    }
}

/// Returns the error for an entry that this member must apply, or may have to, and that cannot be read.
fn unread(index: Index, fault: &ReadFault) -> Failure {
    let path = PathBuf::from(format!("entry {index} of the log"));
    Failure { action: "read", path, kind: ErrorKind::InvalidData, cause: fault.to_string() }
}

/// The log thread. Runs in [`LogThread::run`] on a thread of its own, or step by step in [`LogThread::step`].
pub struct LogThread {
    writer: LogWriter,
    jobs: Arc<Mailbox<LogJob>>,
}

impl LogThread {
    /// Creates a thread that passes the mailbox's jobs to `writer`.
    pub(crate) fn new(writer: LogWriter, jobs: Arc<Mailbox<LogJob>>) -> Self {
        Self { writer, jobs }
    }

    /// Runs until the mailbox is closed and empty, then returns the storage.
    pub fn run(mut self) -> Storage {
        let mut jobs = Vec::new();
        while self.jobs.take(&mut jobs) {
            self.writer.add(&mut jobs);
            self.execute_all();
            if !self.jobs.has_work()
                && let Err(reason) = self.writer.prepare()
            {
                fatal(format_args!("cannot reserve space for the log: {reason}"));
            }
        }
        self.writer.storage
    }

    /// Returns whether a job waits.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.writer.is_idle() || self.jobs.has_work()
    }

    /// Executes one job, with one sync, and returns it; `None` if no job waits.
    ///
    /// # Errors
    /// Returns why the job failed. The job stays at the front of the queue. After [`StorageError::Full`] a later step may
    /// succeed; after any other error the member must end.
    pub fn step(&mut self) -> Result<Option<LogJob>, StorageError> {
        if self.writer.is_idle() {
            // As in `run`, before the job arrived.
            self.writer.prepare()?;
        }
        // New jobs are also taken while a write waits for space, because a new job may free space.
        let mut jobs = Vec::new();
        self.jobs.take_now(&mut jobs);
        self.writer.add(&mut jobs);
        self.writer.advance().map_err(|(_, reason)| reason)
    }

    /// Executes all jobs. Waits for space on a full disk, and ends the process on any other error.
    fn execute_all(&mut self) {
        let mut is_reported = false;
        loop {
            match self.writer.advance() {
                Ok(None) => return,
                Ok(Some(_)) => is_reported = false,
                Err((what, reason @ StorageError::Full { .. })) => {
                    if !is_reported {
                        tracing::error!(%reason, "waiting for space to {what}");
                        is_reported = true;
                    }
                    if !self.wait_for_space() {
                        fatal(format_args!("cannot {what} before the member stops: {reason}"));
                    }
                }
                Err((what, reason)) => fatal(format_args!("cannot {what}: {reason}")),
            }
        }
    }

    /// Waits until the retry interval has passed or a job arrives that needs no space. Returns `false` if the mailbox is closed,
    /// because then no such job can arrive. The number of jobs taken meanwhile needs no bound here, because the senders limit it.
    fn wait_for_space(&mut self) -> bool {
        let deadline = Instant::now() + FULL_RETRY;
        let mut jobs = Vec::new();
        loop {
            let is_open = self.jobs.take_before(deadline, &mut jobs);
            let may_advance = jobs.iter().any(LogJob::needs_no_space);
            self.writer.add(&mut jobs);
            if may_advance || deadline <= Instant::now() {
                return true;
            }
            if !is_open {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests;
