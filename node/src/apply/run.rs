//! The one thread that changes state: committed entries in, a view out once per batch, then the answers. Owns the store.
//! What a command does is `mvcc`'s; in which order entries come is the core's.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mvcc::{Batch, Command, CommandError, Outcome, Removal, Revision, Store};
use raft::{Entry, EntryId, Index, Payload, SnapshotMeta};

use crate::apply::publish::Published;
use crate::apply::reply::Replies;
use crate::driver::log_thread::InstalledSignal;
use crate::driver::mailbox::Mailbox;
use crate::fatal::fatal;
use crate::handle::{Committed, Shared};
use crate::propose::pending::Pending;
use crate::read::barrier::Barrier;

/// After so many payload bytes a view is published, though more entries wait.
const PUBLISH_BYTES: usize = 4 << 20;
/// Compacted versions that are looked at between two batches.
const COMPACT_SLICE: usize = 2_000;

/// Work for the apply thread, in log order.
#[derive(Debug)]
pub(crate) enum ApplyJob {
    /// Committed entries.
    Entries(Vec<Entry>),
    /// The state is replaced by this snapshot, once it is installed.
    Install { meta: SnapshotMeta, installed: InstalledSignal },
}

/// The apply thread's work, and how much of it there is.
#[derive(Debug, Default)]
pub(crate) struct ApplyQueue {
    jobs: Mailbox<ApplyJob>,
    backlog_bytes: AtomicUsize,
}

impl ApplyQueue {
    /// Adds a job.
    pub(crate) fn push(&self, job: ApplyJob) {
        self.backlog_bytes.fetch_add(cost(&job), Ordering::Relaxed);
        self.jobs.push(job);
    }

    /// Takes what there is after what `jobs` holds, without waiting.
    pub(crate) fn take_now(&self, jobs: &mut Vec<ApplyJob>) {
        self.jobs.take_now(jobs);
    }

    /// Nothing more will come.
    pub(crate) fn close(&self) {
        self.jobs.close();
    }

    /// Payload bytes committed and not yet applied: while they are many, appends are not listened to.
    pub(crate) fn backlog_bytes(&self) -> usize {
        self.backlog_bytes.load(Ordering::Relaxed)
    }
}

fn cost(job: &ApplyJob) -> usize {
    match job {
        ApplyJob::Entries(entries) => entries.iter().map(|entry| entry.payload.len()).sum(),
        ApplyJob::Install { .. } => 0,
    }
}

/// Loads the newest durable snapshot, which ends at this index or behind it.
pub(crate) type LoadSnapshot = Box<dyn Fn(Index) -> Result<(Store, EntryId), String> + Send>;

/// The apply thread.
pub(crate) struct Applier {
    store: Store,
    /// The store's revision.
    revision: Revision,
    /// The last entry in it.
    at: EntryId,
    queue: Arc<ApplyQueue>,
    shared: Arc<Shared>,
    pending: Arc<Pending>,
    barrier: Arc<Barrier>,
    replies: Replies,
    load: LoadSnapshot,
}

impl Applier {
    /// Goes on from `store`, which holds everything up to `at`.
    pub(crate) fn new(
        store: Store,
        at: EntryId,
        queue: Arc<ApplyQueue>,
        shared: Arc<Shared>,
        pending: Arc<Pending>,
        barrier: Arc<Barrier>,
        load: LoadSnapshot,
    ) -> Self {
        let revision = store.view().revision();
        let replies = Replies::new(&shared.lanes);
        Self { store, revision, at, queue, shared, pending, barrier, replies, load }
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let mut jobs = Vec::new();
        let queue = Arc::clone(&self.queue);
        while queue.jobs.take(&mut jobs) {
            if let Err(reason) = self.carry_out(jobs.drain(..)) {
                fatal(format_args!("{reason}"));
            }
        }
    }

