//! Owns when a snapshot of this member's own state begins and what follows from it, and the pace. The view is taken for free, the
//! snapshot thread writes it, and the core says what may be purged. Does not own the state of it (`snapshotting.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::{Index, MemberId, Now, Term};

use super::run::Driver;
use super::snapshotting::SnapshotJob;
use crate::error::SnapshotWriteError;
use crate::log_thread::LogJob;

/// Snapshots are at least so far apart, unless a member needs one.
const INTERVAL_MIN: Duration = Duration::from_secs(2);
/// And as many times as long as the last one took: a twentieth of the time at most goes into writing them, however large
/// the content.
const INTERVAL_FACTOR: u32 = 19;

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

    pub(super) fn snapshot_written(&mut self, now: Now, outcome: Result<Index, SnapshotWriteError>) {
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
