//! Owns the thread that writes snapshots of this member's own state. Does not own the schedule of snapshots (`driver`) or their
//! format on disk (`storage`).

use std::collections::VecDeque;
use std::io::{BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use storage::Snapshots;

use crate::driver::SnapshotJob;
use crate::error::SnapshotWriteError;
use crate::level::Formats;
use crate::mailbox::Mailbox;
use crate::shared::Shared;

/// The snapshot thread. Runs in [`SnapshotThread::run`] on a thread of its own, or step by step in [`SnapshotThread::step`].
pub struct SnapshotThread {
    jobs: Arc<Mailbox<SnapshotJob>>,
    snapshots: Snapshots,
    shared: Arc<Shared>,
    /// Jobs that [`SnapshotThread::has_work`] took from the mailbox.
    waiting: VecDeque<SnapshotJob>,
}

impl SnapshotThread {
    /// Creates a thread that writes the snapshots queued in `jobs`.
    pub(crate) fn new(jobs: Arc<Mailbox<SnapshotJob>>, snapshots: Snapshots, shared: Arc<Shared>) -> Self {
        Self { jobs, snapshots, shared, waiting: VecDeque::new() }
    }

    /// Runs until the mailbox is closed and empty.
    pub fn run(self) {
        let mut jobs = Vec::new();
        while self.jobs.take(&mut jobs) {
            jobs.drain(..).for_each(|job| self.write(job));
        }
    }

    /// Returns whether a snapshot waits to be written.
    #[must_use]
    pub fn has_work(&mut self) -> bool {
        let mut jobs = Vec::new();
        self.jobs.take_now(&mut jobs);
        self.waiting.extend(jobs);
        !self.waiting.is_empty()
    }

    /// Writes one snapshot that [`SnapshotThread::has_work`] found.
    pub fn step(&mut self) {
        if let Some(job) = self.waiting.pop_front() {
            self.write(job);
        }
    }

    /// Writes one snapshot and reports the outcome to the core.
    fn write(&self, job: SnapshotJob) {
        let started = Instant::now();
        let index = job.meta.last.index;
        let outcome = write(&self.snapshots, job);
        if let Ok(bytes) = &outcome {
            let took = started.elapsed();
            self.shared.observer.snapshot_taken(took);
            self.shared.snapshot_bytes.store(*bytes, Ordering::Relaxed);
            tracing::info!(%index, bytes, took_ms = took.as_millis(), "wrote a snapshot");
        }
        self.shared.inbox.snapshot_written(outcome.map(|_| index));
    }
}

/// Writes one snapshot and returns its size in bytes.
fn write(snapshots: &Snapshots, job: SnapshotJob) -> Result<u64, SnapshotWriteError> {
    let SnapshotJob { meta, published } = job;
    let mut writer = BufWriter::with_capacity(1 << 20, snapshots.begin(meta)?);
    let format = Formats::of(published.view.level()).image;
    mvcc::image::write(&published.view, published.applied.0, format, &mut writer)?;
    writer.flush()?;
    let writer = writer.into_inner().map_err(std::io::IntoInnerError::into_error)?;
    Ok(writer.finish()?.bytes)
}
