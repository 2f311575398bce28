//! Owns the store and the only thread that changes the store. The thread applies a batch of committed entries, publishes one
//! view, and then answers the callers. Does not own the meaning of a command (`mvcc`) or the order of entries (`raft`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mvcc::{Batch, BatchError, Command, CommandError, FeatureLevel, Outcome, Removal, Revision, Store};
use raft::{Entry, EntryId, Index, Payload, SnapshotMeta};

use super::queue::{ApplyJob, ApplyQueue};
use crate::error::SnapshotLoadError;
use crate::fatal::fatal;
use crate::log_thread::InstalledSignal;
use crate::outcome::Committed;
use crate::propose::pending::Pending;
use crate::published::Published;
use crate::read::barrier::Barrier;
use crate::reply::Replies;
use crate::shared::Shared;

/// Number of applied payload bytes after which a view is published even if more entries wait.
const PUBLISH_BYTES: usize = 4 << 20;
/// Number of compacted versions that are examined before the thread checks for new jobs.
const COMPACT_SLICE: usize = 2_000;
/// Number of compacted versions that are examined for each version that was written, while more jobs wait. Without it, the
/// removal would starve under a load that never pauses, and the size that the quota limits would not fall. It is above 1,
/// so the removal ends.
const COMPACT_PER_VERSION: u64 = 4;

/// Function that loads the newest durable snapshot, which must reach the given index.
pub(crate) type LoadSnapshot = Box<dyn Fn(Index) -> Result<(Store, SnapshotMeta), SnapshotLoadError> + Send>;

/// Why the apply thread cannot continue. The member must end, because its state would differ from the state of other members.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A committed entry is not a batch of commands.
    #[error("entry {entry} cannot be applied: {source}")]
    Entry {
        /// ID of the entry.
        entry: EntryId,
        /// Error in the entry's payload.
        source: BatchError,
    },
    /// A committed entry raises the feature level above what this program supports.
    #[error("entry {entry} raises the feature level to {to}, this program supports {supports}: start a newer version")]
    TooNew {
        /// ID of the entry.
        entry: EntryId,
        /// Level after the entry.
        to: FeatureLevel,
        /// Highest level that this program supports.
        supports: FeatureLevel,
    },
    /// The snapshot that replaced the log cannot be loaded.
    #[error("the installed snapshot at {last} cannot be loaded: {source}")]
    Snapshot {
        /// ID of the last entry in the snapshot.
        last: EntryId,
        /// Reason why the snapshot cannot be loaded.
        source: SnapshotLoadError,
    },
}

impl ApplyError {
    /// Returns whether a newer program wrote what cannot be applied. Otherwise it is damaged or cannot be read.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        match self {
            Self::Entry { source, .. } => source.is_newer(),
            Self::TooNew { .. } => true,
            Self::Snapshot { source, .. } => source.is_newer(),
        }
    }
}

/// Decodes the commands of an entry that a program can apply if it supports the level `supports`.
pub(crate) fn decode(entry: EntryId, payload: Bytes, supports: FeatureLevel) -> Result<Batch, ApplyError> {
    let batch = Batch::decode(payload).map_err(|source| ApplyError::Entry { entry, source })?;
    for (_, command) in &batch.commands {
        if let Command::RaiseFeatureLevel { to } = command
            && *to > supports
        {
            return Err(ApplyError::TooNew { entry, to: *to, supports });
        }
    }
    Ok(batch)
}

/// The apply thread. Runs in [`Applier::run`] on a thread of its own, or step by step in [`Applier::step`].
pub struct Applier {
    store: Store,
    /// The store's revision.
    revision: Revision,
    /// ID of the last entry applied to the store.
    at: EntryId,
    /// The store's [`Store::versions_written`] when compacted versions were removed last.
    written: u64,
    /// Time stamp of the last entry applied to the store.
    time_ms: u64,
    queue: Arc<ApplyQueue>,
    shared: Arc<Shared>,
    pending: Arc<Pending>,
    barrier: Arc<Barrier>,
    replies: Replies,
    load: LoadSnapshot,
    /// Jobs that [`Applier::has_work`] took from the queue.
    waiting: VecDeque<ApplyJob>,
}

impl Applier {
    /// Creates an apply thread that continues with `store`, which is the state in the snapshot `start`.
    pub(crate) fn new(
        store: Store,
        start: &SnapshotMeta,
        queue: Arc<ApplyQueue>,
        shared: Arc<Shared>,
        pending: Arc<Pending>,
        barrier: Arc<Barrier>,
        load: LoadSnapshot,
    ) -> Self {
        let (revision, written) = (store.view().revision(), store.versions_written());
        let replies = Replies::new(&shared.lanes);
        let (at, time_ms, waiting) = (start.last, start.time_ms, VecDeque::new());
        Self { store, revision, at, written, time_ms, queue, shared, pending, barrier, replies, load, waiting }
    }