    /// Does some jobs as one batch: one view at the end, then the answers.
    ///
    /// # Errors
    /// The state cannot be what it is on other members: this one must end.
    pub(crate) fn carry_out(&mut self, jobs: impl Iterator<Item = ApplyJob>) -> Result<(), String> {
        let started = Instant::now();
        let mut since_publish = 0;
        for job in jobs {
            let bytes = cost(&job);
            match job {
                ApplyJob::Entries(entries) => {
                    for entry in entries {
                        since_publish += entry.payload.len();
                        self.apply(entry)?;
                        if since_publish >= PUBLISH_BYTES {
                            since_publish = 0;
                            self.publish();
                        }
                    }
                }
                ApplyJob::Install { meta, installed } => {
                    if !installed.is_set() {
                        // The disk may be full: a snapshot of what is applied makes room, and those who wait for it need no
                        // installation.
                        since_publish = 0;
                        self.publish();
                    }
                    self.install(&meta, &installed)?;
                }
            }
            self.queue.backlog_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        self.publish();
        self.shared.metrics.batch_applied(started.elapsed());
        self.compact();
        Ok(())
    }

    fn apply(&mut self, entry: Entry) -> Result<(), String> {
        let Entry { id, time_ms, payload } = entry;
        if id.index <= self.at.index {
            // A snapshot that was installed meanwhile holds it.
            return Ok(());
        }
        assert!(id.index == self.at.index.next(), "entry {id} does not follow {}", self.at);
        self.at = id;
        let Payload::Normal(bytes) = payload else { return Ok(()) };
        // Applying anything else than what the others apply would make this member lie.
        let batch = Batch::decode(bytes).map_err(|reason| format!("entry {id} cannot be applied: {reason}"))?;
        let waiting = batch.commands.first().and_then(|(first, _)| self.pending.take(*first));
        let Some(waiting) = waiting else {
            for (_, command) in &batch.commands {
                // The outcome matters to nobody here; it is the same on every member.
                let _ = self.execute(time_ms, command);
            }
            return Ok(());
        };
        self.shared.admission.release(waiting.waiters.len(), waiting.bytes);
        assert!(waiting.waiters.len() == batch.commands.len(), "a batch lost commands in the log");
        for ((_, command), waiter) in batch.commands.iter().zip(waiting.waiters) {
            let result = self.execute(time_ms, command);
            self.replies.proposed(waiter, Ok(Committed { result, revision: self.revision, entry: id }));
        }
        Ok(())
    }

    fn execute(&mut self, time_ms: u64, command: &Command) -> Result<Outcome, CommandError> {
        let result = self.store.apply(time_ms, command);
        if let Ok(outcome) = &result {
            self.revision = outcome.revision;
            self.shared.metrics.applied(outcome);
        }
        result
    }

    /// The view first, then those who were told that it is there.
    fn publish(&mut self) {
        let published = Arc::new(Published { view: self.store.view(), applied: self.at.index, term: self.at.term });
        self.shared.published.store(Arc::clone(&published));
        self.barrier.reached(self.at.index, &mut self.replies);
        self.replies.flush(&self.shared.lanes);
        self.shared.inbox.applied(published);
    }

    /// Another snapshot may have been installed while this thread was busy: then that one is loaded, and what leads up to it
    /// is skipped.
    fn install(&mut self, meta: &SnapshotMeta, installed: &InstalledSignal) -> Result<(), String> {
        installed.wait();
        if meta.last.index <= self.at.index {
            return Ok(());
        }
        let (store, at) = (self.load)(meta.last.index)
            .map_err(|reason| format!("the installed snapshot at {} cannot be loaded: {reason}", meta.last))?;
        self.revision = store.view().revision();
        (self.store, self.at) = (store, at);
        Ok(())
    }

    /// Removes compacted versions while nothing else waits.
    fn compact(&mut self) {
        while self.store.removal() == Removal::Pending && !self.queue.jobs.has_work() {
            self.store.compact_slice(COMPACT_SLICE);
            self.publish();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use raft::{MemberId, Term};
    use tokio::sync::mpsc;

    use super::*;
    use crate::driver::event::Event;
    use crate::driver::inbox::Wants;
    use crate::handle::status::{Phase, Status};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn id(index: u64) -> EntryId {
        EntryId { term: Term(1), index: Index(index) }
    }

    /// The newest view that the core is told of.
    fn published(shared: &Shared) -> Option<Index> {
        let wants = Wants { proposals: true, reads: true, applied: true };
        let mut events = Vec::new();
        shared.inbox.next_before(Instant::now() + PATIENCE, wants, &mut events);
        events.iter().find_map(|event| if let Event::Applied(view) = event { Some(view.applied) } else { None })
    }

    #[test]
    fn what_is_applied_waits_for_no_installation() {
        let status = Status::idle(MemberId(1), "demo-1".to_owned(), Phase::Member);
        let shared = Shared::new(status, None, 1, mpsc::channel(1).0);
        let mut applier = Applier::new(
            Store::new(),
            id(0),
            Arc::default(),
            Arc::clone(&shared),
            Arc::default(),
            Arc::default(),
            Box::new(|index| Ok((Store::new(), id(index.0)))),
        );
        let installed = InstalledSignal::default();
        let meta = SnapshotMeta { last: id(5), ..SnapshotMeta::default() };
        let jobs = [
            ApplyJob::Entries(vec![Entry { id: id(1), time_ms: 0, payload: Payload::Noop }]),
            ApplyJob::Install { meta, installed: installed.clone() },
        ];
        let thread = std::thread::spawn(move || applier.carry_out(jobs.into_iter()));
        assert_eq!(published(&shared), Some(Index(1)), "the disk has nothing to do with it");
        installed.set();
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert_eq!(shared.published.load().applied, Index(5));
    }
}
