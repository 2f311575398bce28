//! Snapshots on disk. A snapshot is written whole or not at all, every chunk has a checksum, and only the newest few snapshots
//! are kept. A member can start from each of them, because the log after the oldest one is kept as well (`storage.rs`), unless this
//! log is damaged.
//!
//! Owns the files, their names, and the choice of the files to keep. Does not own the meaning of a payload (the state machine) or
//! the bytes around a payload (`format.rs`). Any thread may use [`Snapshots`] while another thread writes the log.

mod info;

mod format;

mod read;

mod write;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft::{EntryId, Index, MemberId, Term};

use crate::disk::Disk;
use crate::error::{Damage, DamageKind, Failure, Latch, OpenError, StorageError};

pub use format::CHUNK_BYTES;
pub use info::{SnapshotError, SnapshotInfo, SnapshotOrigin};
pub use read::SnapshotReader;
pub use write::{SnapshotReceiver, SnapshotWriter};

/// Ending of a snapshot's name.
const ENDING: &str = ".snap";
/// Ending of the name of a snapshot that is being written or received. A start removes files with this ending.
const DRAFT_ENDING: &str = ".tmp";
/// Name of the damaged snapshot that was put aside last. A snapshot that is put aside later replaces the file.
const QUARANTINE: &str = "damaged";

/// Limits on the space of snapshots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SnapshotLimits {
    /// Number of snapshots to keep; 0 keeps one snapshot.
    pub(crate) kept: usize,
    /// Free bytes of the volume below which no snapshot of this member's own state is written. They are left to the log.
    pub(crate) floor_bytes: u64,
}

/// All snapshots of one member. Clones share one list.
#[derive(Clone, Debug)]
pub struct Snapshots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    member: MemberId,
    /// Number of snapshots to keep, at least 1.
    kept: AtomicUsize,
    /// Free bytes of the volume below which no snapshot of this member's own state is written.
    floor_bytes: u64,
    /// Bytes of all drafts that are being written or received.
    draft_bytes: AtomicU64,
    latch: Latch,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Complete snapshots from which a member can start, newest first.
    stored: Vec<SnapshotInfo>,
    /// Received snapshots that are durable and verified but not installed, each with its file.
    received: Vec<(SnapshotInfo, PathBuf)>,
    /// Number of drafts created so far, so that each draft gets a different name.
    drafts: u64,
}

impl State {
    /// Adds a snapshot, and returns the oldest snapshots beyond the number to keep.
    fn store(&mut self, info: &SnapshotInfo, kept: usize) -> Vec<SnapshotInfo> {
        self.stored.retain(|stored| stored.meta.last != info.meta.last);
        self.stored.push(info.clone());
        self.stored.sort_by_key(|stored| std::cmp::Reverse(stored.meta.last.index));
        let displaced = self.stored.split_off(self.stored.len().min(kept));
        debug_assert!(!self.stored.is_empty(), "the newest snapshot is always kept");
        debug_assert!(
            self.stored.is_sorted_by(|newer, older| newer.meta.last.index > older.meta.last.index),
            "two snapshots end at the same index"
        );
        displaced
    }
}

/// Snapshots that a start found in the directory.
#[derive(Debug)]
pub(crate) struct FoundSnapshots {
    pub(crate) snapshots: Snapshots,
    /// Damage that was found in each snapshot that could not be read.
    pub(crate) damaged: Vec<Damage>,
}

fn name(last: EntryId) -> String {
    let name = format!("{:016x}-{:016x}{ENDING}", last.index.0, last.term.0);
    debug_assert_eq!(last_of(&name), Some(last), "a start recognizes the name");
    name
}

