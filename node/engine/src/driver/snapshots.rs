//! Owns the decision when snapshots of this member's own state begin, and the reaction to their end. Capturing a view
//! copies nothing; the snapshot thread writes the view, and the core decides which entries may be purged. Does not own
//! the schedule's state (`snapshot_schedule.rs`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft::{Index, MemberId, Now, Term};

use super::run::Driver;
use super::snapshot_schedule::SnapshotJob;
use crate::error::SnapshotWriteError;
use crate::log_thread::LogJob;

/// Shortest interval between snapshots of this member's own state. A snapshot that a member needs may begin earlier.
const INTERVAL_MIN: Duration = Duration::from_secs(2);
/// Shortest interval between snapshots, as a multiple of the time that writing the last snapshot took. Snapshots are therefore
/// written during at most a twentieth of the time, however large the state is.
const INTERVAL_FACTOR: u32 = 19;
/// The same while space is short, because then only a snapshot makes space: during at most a quarter of the time.
const INTERVAL_FACTOR_WHEN_SHORT: u32 = 3;

impl Driver {
    pub(super) fn snapshot_if_due(&mut self, now: Now) {
        let state = &mut self.snapshots;
        let written = self.shared.log_bytes.load(Ordering::Relaxed);
        state.measure(self.published.applied, written, self.shared.snapshot_bytes.load(Ordering::Relaxed));
        let is_time = now.monotonic >= state.not_before;
        if state.started.is_some() || !(state.is_wanted() || (state.is_due() && is_time) || state.captured.is_some()) {
            return;
        }
        if self.published.applied <= state.newest {
            // The newest durable snapshot holds the current state, so members that need a snapshot receive this one.
            (state.due, state.asked) = (false, false);
            self.send_wanted(now);
            return;
        }
        let published = state.captured.get_or_insert_with(|| Arc::clone(&self.published));
        // The core returns no metadata until the log is durable up to the view's index. Otherwise, after a crash, a snapshot
        // beyond the end of the log would look as if the log had been lost.
        let Some(meta) = self.raft.snapshot_meta(published.applied, published.time_ms) else { return };
        state.begun(written);
        state.started = Some(now.monotonic);
        if let Some(published) = state.captured.take() {
            state.jobs.push(SnapshotJob { meta, published });
        }
    }

    pub(super) fn snapshot_written(&mut self, now: Now, outcome: Result<Index, SnapshotWriteError>) {
        let state = &mut self.snapshots;
        let took = state.started.take().map_or(Duration::ZERO, |started| now.monotonic.saturating_sub(started));
        let factor = if self.space.is_short() { INTERVAL_FACTOR_WHEN_SHORT } else { INTERVAL_FACTOR };
        state.not_before = now.monotonic + INTERVAL_MIN.max(took * factor);
        match outcome {
            Ok(index) => {
                state.newest = state.newest.max(index);
                self.space.hasten();
                self.shared.snapshot.store(state.newest.0, Ordering::Relaxed);
                let first_kept = self.raft.snapshot_taken(index);
                self.log_jobs.push(LogJob::Purge { first_kept });
            }
            Err(reason) => {
                tracing::error!(%reason, "no snapshot could be written: the log grows until one is written");
                state.asked = true;
            }
        }
        self.send_wanted(now);
    }

    /// Sends a snapshot to a member whose missing entries have been purged. When the transfer takes long, the core
    /// requests a snapshot for this member again. A transfer that satisfies the new request continues, because
    /// otherwise a slow transfer would never finish.
    pub(super) fn send_snapshot(&mut self, now: Now, to: MemberId, term: Term, at_least: Index) {
        if self.snapshots.transfers.keep(to, term, at_least) {
            return;
        }
        self.snapshots.wanted.insert(to, (term, at_least));
        if self.snapshots.newest >= at_least {
            self.send_wanted(now);
        }
    }

    pub(super) fn snapshot_sent(&mut self, now: Now, to: MemberId, number: u64, arrived: Result<(), ()>) {
        if self.snapshots.transfers.end(to, number) {
            self.raft.snapshot_sent(now, to, arrived);
        }
    }

    fn send_wanted(&mut self, now: Now) {
        let newest = self.snapshots.newest;
        let wanted = std::mem::take(&mut self.snapshots.wanted);
        for (to, (term, at_least)) in wanted {
            if newest >= at_least {
                let number = self.snapshots.transfers.begin(to, term, newest);
                self.peers.send_snapshot(to, number, term, newest);
            } else {
                // The core repeats the request if the member still needs a snapshot.
                self.raft.snapshot_sent(now, to, Err(()));
            }
        }
    }
}