    /// Runs until the queue is closed and empty.
    pub fn run(mut self) {
        let mut jobs = Vec::new();
        let queue = Arc::clone(&self.queue);
        while queue.take(&mut jobs) {
            if let Err(reason) = self.execute_jobs(jobs.drain(..)) {
                fatal(format_args!("{reason}"));
            }
        }
    }

    /// Returns whether [`Applier::step`] has work that does not wait for the log thread.
    #[must_use]
    pub fn has_work(&mut self) -> bool {
        let mut jobs = Vec::new();
        self.queue.take_now(&mut jobs);
        self.waiting.extend(jobs);
        self.waiting.front().is_some_and(ApplyJob::can_begin)
    }

    /// Executes the jobs that [`Applier::has_work`] found, up to the first job that must wait for the log thread. The
    /// executed jobs form one batch.
    ///
    /// # Errors
    /// Returns the reason why the member must end.
    pub fn step(&mut self) -> Result<(), ApplyError> {
        let ready = self.waiting.iter().take_while(|job| job.can_begin()).count();
        let jobs: Vec<ApplyJob> = self.waiting.drain(..ready).collect();
        self.execute_jobs(jobs.into_iter())
    }

    /// Executes jobs as one batch: publishes a view at the end, then answers the callers.
    fn execute_jobs(&mut self, jobs: impl Iterator<Item = ApplyJob>) -> Result<(), ApplyError> {
        let started = Instant::now();
        let mut unpublished_bytes = 0;
        for job in jobs {
            let bytes = job.bytes();
            if !job.can_begin() {
                // The log thread may wait for space on a full disk before it installs the snapshot. The view is published
                // first for two reasons: a snapshot of the applied state can free space, and callers that wait for this
                // state are answered without the delay.
                unpublished_bytes = 0;
                self.publish();
            }
            match job {
                ApplyJob::Entries(entries) => self.apply_all(entries, &mut unpublished_bytes)?,
                ApplyJob::Stored(slot) => self.apply_all(slot.wait(), &mut unpublished_bytes)?,
                ApplyJob::Install { meta, installed } => self.install(&meta, &installed)?,
            }
            self.queue.applied(bytes);
        }
        self.publish();
        self.shared.observer.batch_applied(started.elapsed());
        self.compact();
        Ok(())
    }

    /// Applies entries in order. `unpublished_bytes` counts the payload bytes that no published view contains.
    fn apply_all(&mut self, entries: Vec<Entry>, unpublished_bytes: &mut usize) -> Result<(), ApplyError> {
        for entry in entries {
            *unpublished_bytes += entry.payload.len();
            self.apply(entry)?;
            if *unpublished_bytes >= PUBLISH_BYTES {
                *unpublished_bytes = 0;
                self.publish();
            }
        }
        Ok(())
    }

    fn apply(&mut self, entry: Entry) -> Result<(), ApplyError> {
        let Entry { id, time_ms, payload } = entry;
        if id.index <= self.at.index {
            // The entry is skipped, because a snapshot that was installed in the meantime contains it.
            return Ok(());
        }
        assert!(id.index == self.at.index.next(), "entry {id} does not follow {}", self.at);
        (self.at, self.time_ms) = (id, time_ms);
        let Payload::Normal(bytes) = payload else { return Ok(()) };
        // An entry that cannot be decoded ends the member. If the member skipped the entry, its state would differ from
        // the state of other members.
        let batch = decode(id, bytes, self.shared.supports)?;
        let waiting = batch.commands.first().and_then(|(first, _)| self.pending.take(*first));
        let Some(waiting) = waiting else {
            // No caller of this member waits for the outcomes, so nothing is read for them.
            for (_, command) in &batch.commands {
                let result = self.store.apply_unanswered(time_ms, command);
                self.executed(&result);
            }
            return Ok(());
        };
        self.shared.admission.release(waiting.waiters.len(), waiting.bytes);
        assert!(waiting.waiters.len() == batch.commands.len(), "a batch lost commands in the log");
        for ((_, command), waiter) in batch.commands.iter().zip(waiting.waiters) {
            let result = self.store.apply(time_ms, command);
            self.executed(&result);
            self.replies.proposed(waiter, Ok(Committed { result, revision: self.revision, entry: id }));
        }
        Ok(())
    }

    /// Records the outcome of a command.
    fn executed(&mut self, result: &Result<Outcome, CommandError>) {
        if let Ok(outcome) = result {
            self.revision = outcome.revision;
            self.shared.observer.applied(outcome);
        }
    }

