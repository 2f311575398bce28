//! The thread that owns the disk: everything that gathered during one sync goes into the next write and sync, together
//! (group commit). Owns the order of the jobs; the order inside a job is `storage`'s. A failed sync ends the process: nobody
//! knows what is on the disk then, and a retry could report success over lost bytes. A full disk is waited for, and what frees
//! space goes first meanwhile.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use raft::{EntryId, HardState, Index, IoId, MemberId, Persist, SnapshotMeta};
use storage::{Storage, StorageError};

use crate::fatal::fatal;
use crate::mailbox::Mailbox;
use crate::shared::Shared;

/// A full disk is tried again so often.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// Work for the log thread, in the core's order.
#[derive(Debug)]
pub enum LogJob {
    /// Make durable, with one sync, and acknowledge.
    Persist(Vec<Persist>),
    /// Replace the log by a received snapshot, then acknowledge and let the apply thread load it.
    Install {
        /// Name of the write.
        io: IoId,
        /// Member that sent the snapshot.
        from: MemberId,
        /// Term and vote, if they changed.
        hard_state: Option<HardState>,
        /// What the snapshot contains.
        meta: SnapshotMeta,
        /// Wakes the apply thread.
        installed: InstalledSignal,
    },
    /// Delete the received snapshot that ends with this entry: the core has no use for it.
    Discard {
        /// Last entry in the snapshot.
        last: EntryId,
    },
    /// Delete received snapshots up to this index, where an installed one ends.
    Superseded {
        /// Last index in the installed snapshot.
        index: Index,
    },
    /// Delete entries below this index: nothing needs them any more.
    Purge {
        /// First index that is kept.
        first_kept: Index,
    },
    /// Write the tombstone of a removed member.
    Tombstone {
        /// Index of the committed configuration that removed the member.
        index: Index,
    },
}

impl LogJob {
    fn what(&self) -> &'static str {
        match self {
            Self::Persist(_) => "write to the log",
            Self::Install { .. } => "install a snapshot",
            Self::Discard { .. } | Self::Superseded { .. } => "discard a received snapshot",
            Self::Purge { .. } => "purge the log",
            Self::Tombstone { .. } => "write the tombstone",
        }
    }

    /// Whether there is more room afterwards, and none is needed for it.
    fn frees_space(&self) -> bool {
        match self {
            Self::Discard { .. } | Self::Superseded { .. } | Self::Purge { .. } => true,
            Self::Persist(_) | Self::Install { .. } | Self::Tombstone { .. } => false,
        }
    }
}

/// Tells the apply thread that a snapshot is installed.
#[derive(Clone, Debug, Default)]
pub struct InstalledSignal(Arc<(Mutex<bool>, Condvar)>);

impl InstalledSignal {
    /// It is on the disk.
    pub(crate) fn set(&self) {
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

    /// Does the next job and tells who waits for it; on a full disk the next one that frees space. The job; `None`: there was
    /// none.
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
                if matches!(reason, StorageError::Full { .. }) && self.bring_forward() {
                    return self.advance();
                }
                Err((what, reason))
            }
        }
    }

    /// Puts a job that frees space before those that wait for it; `false`: there is none. A purge may go before any write: what
    /// it takes is in a durable snapshot, and nothing that is still to be written stands below that. A received snapshot that
    /// is discarded is not the one to be installed.
    fn bring_forward(&mut self) -> bool {
        let place = (1..self.waiting.len()).find(|place| self.waiting[*place].frees_space());
        let job = place.and_then(|place| self.waiting.remove(place));
        job.map(|job| self.waiting.push_front(job)).is_some()
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
                self.waiting.push_front(LogJob::Superseded { index });
                Ok(())
            }
            LogJob::Discard { last } => self.storage.snapshots().discard_received(*last),
            LogJob::Superseded { index } => self.storage.snapshots().discard_received_through(*index),
            LogJob::Purge { first_kept } => self.storage.purge(*first_kept),
            LogJob::Tombstone { index } => self.storage.write_tombstone(*index),
        }
    }

    fn commit(&mut self, group: &[Persist]) -> Result<(), StorageError> {
        let Some(last) = group.last().map(|persist| persist.io) else { return Ok(()) };
        let entries = group.iter().map(|persist| persist.entries.len()).sum();
        let started = Instant::now();
        self.storage.append(group)?;
        self.shared.observer.log_written(entries, started.elapsed());
        self.shared.inbox.persisted(last);
        Ok(())
    }
}

