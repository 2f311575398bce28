//! Snapshots of this member's own state: when, one at a time, and what follows; and which are under way to other members. Owns
//! the pace; the view is taken for free, the writing happens on a thread of its own, and the core says what may be purged.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use raft::{Index, MemberId, Now, SnapshotMeta, Term};
use storage::Snapshots;

use crate::apply::publish::Published;
use crate::driver::log_thread::LogJob;
use crate::driver::mailbox::Mailbox;
use crate::driver::run::Driver;
use crate::handle::Shared;

/// Snapshots are at least so far apart, unless a member needs one.
const INTERVAL_MIN: Duration = Duration::from_secs(2);
/// And as many times as long as the last one took: a twentieth of the time at most goes into writing them, however large
/// the content.
const INTERVAL_FACTOR: u32 = 19;

/// One snapshot to be written.
#[derive(Debug)]
pub(crate) struct SnapshotJob {
    meta: SnapshotMeta,
    published: Arc<Published>,
}

/// Snapshots under way to other members, one to each at most.
#[derive(Debug, Default)]
struct Transfers {
    /// Transfers so far; each is named by its number.
    begun: u64,
    under_way: BTreeMap<MemberId, Transfer>,
}

#[derive(Debug)]
struct Transfer {
    number: u64,
    term: Term,
    /// The snapshot ends there, or behind it.
    reaches: Index,
}

impl Transfers {
    /// Whether the one under way to `to` is what is asked for now: its end is the end of both. One that is not counts for
    /// nothing any more.
    fn serve(&mut self, to: MemberId, term: Term, at_least: Index) -> bool {
        let serves = |transfer: &Transfer| transfer.term == term && transfer.reaches >= at_least;
        let is_served = self.under_way.get(&to).is_some_and(serves);
        if !is_served {
            self.under_way.remove(&to);
        }
        is_served
    }

    /// Names one that begins.
    fn begin(&mut self, to: MemberId, term: Term, reaches: Index) -> u64 {
        self.begun += 1;
        self.under_way.insert(to, Transfer { number: self.begun, term, reaches });
        self.begun
    }

    /// One has ended; `false`: another one had taken its place.
    fn end(&mut self, to: MemberId, number: u64) -> bool {
        let counts = self.under_way.get(&to).is_some_and(|transfer| transfer.number == number);
        if counts {
            self.under_way.remove(&to);
        }
        counts
    }
}

/// What is due, under way and asked for.
#[derive(Debug)]
pub(crate) struct Snapshotting {
    jobs: Arc<Mailbox<SnapshotJob>>,
    /// Last index of the newest durable snapshot.
    newest: Index,
    due: bool,
    /// The state to be written, once the log is durable as far as it reaches.
    captured: Option<Arc<Published>>,
    started: Option<Duration>,
    not_before: Duration,
    /// Members that need a snapshot newer than any that there is.
    wanted: BTreeMap<MemberId, (Term, Index)>,
    transfers: Transfers,
}

impl Snapshotting {
    /// Gives its work to whoever takes from `jobs`; the newest durable snapshot ends at `newest`.
    pub(crate) fn new(jobs: Arc<Mailbox<SnapshotJob>>, newest: Index) -> Self {
        Self {
            jobs,
            newest,
            due: false,
            captured: None,
            started: None,
            not_before: Duration::ZERO,
            wanted: BTreeMap::new(),
            transfers: Transfers::default(),
        }
    }

    /// The core has applied enough since the last one.
    pub(super) fn due(&mut self, index: Index) {
        self.due = self.due || index > self.newest;
    }

    /// A received snapshot takes the place of all before.
    pub(super) fn installed(&mut self, index: Index) {
        self.newest = self.newest.max(index);
        self.due = false;
        self.captured = None;
    }

    /// When one may begin, though nothing happens.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (self.due && self.started.is_none() && self.captured.is_none()).then_some(self.not_before)
    }

    /// Whether the newest view is awaited.
    pub(super) fn is_wanted(&self) -> bool {
        !self.wanted.is_empty()
    }
}

impl Driver {
    pub(super) fn snapshot_if_due(&mut self, now: Now) {
        let state = &mut self.snapshotting;
        let is_time = now.monotonic >= state.not_before;
        if state.started.is_some() || !(state.is_wanted() || (state.due && is_time) || state.captured.is_some()) {
            return;
        }
        if self.published.applied <= state.newest {
            // Nothing newer can be taken: what there is serves everybody.
            state.due = false;
            self.serve_wanted(now);
            return;
        }
        let published = state.captured.get_or_insert_with(|| Arc::clone(&self.published));
        // None as long as the log is not durable that far: a snapshot beyond it would look like a lost log after a crash.
        let Some(meta) = self.raft.snapshot_meta(published.applied) else { return };
        state.due = false;
        state.started = Some(now.monotonic);
        if let Some(published) = state.captured.take() {
            state.jobs.push(SnapshotJob { meta, published });
        }
    }