    /// Publishes a view of the store before it answers the callers that wait for the view, so that an answered caller
    /// reads this view or a newer one.
    fn publish(&mut self) {
        let (view, EntryId { term, index: applied }) = (self.store.view(), self.at);
        let published = Arc::new(Published { view, applied, term, time_ms: self.time_ms });
        self.shared.published.store(Arc::clone(&published));
        if self.store.removal() == Removal::Done {
            let mark = published.view.compact_revision();
            self.shared.removed.send_if_modified(|removed| std::mem::replace(removed, mark) != mark);
        }
        self.barrier.reached(self.at.index, &mut self.replies);
        self.replies.flush(&self.shared.lanes);
        self.shared.inbox.applied(published);
    }

    /// Replaces the store by the installed snapshot. If a newer snapshot was installed in the meantime, loads the newer one;
    /// later jobs skip the entries up to its index.
    fn install(&mut self, meta: &SnapshotMeta, installed: &InstalledSignal) -> Result<(), ApplyError> {
        installed.wait();
        if meta.last.index <= self.at.index {
            return Ok(());
        }
        let (store, loaded) =
            (self.load)(meta.last.index).map_err(|source| ApplyError::Snapshot { last: meta.last, source })?;
        self.revision = store.view().revision();
        (self.store, self.at, self.time_ms) = (store, loaded.last, loaded.time_ms);
        Ok(())
    }

