//! A disk in memory that fails on purpose, for tests and simulators: unsynced writes are lost or torn, bits flip, space
//! runs out, syncs fail, and the machine stops at a chosen operation.
//!
//! Owns the faults that a test can request. Does not own any randomness: the same calls with the same seeds give the same disk.
//! The disk is a separate crate, so that no shipped program contains it.

mod state;

mod power;

mod device;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::state::{Inode, State};

/// A disk in memory. All clones use the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    shared: Arc<Mutex<State>>,
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl MemoryDisk {
    /// Creates an empty disk with one directory, `/`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Ignores poisoning: if a thread panicked while it held the lock, its test has already failed.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the disk. Files and locks that are open on this disk are not open on the copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.end_life();
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// Number of operations that changed something. With this number, a test can stop the machine at each operation in turn
    /// ([`Self::stop_after`]).
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Stops the machine after this number of further operations. The last of these operations fails half-way, so a power loss
    /// may leave any part of its effect. Every later operation fails without an effect.
    pub fn stop_after(&self, operations: u64) {
        let mut state = self.state();
        state.stop_at = Some(state.operations + operations);
    }

    /// Returns whether the machine has stopped as [`Self::stop_after`] requested.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.state().is_stopped()
    }

    /// Lets this number of syncs of files succeed, and the next sync fail. As on ext4 and XFS, the bytes that the failed sync
    /// covered never become durable, although reads return them until the next crash.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state().syncs_to_failure = Some(syncs);
    }

    /// Limits the total size of all files in bytes; `None` removes the limit. Only a write that would make the total exceed the
    /// limit fails.
    pub fn limit_bytes(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Total size of all files, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used()
    }

    /// Paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().live.files.keys().cloned().collect()
    }

    /// Bytes of a file, as a process sees them.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.live.files.get(path)?;
        state.inodes.get(inode).map(|inode| inode.live.clone())
    }

    /// Flips one bit of a file, both in the durable bytes and in the bytes that processes read.
    ///
    /// # Panics
    /// Panics if the file does not exist or is not longer than `offset`.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) {
        let mut state = self.state();
        let inode = *state.live.files.get(path).expect("the file to damage exists");
        let inode = state.inodes.get_mut(&inode).expect("a named file has bytes");
        let settled = inode.settled();
        inode.durable = settled;
        inode.pending.clear();
        let offset = usize::try_from(offset).expect("the byte to damage is inside the file");
        for bytes in [&mut inode.durable, &mut inode.live] {
            bytes[offset] ^= 1 << (bit % 8);
        }
    }

    /// Durably replaces the bytes of a file; `None` removes the file. This does not count as an operation.
    pub fn overwrite(&self, path: &Path, contents: Option<Vec<u8>>) {
        let mut state = self.state();
        let Some(bytes) = contents else {
            state.live.files.remove(path);
            state.durable.files.remove(path);
            return;
        };
        state.next_inode += 1;
        let inode = state.next_inode;
        state.inodes.insert(inode, Inode { live: bytes.clone(), durable: bytes, pending: Vec::new() });
        state.live.files.insert(path.to_owned(), inode);
        state.durable.files.insert(path.to_owned(), inode);
    }

    /// Kills the process while the machine keeps running. Every write stays visible, durable or not. Cancels the
    /// planned stop and the planned failure of a sync.
    pub fn kill(&self) {
        self.state().end_life();
    }

    /// Cuts the power. The seed decides for each sector whether an unsynced write survives. A sector with an unsynced
    /// write may also turn to garbage. Cancels the planned stop and the planned failure of a sync.
    pub fn lose_power(&self, seed: u64) {
        self.state().lose_power(seed);
    }
}
