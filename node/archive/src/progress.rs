//! How far a transfer is, for whoever asks meanwhile. Owns two numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes done of bytes to do. A clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Bytes that have arrived.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.0.done.load(Ordering::Relaxed)
    }

    /// Bytes there are; 0 while that is not known.
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