    /// Removes compacted versions while no job waits. Otherwise examines as many as the written versions require; the next
    /// view shows it.
    fn compact(&mut self) {
        let written = self.store.versions_written();
        // An installed snapshot may have replaced the store by one with fewer versions.
        let mut due = written.saturating_sub(self.written).saturating_mul(COMPACT_PER_VERSION);
        self.written = written;
        while due > 0 && self.store.removal() == Removal::Pending && self.queue.has_work() {
            self.store.compact_slice(COMPACT_SLICE);
            due = due.saturating_sub(COMPACT_SLICE as u64);
        }
        while self.store.removal() == Removal::Pending && !self.queue.has_work() {
            self.store.compact_slice(COMPACT_SLICE);
            self.publish();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use mvcc::{Op, OpResult, Put, Range, Response, Txn};
    use raft::{MemberId, ProposalId, Term};
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::event::Event;
    use crate::inbox::Wants;
    use crate::observer::{Observer, Unobserved};
    use crate::propose::pending;
    use crate::reply::{ReplyLaneId, Waiter};
    use crate::slot::Slot;
    use crate::status::{Phase, Status};

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn shared(observer: Box<dyn Observer>) -> Arc<Shared> {
        let status = Status::idle(MemberId(1), "demo-1".to_owned(), Phase::Member);
        Shared::new(status, None, 1, mpsc::channel(1).0, observer)
    }

    fn applier(shared: &Arc<Shared>) -> Applier {
        Applier::new(
            Store::new(),
            &SnapshotMeta::default(),
            Arc::new(ApplyQueue::new(Arc::clone(shared))),
            Arc::clone(shared),
            Arc::default(),
            Arc::default(),
            Box::new(|index| Ok((Store::new(), SnapshotMeta { last: id(index.0), ..SnapshotMeta::default() }))),
        )
    }

    fn id(index: u64) -> EntryId {
        EntryId { term: Term(1), index: Index(index) }
    }

    /// Index of the next view that is reported to the core.
    fn published(shared: &Shared) -> Option<Index> {
        let wants = Wants { proposals: true, reads: true, applied: true };
        let mut events = Vec::new();
        shared.inbox.next_before(Instant::now() + TIMEOUT, wants, &mut events);
        events.iter().find_map(|event| if let Event::Applied(view) = event { Some(view.applied) } else { None })
    }

    #[test]
    fn applied_entries_are_published_before_an_installation_ends() {
        let shared = shared(Box::new(Unobserved));
        let mut applier = applier(&shared);
        let installed = InstalledSignal::default();
        let meta = SnapshotMeta { last: id(5), ..SnapshotMeta::default() };
        let jobs = [
            ApplyJob::Entries(vec![Entry { id: id(1), time_ms: 0, payload: Payload::Noop }]),
            ApplyJob::Install { meta, installed: installed.clone() },
        ];
        let thread = std::thread::spawn(move || applier.execute_jobs(jobs.into_iter()));
        assert_eq!(published(&shared), Some(Index(1)), "the view waited for the installation");
        installed.set(());
        thread.join().unwrap().unwrap();
        assert_eq!(shared.published.load().applied, Index(5));
    }

    #[test]
    fn entries_that_are_read_from_the_disk_are_applied_in_their_place() {
        let shared = shared(Box::new(Unobserved));
        let mut applier = applier(&shared);
        let entry = |index| Entry { id: id(index), time_ms: index * 10, payload: Payload::Noop };
        let slot = Slot::default();
        applier.queue.push(ApplyJob::Stored(slot.clone()));
        applier.queue.push(ApplyJob::Entries(vec![entry(3)]));
        assert!(!applier.has_work(), "entry 3 would be applied before entries 1 and 2");
        slot.set(vec![entry(1), entry(2)]);
        assert!(applier.has_work());
        applier.step().unwrap();
        let published = shared.published.load();
        assert_eq!((published.applied, published.time_ms), (Index(3), 30));
    }

    /// Keeps the outcomes that the applier reports.
    #[derive(Clone, Debug, Default)]
    struct Outcomes(Arc<Mutex<Vec<Outcome>>>);

    impl Observer for Outcomes {
        fn applied(&self, outcome: &Outcome) {
            self.0.lock().unwrap().push(outcome.clone());
        }
    }

    /// Number of results of a transaction, and number of keys that its ranges found.
    fn read_by(outcome: &Outcome) -> (usize, u64) {
        let Response::Txn(txn) = &outcome.response else { panic!("not a transaction's outcome: {outcome:?}") };
        let found = |result: &OpResult| if let OpResult::Range(range) = result { range.count } else { 0 };
        (txn.responses.len(), txn.responses.iter().map(found).sum())
    }

    #[test]
    fn a_transaction_reads_its_ranges_only_if_a_caller_waits() {
        let put = Op::Put(Put { key: "k".into(), ..Put::default() });
        let range = Op::Range(Range { key: "k".into(), ..Range::default() });
        let command = Command::Txn(Txn { success: vec![put, range], ..Txn::default() });
        let payload = Batch { commands: vec![(7, command.clone())] }.encode();

        let outcomes = Outcomes::default();
        let shared = shared(Box::new(outcomes.clone()));
        let mut applier = applier(&shared);
        let apply = |index, applier: &mut Applier| {
            let entry = Entry { id: id(index), time_ms: 0, payload: Payload::Normal(payload.clone()) };
            applier.queue.push(ApplyJob::Entries(vec![entry]));
            assert!(applier.has_work());
            applier.step().unwrap();
        };
        apply(1, &mut applier);

        let (reply, mut outcome) = oneshot::channel();
        let waiter = Waiter { reply, lane: ReplyLaneId(0) };
        let proposal = shared.admission.admit(command, 0, waiter).unwrap();
        let (waiters, bytes) = (vec![proposal.waiter], proposal.bytes);
        let batch = pending::Batch { id: 7, payload: Bytes::new(), waiters, bytes, deadline: TIMEOUT };
        applier.pending.insert(Duration::ZERO, ProposalId(1), Term(1), batch);
        apply(2, &mut applier);
        let answer = outcome.try_recv().unwrap().unwrap().result.unwrap();

        assert_eq!(read_by(&answer), (2, 1));
        let reported = outcomes.0.lock().unwrap();
        assert_eq!(reported.iter().map(read_by).collect::<Vec<_>>(), [(2, 0), (2, 1)]);
        assert_eq!(reported[0].revision, Revision(2), "the write does not depend on a caller");
    }

    /// Every round leaves a job in the queue, as under a load that never pauses.
    #[test]
    fn compacted_versions_are_removed_although_jobs_always_wait() {
        const VERSIONS: i64 = 10_000;
        let shared = shared(Box::new(Unobserved));
        let mut applier = applier(&shared);
        let put = || Command::Put(Put { key: "k".into(), value: vec![0; 100].into(), ..Put::default() });
        let entry = |index, commands: Vec<Command>| {
            let batch = Batch { commands: commands.into_iter().map(|command| (index, command)).collect() };
            ApplyJob::Entries(vec![Entry { id: id(index), time_ms: 0, payload: Payload::Normal(batch.encode()) }])
        };
        let round = |next: ApplyJob, applier: &mut Applier| {
            let mut jobs = Vec::new();
            applier.queue.take_now(&mut jobs);
            applier.queue.push(next);
            applier.execute_jobs(jobs.into_iter()).unwrap();
        };
        // One command that writes many versions, so that a removal paid by commands would not keep up.
        let puts = (0..100).map(|number| Op::Put(Put { key: format!("k{number}").into(), ..Put::default() }));
        let txn = Command::Txn(Txn { success: puts.collect(), ..Txn::default() });
        let compact = Command::Compact(mvcc::Compact { revision: VERSIONS, physical: true });
        round(entry(1, (0..VERSIONS).map(|_| put()).collect()), &mut applier);
        round(entry(2, vec![compact]), &mut applier);
        let mut rounds = 3;
        while *shared.removed.borrow() != Revision(VERSIONS) {
            let size = shared.published.load().view.size_bytes();
            assert!(rounds < 100, "{size} bytes are left after {rounds} rounds");
            round(entry(rounds, vec![txn.clone()]), &mut applier);
            rounds += 1;
        }
        let size = shared.published.load().view.size_bytes();
        assert!(size < 200 * 100 * rounds, "the view still has {size} bytes after {rounds} rounds");
    }
}
