//! A disk in memory that fails on purpose, for tests and simulators: unsynced writes are lost or torn, bits flip, space
//! runs out, syncs fail, and the machine stops at a chosen operation.
//!
//! Owns the faults that a test can ask for. Does not own any randomness: the same calls with the same seeds give the same
//! disk. A crate of its own, so that no program that ships contains it.

mod state;

mod power;

mod device;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::state::{Inode, State};

/// A disk in memory. Clones share one disk.
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
    /// An empty disk with one directory, `/`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A thread that panicked while it held the lock has failed its test already.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies the disk. Files and locks that are open on this disk are not open on the copy.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.end_life();
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// Number of operations that changed something. A test that counts them can stop the machine at each of them
    /// ([`Self::stop_after`]).
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets this many more operations begin. The last of them fails half-way, so that a power loss may leave any part of
    /// it, and every later one fails without an effect.
    pub fn stop_after(&self, operations: u64) {
        let mut state = self.state();
        state.stop_at = Some(state.operations + operations);
    }

    /// Whether the stop that [`Self::stop_after`] asked for has happened.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.state().is_stopped()
    }

    /// Lets this many syncs of files succeed and the next one fail. Bytes that the failed sync covered never become
    /// durable, although reads show them until the next crash, as on ext4 and XFS.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state().syncs_to_failure = Some(syncs);
    }

    /// Limits the bytes of all files together; `None` removes the limit. Only a write that would grow a file beyond the
    /// limit fails.
    pub fn limit_bytes(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used()
    }

    /// Paths of all files, sorted.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.state().live.files.keys().cloned().collect()
    }

    /// A file's bytes as a process sees them.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        let inode = state.live.files.get(path)?;
        state.inodes.get(inode).map(|inode| inode.live.clone())
    }

    /// Flips one bit, on the medium and for readers.
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

    /// Replaces a file's bytes, durably and without counting an operation; `None` removes the file.
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

    /// Kills the process while the machine keeps running: every write stays visible, durable or not. Ends all faults.
    pub fn kill(&self) {
        self.state().end_life();
    }

    /// Cuts the power. The seed decides, sector by sector, which unsynced writes survive; a sector that was being written
    /// may turn to garbage. Ends all faults.
    pub fn lose_power(&self, seed: u64) {
        self.state().lose_power(seed);
    }
}