fn last_of(name: &str) -> Option<EntryId> {
    let (index, term) = name.strip_suffix(ENDING)?.split_once('-')?;
    let number = |digits: &str| (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten();
    Some(EntryId { term: Term(number(term)?), index: Index(number(index)?) })
}

impl Snapshots {
    /// Creates an empty list, regardless of the files in the directory.
    pub(crate) fn none(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        member: MemberId,
        limits: SnapshotLimits,
        latch: Latch,
    ) -> Self {
        Self::with(State::default(), disk, dir, member, limits, latch)
    }

    fn with(
        state: State,
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        member: MemberId,
        limits: SnapshotLimits,
        latch: Latch,
    ) -> Self {
        let SnapshotLimits { kept, floor_bytes } = limits;
        let kept = AtomicUsize::new(kept.max(1));
        let (draft_bytes, state) = (AtomicU64::new(0), Mutex::new(state));
        Self(Arc::new(Shared { disk, dir, member, kept, floor_bytes, draft_bytes, latch, state }))
    }

    /// Sets the number of snapshots to keep, and removes the oldest ones beyond it.
    pub(crate) fn keep(&self, count: usize) -> Result<(), StorageError> {
        self.0.kept.store(count.max(1), Ordering::Relaxed);
        let newest: Vec<EntryId> = self.list().iter().take(count.max(1)).map(|info| info.meta.last).collect();
        self.remove(|info| !newest.contains(&info.meta.last))
    }

    /// Bytes of the snapshots that are being written or received, and are not complete.
    pub(crate) fn draft_bytes(&self) -> u64 {
        self.0.draft_bytes.load(Ordering::Relaxed)
    }

    /// Creates the directory and makes it durable. If the directory exists already, removes all files in it.
    pub(crate) fn clear(&self) -> Result<(), OpenError> {
        let Shared { disk, dir, .. } = &*self.0;
        debug_assert!(self.state().stored.is_empty(), "only the leftovers of an unfinished bootstrap are removed");
        disk.create_dir(dir).map_err(Failure::of("create", dir))?;
        for name in disk.list(dir).map_err(Failure::of("list", dir))? {
            let path = dir.join(name);
            disk.remove(&path).map_err(Failure::of("remove", &path))?;
        }
        disk.sync_dir(dir).map_err(Failure::of("sync", dir))?;
        Ok(())
    }

    /// Reads the snapshots of a directory. Verifies every byte of the newest readable snapshot, and reports damaged snapshots.
    pub(crate) fn find(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        member: MemberId,
        limits: SnapshotLimits,
        latch: Latch,
    ) -> Result<FoundSnapshots, OpenError> {
        let mut stored: Vec<SnapshotInfo> = Vec::new();
        let mut damaged = Vec::new();
        // The directory may be missing with all its files. In this case either the log holds all entries, or the start
        // fails because entries are missing.
        disk.create_dir(&dir).map_err(Failure::of("create", &dir))?;
        for name in disk.list(&dir).map_err(Failure::of("list", &dir))?.iter().rev() {
            let path = dir.join(name);
            if name.ends_with(DRAFT_ENDING) {
                disk.remove(&path).map_err(Failure::of("remove", &path))?;
                continue;
            }
            let Some(last) = last_of(name) else { continue };
            match Self::examine(&*disk, &path, member, last, stored.is_empty()) {
                Ok(info) => stored.push(info),
                Err(SnapshotError::Damaged(damage)) => damaged.push(damage),
                // A newer program put nothing aside, so this one must not either.
                Err(SnapshotError::TooNew(newer)) => return Err(OpenError::TooNew { identity: None, newer }),
                // What cannot be read now is not damaged.
                Err(SnapshotError::Storage(StorageError::Failed(failure) | StorageError::Refused(failure))) => {
                    return Err(failure.into());
                }
                Err(_) => damaged.push(Damage { path, offset: 0, kind: DamageKind::Contents("a snapshot") }),
            }
        }
        debug_assert!(
            stored.is_sorted_by(|newer, older| newer.meta.last.index >= older.meta.last.index),
            "newest first"
        );
        // A power loss must not remove the name of a snapshot that this start found, because the log may have been purged up to
        // the snapshot's end.
        disk.sync_dir(&dir).map_err(Failure::of("sync", &dir))?;
        let state = State { stored, ..State::default() };
        let snapshots = Self::with(state, disk, dir, member, limits, latch);
        Ok(FoundSnapshots { snapshots, damaged })
    }

    fn examine(
        disk: &dyn Disk,
        path: &Path,
        member: MemberId,
        last: EntryId,
        is_newest: bool,
    ) -> Result<SnapshotInfo, SnapshotError> {
        let mut reader = SnapshotReader::open(disk, path, member)?;
        if reader.info().meta.last != last {
            let kind = DamageKind::Contents("a snapshot under another one's name");
            return Err(SnapshotError::Damaged(Damage { path: path.to_owned(), offset: 0, kind }));
        }
        if is_newest {
            while reader.next_chunk()?.is_some() {}
        }
        Ok(reader.info().clone())
    }

    /// Puts a damaged snapshot aside, so that no later start reads it.
    pub(crate) fn quarantine(&self, path: &Path) -> Result<(), StorageError> {
        let Shared { disk, dir, latch, .. } = &*self.0;
        latch.guard("rename", path, disk.rename(path, &dir.join(QUARANTINE)))?;
        latch.guard("sync", dir, disk.sync_dir(dir))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Ignores poisoning: each change to the lists is one step, so the lists are whole even after a panic.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists the snapshots on disk, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<SnapshotInfo> {
        self.state().stored.clone()
    }

    /// The newest snapshot.
    #[must_use]
    pub fn newest(&self) -> Option<SnapshotInfo> {
        self.state().stored.first().cloned()
    }

    /// Opens a snapshot for reading. The reader can read the snapshot to its end even if the snapshot is removed from the disk
    /// meanwhile.
    ///
    /// # Errors
    /// Returns [`SnapshotError`] if the snapshot does not exist or is damaged.
    pub fn open(&self, info: &SnapshotInfo) -> Result<SnapshotReader, SnapshotError> {
        let last = info.meta.last;
        if !self.state().stored.iter().any(|stored| stored.meta.last == last) {
            return Err(SnapshotError::Missing { index: last.index });
        }
        SnapshotReader::open(&*self.0.disk, &self.0.dir.join(name(last)), self.0.member)
    }

    /// Opens the newest snapshot, which must cover the index `at_least`. If a newer snapshot replaces this snapshot
    /// before it is open, opens the newer one.
    ///
    /// # Errors
    /// Returns [`SnapshotError`] if no snapshot covers `at_least`, or if the newest snapshot is damaged.
    pub fn open_newest(&self, at_least: Index) -> Result<SnapshotReader, SnapshotError> {
        loop {
            let newest = self.newest().filter(|info| info.meta.last.index >= at_least);
            let info = newest.ok_or(SnapshotError::Missing { index: at_least })?;
            match self.open(&info) {
                Err(_) if self.newest().is_some_and(|newest| newest.meta.last != info.meta.last) => {}
                other => return other,
            }
        }
    }

    /// Removes one received snapshot that ends at `last` and was not installed. If a snapshot that ends at `last` was received
    /// more than once, the other copies stay, because any of them may still be installed.
    ///
    /// # Errors
    /// Returns [`StorageError::Failed`] if the file system fails.
    pub fn discard_received(&self, last: EntryId) -> Result<(), StorageError> {
        let mut is_first = true;
        self.discard(|info| info.meta.last == last && std::mem::take(&mut is_first))
    }

    /// Removes all received snapshots that end at or before `index` and were not installed.
    ///
    /// # Errors
    /// Returns [`StorageError::Failed`] if the file system fails.
    pub fn discard_received_through(&self, index: Index) -> Result<(), StorageError> {
        self.discard(|info| info.meta.last.index <= index)
    }

    fn discard(&self, mut is_stale: impl FnMut(&SnapshotInfo) -> bool) -> Result<(), StorageError> {
        let stale: Vec<_> = self.state().received.extract_if(.., |(info, _)| is_stale(info)).collect();
        for (_, path) in stale {
            self.0.latch.guard("remove", &path, self.0.disk.remove(&path))?;
        }
        Ok(())
    }

    /// Removes the complete snapshots of a blank volume, except the snapshot that ends at `kept`. Only a bootstrap that
    /// failed earlier in this process leaves such snapshots; a start removes them itself.
    pub(crate) fn remove_leftovers(&self, kept: Option<EntryId>) -> Result<(), StorageError> {
        self.remove(|info| kept.is_none_or(|kept| info.meta.last != kept))
    }

    /// Removes the snapshots that end before `index`, because the log does not continue them any more.
    pub(crate) fn remove_before(&self, index: Index) -> Result<(), StorageError> {
        self.remove(|info| info.meta.last.index < index)
    }

    fn remove(&self, mut is_removed: impl FnMut(&SnapshotInfo) -> bool) -> Result<(), StorageError> {
        let Shared { disk, dir, latch, .. } = &*self.0;
        latch.check()?;
        let removed: Vec<_> = self.state().stored.extract_if(.., |info| is_removed(info)).collect();
        for info in &removed {
            let path = dir.join(name(info.meta.last));
            latch.guard("remove", &path, disk.remove(&path))?;
        }
        if !removed.is_empty() {
            latch.guard("sync", dir, disk.sync_dir(dir))?;
        }
        Ok(())
    }

    /// Moves a received snapshot to the member's complete snapshots, which is the first step of an installation. A repeated call
    /// changes nothing.
    pub(crate) fn adopt_received(&self, last: EntryId) -> Result<SnapshotInfo, StorageError> {
        let found = {
            let mut state = self.state();
            let place = state.received.iter().position(|(info, _)| info.meta.last == last);
            place.map(|place| state.received.remove(place))
        };
        let Some((info, draft)) = found else {
            let state = self.state();
            let stored =
                state.stored.iter().find(|info| info.meta.last == last && info.origin == SnapshotOrigin::Received);
            return stored.cloned().ok_or(StorageError::NoSnapshot { index: last.index });
        };
        debug_assert_eq!(
            info.origin,
            SnapshotOrigin::Received,
            "a snapshot that this member took needs no installation"
        );
        self.publish(&draft, &info)?;
        Ok(info)
    }

    /// Renames a durable draft to the snapshot's final name, and removes the oldest snapshots beyond the number to keep.
    fn publish(&self, draft: &Path, info: &SnapshotInfo) -> Result<(), StorageError> {
        let Shared { disk, dir, kept, latch, .. } = &*self.0;
        latch.check()?;
        let path = dir.join(name(info.meta.last));
        latch.guard("rename", draft, disk.rename(draft, &path))?;
        latch.guard("sync", dir, disk.sync_dir(dir))?;
        let displaced = self.state().store(info, kept.load(Ordering::Relaxed));
        for old in displaced {
            let path = dir.join(name(old.meta.last));
            latch.guard("remove", &path, disk.remove(&path))?;
        }
        Ok(())
    }

    fn draft_path(&self) -> PathBuf {
        let mut state = self.state();
        state.drafts += 1;
        self.0.dir.join(format!("{}{DRAFT_ENDING}", state.drafts))
    }
}