    pub(super) fn snapshot_written(&mut self, now: Now, outcome: Result<Index, String>) {
        let state = &mut self.snapshotting;
        let took = state.started.take().map_or(Duration::ZERO, |started| now.monotonic.saturating_sub(started));
        state.not_before = now.monotonic + INTERVAL_MIN.max(took * INTERVAL_FACTOR);
        match outcome {
            Ok(index) => {
                state.newest = state.newest.max(index);
                self.shared.snapshot.store(state.newest.0, Ordering::Relaxed);
                let first_kept = self.raft.snapshot_taken(index);
                self.log_jobs.push(LogJob::Purge { first_kept });
            }
            Err(reason) => {
                tracing::error!(%reason, "no snapshot was written: the log grows until one is");
                state.due = true;
            }
        }
        self.serve_wanted(now);
    }

    /// A member's log cannot be repaired any more. The core asks again when a transfer takes long; as long as that serves, it
    /// goes on, or a slow one would never come to its end.
    pub(super) fn send_snapshot(&mut self, now: Now, to: MemberId, term: Term, at_least: Index) {
        if self.snapshotting.transfers.serve(to, term, at_least) {
            return;
        }
        self.snapshotting.wanted.insert(to, (term, at_least));
        if self.snapshotting.newest >= at_least {
            self.serve_wanted(now);
        }
    }

    pub(super) fn snapshot_sent(&mut self, now: Now, to: MemberId, number: u64, arrived: Result<(), ()>) {
        if self.snapshotting.transfers.end(to, number) {
            self.raft.snapshot_sent(now, to, arrived);
        }
    }

    fn serve_wanted(&mut self, now: Now) {
        let newest = self.snapshotting.newest;
        let wanted = std::mem::take(&mut self.snapshotting.wanted);
        for (to, (term, at_least)) in wanted {
            if newest >= at_least {
                let number = self.snapshotting.transfers.begin(to, term, newest);
                self.peers.send_snapshot(to, number, term, newest);
            } else {
                // The core asks again when it is worth it.
                self.raft.snapshot_sent(now, to, Err(()));
            }
        }
    }
}

/// The thread that writes snapshots: runs until its mailbox is closed.
pub(crate) fn write_snapshots(jobs: &Mailbox<SnapshotJob>, snapshots: &Snapshots, shared: &Shared) {
    let mut waiting = Vec::new();
    while jobs.take(&mut waiting) {
        waiting.drain(..).for_each(|job| write_snapshot(job, snapshots, shared));
    }
}

/// Writes one, and tells the core what became of it.
pub(crate) fn write_snapshot(job: SnapshotJob, snapshots: &Snapshots, shared: &Shared) {
    let started = Instant::now();
    let index = job.meta.last.index;
    let outcome = write(snapshots, job);
    if let Ok(bytes) = &outcome {
        let took = started.elapsed();
        shared.metrics.snapshot_taken(took);
        tracing::info!(%index, bytes, took_ms = took.as_millis(), "wrote a snapshot");
    }
    shared.inbox.snapshot_written(outcome.map(|_| index));
}

fn write(snapshots: &Snapshots, job: SnapshotJob) -> Result<u64, String> {
    let SnapshotJob { meta, published } = job;
    let applied = published.applied.0;
    let writer = snapshots.begin(meta).map_err(|reason| reason.to_string())?;
    let mut writer = std::io::BufWriter::with_capacity(1 << 20, writer);
    mvcc::image::write(&published.view, applied, &mut writer).map_err(|reason| reason.to_string())?;
    writer.flush().map_err(|reason| reason.to_string())?;
    let writer = writer.into_inner().map_err(|reason| reason.to_string())?;
    writer.finish().map(|info| info.bytes).map_err(|reason| reason.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TO: MemberId = MemberId(2);

    #[test]
    fn a_transfer_that_serves_goes_on() {
        let mut transfers = Transfers::default();
        assert!(!transfers.serve(TO, Term(1), Index(5)), "there is none");
        let number = transfers.begin(TO, Term(1), Index(9));
        assert!(transfers.serve(TO, Term(1), Index(9)), "it reaches as far as is needed now");
        assert!(!transfers.serve(MemberId(3), Term(1), Index(9)), "it goes to another member");
        assert!(transfers.end(TO, number), "its end is the end of what was asked for since");
        assert!(!transfers.serve(TO, Term(1), Index(9)), "it has ended");
    }

    #[test]
    fn the_end_of_a_transfer_does_not_count_for_the_one_in_its_place() {
        let mut transfers = Transfers::default();
        let first = transfers.begin(TO, Term(1), Index(9));
        assert!(!transfers.serve(TO, Term(1), Index(10)), "it does not reach so far");
        assert!(!transfers.end(TO, first), "nobody waits for it any more");
        let second = transfers.begin(TO, Term(1), Index(12));
        assert!(!transfers.end(TO, first));
        assert!(!transfers.serve(TO, Term(2), Index(12)), "what is carried in an older term is refused");
        let third = transfers.begin(TO, Term(2), Index(12));
        assert!(!transfers.end(TO, second));
        assert!(transfers.end(TO, third));
        assert!(!transfers.end(TO, third), "once");
    }
}
