//! Progress of a transfer, for reports while it runs. Owns two counts. Does not own the transfer (`upload.rs`,
//! `download.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Transferred and total bytes. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Bytes transferred so far.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Total bytes of the transfer; 0 while unknown.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self, total: u64) {
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    pub(super) fn add(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn finish(&self, total: u64) {
        self.0.total.store(total, Ordering::Relaxed);
        self.0.done.store(total, Ordering::Relaxed);
    }
}
