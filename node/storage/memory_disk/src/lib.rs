//! A disk in memory that fails on purpose, for tests and simulators: unsynced writes and names are lost, whole pages are torn,
//! bits flip, reads are short, space runs out, syncs fail, and the machine stops at a chosen operation.
//!
//! A power loss tears in units ([`MemoryDisk::with_tear_unit`]). A unit in which a write is under way may turn to garbage as a
//! whole, with bytes in it that were durable before. Caches and most drives write whole pages, so the unit is a page unless a
//! test says otherwise. Format 1 of the log is laid out for sectors, so members that write this format run on a disk that tears
//! sectors; on pages they would lose acknowledged writes.
//!
//! Owns the faults that a test can request, and the generator of choices. Does not own any randomness: the same calls with the
//! same seeds give the same disk. The disk is a separate crate, so that no shipped program contains it.

mod choice;

mod state;

mod power;

mod device;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storage::disk::{PAGE, SECTOR};

pub use crate::choice::Choice;
use crate::state::{Inode, State};

/// A disk in memory. All clones use the same disk.
#[derive(Clone)]
pub struct MemoryDisk {
    shared: Arc<Mutex<State>>,
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// Creates an empty disk with one directory, `/`. A power loss tears whole pages of [`PAGE`] bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_tear_unit(PAGE)
    }

    /// Creates an empty disk with one directory, `/`. A power loss tears whole units of `bytes` bytes.
    ///
    /// # Panics
    /// Panics if the unit is not a multiple of a sector.
    #[must_use]
    pub fn with_tear_unit(bytes: usize) -> Self {
        assert!(bytes > 0 && bytes.is_multiple_of(SECTOR), "no medium writes {bytes} bytes at a time");
        let state = State { tear_unit: bytes, ..State::default() };
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    /// Size in bytes of the unit that a power loss tears as a whole.
    #[must_use]
    pub fn tear_unit(&self) -> usize {
        self.state().tear_unit
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

    /// Makes reads return fewer bytes than requested: any number of whole sectors, but at least one. The seed decides how many.
    pub fn short_reads(&self, seed: u64) {
        self.state().short_reads = Some(Choice(seed));
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

    /// Cuts the power. The seed decides for each tear unit with unsynced writes whether none of these writes, the oldest of
    /// them, or all of them survive, or whether the whole unit turns to garbage. The latest changes to names may be lost, and a
    /// directory whose name is lost is lost with everything in it. Cancels the planned stop and the planned failure of a sync.
    pub fn lose_power(&self, seed: u64) {
        self.state().lose_power(seed);
    }

    /// Length of the last write in bytes; `None` if its file was synced after it.
    #[must_use]
    pub fn last_write_bytes(&self) -> Option<usize> {
        let state = self.state();
        let inode = state.inodes.get(&state.last_write?)?;
        inode.pending.last().map(|(_, data)| data.len())
    }

    /// Cuts the power within the last write, if its file was not synced after it: exactly the first `bytes` bytes of this write
    /// survive, and everything before it survives. Cancels the planned stop and the planned failure of a sync.
    pub fn keep_of_last_write(&self, bytes: usize) {
        self.state().keep_of_last_write(bytes);
    }
}