/// The log thread: [`LogThread::run`] on a thread of its own, or [`LogThread::step`] by step.
pub struct LogThread {
    writer: LogWriter,
    jobs: Arc<Mailbox<LogJob>>,
}

impl LogThread {
    /// Gives `writer` what comes into the mailbox.
    pub(crate) fn new(writer: LogWriter, jobs: Arc<Mailbox<LogJob>>) -> Self {
        Self { writer, jobs }
    }

    /// Runs until its mailbox is closed and empty; gives the storage back.
    pub fn run(mut self) -> Storage {
        let mut jobs = Vec::new();
        while self.jobs.take(&mut jobs) {
            self.writer.take_in(&mut jobs);
            self.insist();
        }
        self.writer.storage
    }

    /// Whether a job waits.
    #[must_use]
    pub fn has_work(&self) -> bool {
        !self.writer.is_idle() || self.jobs.has_work()
    }

    /// Carries out one job, with one sync, and returns it; `None` if no job waits.
    ///
    /// # Errors
    /// Returns why the job was not carried out; it is still the next one. After [`StorageError::Full`] a later step may succeed;
    /// after any other error the member must end.
    pub fn step(&mut self) -> Result<Option<LogJob>, StorageError> {
        // Also while a write waits for space: a job that arrives may free some.
        let mut jobs = Vec::new();
        self.jobs.take_now(&mut jobs);
        self.writer.take_in(&mut jobs);
        self.writer.advance().map_err(|(_, reason)| reason)
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
                    if !self.await_space() {
                        fatal(format_args!("cannot {what}, and the member is to end: {reason}"));
                    }
                }
                Err((what, reason)) => fatal(format_args!("cannot {what}: {reason}")),
            }
        }
    }

    /// Waits until it is time to try again, or a job comes that frees space; `false`: nothing more will come. What comes
    /// meanwhile is as bounded as if it waited in the mailbox.
    fn await_space(&mut self) -> bool {
        let deadline = Instant::now() + FULL_RETRY;
        let mut jobs = Vec::new();
        loop {
            let is_open = self.jobs.take_before(deadline, &mut jobs);
            let frees_space = jobs.iter().any(LogJob::frees_space);
            self.writer.take_in(&mut jobs);
            if frees_space || deadline <= Instant::now() {
                return true;
            }
            if !is_open {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use memory_disk::MemoryDisk;
    use raft::{Configuration, Entry, MemberInfo, Payload, Term};
    use storage::{ClusterId, ClusterIdentity, Options, Start};
    use tokio::sync::mpsc;

    use super::*;
    use crate::event::Event;
    use crate::inbox::Wants;
    use crate::observer::Unobserved;
    use crate::status::{Phase, Status};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn storage(disk: &MemoryDisk) -> Storage {
        let record = ClusterIdentity {
            cluster_id: ClusterId([7; 16]),
            token_sha256: [1; 32],
            own: MemberInfo::default(),
            first_configuration: Configuration::default(),
        };
        let options = Options { segment_bytes: 16 << 10, ..Options::new(MemberId(1), 3) };
        let mut storage = Storage::open(Arc::new(disk.clone()), Path::new("/member"), options).unwrap().storage;
        storage.bootstrap(record, &Start::Empty).unwrap();
        storage
    }

    fn shared() -> Arc<Shared> {
        let status = Status::idle(MemberId(1), "demo-1".to_owned(), Phase::Member);
        Shared::new(status, None, 1, mpsc::channel(1).0, Box::new(Unobserved))
    }

    fn persist(io: u64) -> LogJob {
        let id = EntryId { term: Term(1), index: Index(io) };
        let entry = Entry { id, time_ms: 0, payload: Payload::Normal(vec![7; 6 << 10].into()) };
        let hard_state = Some(HardState { term: Term(1), vote: None });
        LogJob::Persist(vec![Persist { io: IoId(io), hard_state, entries: vec![entry] }])
    }

    /// The newest write that is acknowledged.
    fn acknowledged(shared: &Shared) -> Option<IoId> {
        let wants = Wants { proposals: true, reads: true, applied: true };
        let mut events = Vec::new();
        shared.inbox.next_before(Instant::now() + PATIENCE, wants, &mut events);
        events.iter().find_map(|event| if let Event::Persisted(io) = event { Some(*io) } else { None })
    }

    #[test]
    fn on_a_full_disk_the_purge_comes_before_the_write() {
        let (disk, shared, jobs) = (MemoryDisk::new(), shared(), Arc::new(Mailbox::default()));
        let mut writer = LogWriter::new(storage(&disk), Arc::clone(&shared));
        for io in 1..=8 {
            writer.take_in(&mut vec![persist(io)]);
            assert!(matches!(writer.advance(), Ok(Some(LogJob::Persist(_)))));
        }
        assert_eq!(acknowledged(&shared), Some(IoId(8)));
        // The log may be purged up to a snapshot only.
        let meta = SnapshotMeta { last: EntryId { term: Term(1), index: Index(6) }, ..SnapshotMeta::default() };
        writer.storage.snapshots().begin(meta).unwrap().finish().unwrap();
        disk.limit_bytes(Some(disk.used_bytes()));
        writer.take_in(&mut vec![persist(9), persist(10)]);
        assert!(matches!(writer.advance(), Err((_, StorageError::Full { .. }))), "there is no room for it");
        let thread = LogThread::new(writer, Arc::clone(&jobs));
        jobs.push(persist(11));
        let thread = std::thread::spawn(|| thread.run());
        jobs.push(LogJob::Purge { first_kept: Index(7) });
        assert_eq!(acknowledged(&shared), Some(IoId(11)), "what the purge frees is room for the write");
        jobs.close();
        thread.join().unwrap();
    }

    #[test]
    fn a_member_that_is_to_end_waits_for_no_space() {
        let (disk, jobs) = (MemoryDisk::new(), Arc::new(Mailbox::default()));
        jobs.push(LogJob::Purge { first_kept: Index(7) });
        jobs.close();
        let mut thread = LogThread::new(LogWriter::new(storage(&disk), shared()), jobs);
        assert!(thread.await_space(), "what it was asked for before may free some");
        assert!(!thread.await_space(), "nothing more will come");
    }

    /// A word of an older leader's snapshot may come when a newer leader's has arrived, which may end before that one.
    #[test]
    fn a_discarded_snapshot_takes_no_other_along() {
        let (disk, shared) = (MemoryDisk::new(), shared());
        let mut writer = LogWriter::new(storage(&disk), Arc::clone(&shared));
        let last = |term, index| EntryId { term: Term(term), index: Index(index) };
        for last in [last(1, 9), last(2, 7), last(2, 7)] {
            let meta = SnapshotMeta { last, ..SnapshotMeta::default() };
            writer.storage.snapshots().receive(meta).unwrap().finish_verified().unwrap();
        }
        writer.take_in(&mut vec![
            LogJob::Discard { last: last(1, 9) },
            LogJob::Discard { last: last(2, 7) },
            LogJob::Install {
                io: IoId(1),
                from: MemberId(2),
                hard_state: Some(HardState { term: Term(2), vote: None }),
                meta: SnapshotMeta { last: last(2, 7), ..SnapshotMeta::default() },
                installed: InstalledSignal::default(),
            },
        ]);
        while !writer.is_idle() {
            writer.advance().unwrap();
        }
        assert_eq!(acknowledged(&shared), Some(IoId(1)));
        let drafts = disk.files().into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "tmp"));
        assert_eq!(drafts.count(), 0, "nothing that was received is left");
    }
}
