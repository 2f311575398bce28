//! Snapshots on disk: written whole or not at all, every chunk checksummed, the newest few kept.
//!
//! Owns files and their bytes' integrity; what the payload means is the state machine's business. [`Snapshots`] may be
//! used from any thread, beside the one that writes the log.

mod format;

mod read;

mod write;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft::{EntryId, Index, MemberId, SnapshotMeta, Term};

use crate::codec::EncodeError;
use crate::disk::Disk;
use crate::error::{Damage, DamageKind, Failure, Latch, OpenError, StorageError};

pub use format::CHUNK_BYTES;
pub use read::SnapshotReader;
pub use write::{SnapshotReceiver, SnapshotWriter};

/// Ending of a snapshot's name.
const ENDING: &str = ".snap";
/// Ending of what is being written or received; such files go when the next start comes.
const DRAFT_ENDING: &str = ".tmp";
/// Where a damaged snapshot is put aside; a later one takes its place.
const QUARANTINE: &str = "damaged";

/// Where a snapshot came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This member took it of its own state, so its log reaches that far.
    Taken,
    /// It came from outside and replaces state and log.
    Received,
}

/// A snapshot that is on disk, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// What it says of the log.
    pub meta: SnapshotMeta,
    /// Bytes of its payload.
    pub bytes: u64,
    /// CRC32C of its payload.
    pub crc32c: u32,
    /// Where it came from.
    pub origin: Origin,
}

/// Why a snapshot was not written, received or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The disk; see there what to do.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is on disk is not what was written.
    #[error("{0}: take another snapshot, or replace this member")]
    Damaged(Damage),
    /// What was received is not what was sent. It was thrown away.
    #[error(
        "{bytes} bytes with crc32c {crc32c:08x} were received, {expected_bytes} with {expected_crc32c:08x} were offered"
    )]
    NotAsOffered {
        /// Received.
        bytes: u64,
        /// Of what was received.
        crc32c: u32,
        /// Offered.
        expected_bytes: u64,
        /// Of what was offered.
        expected_crc32c: u32,
    },
    /// It is not, or no longer, there.
    #[error("there is no snapshot that ends at, or reaches, index {index}")]
    Missing {
        /// Where it was to end.
        index: Index,
    },
}

impl From<EncodeError> for SnapshotError {
    fn from(error: EncodeError) -> Self {
        Self::Storage(error.into())
    }
}

/// All snapshots of one member. A clone is the same.
#[derive(Clone, Debug)]
pub struct Snapshots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    member: MemberId,
    kept: usize,
    latch: Latch,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Newest first.
    stored: Vec<SnapshotInfo>,
    /// Received, durable and verified, but not installed, each with its file.
    received: Vec<(SnapshotInfo, PathBuf)>,
    drafts: u64,
}

/// Snapshots as found at a start.
#[derive(Debug)]
pub(crate) struct FoundSnapshots {
    pub(crate) snapshots: Snapshots,
    /// Newer than the newest whole one, or not readable.
    pub(crate) damaged: Vec<Damage>,
}

fn name(last: EntryId) -> String {
    format!("{:016x}-{:016x}{ENDING}", last.index.0, last.term.0)
}

fn last_of(name: &str) -> Option<EntryId> {
    let (index, term) = name.strip_suffix(ENDING)?.split_once('-')?;
    let number = |digits: &str| (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok()).flatten();
    Some(EntryId { term: Term(number(term)?), index: Index(number(index)?) })
}

impl Snapshots {
    /// None, whatever the directory holds.
    pub(crate) fn none(disk: Arc<dyn Disk>, dir: PathBuf, member: MemberId, kept: usize, latch: Latch) -> Self {
        Self(Arc::new(Shared { disk, dir, member, kept: kept.max(1), latch, state: Mutex::default() }))
    }

    /// Makes the directory, durably, or empties it.
    pub(crate) fn clear(&self) -> Result<(), OpenError> {
        let Shared { disk, dir, .. } = &*self.0;
        disk.create_dir(dir).map_err(Failure::of("create", dir))?;
        for name in disk.list(dir).map_err(Failure::of("list", dir))? {
            let path = dir.join(name);
            disk.remove(&path).map_err(Failure::of("remove", &path))?;
        }
        disk.sync_dir(dir).map_err(Failure::of("sync", dir))?;
        Ok(())
    }

    /// Reads what is there: the newest whole one is verified to its last byte, damaged ones before it are reported.
    pub(crate) fn find(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        member: MemberId,
        kept: usize,
        latch: Latch,
    ) -> Result<FoundSnapshots, OpenError> {
        let mut stored = Vec::new();
        let mut damaged = Vec::new();
        // Missing with everything in it: then the log must do without, or the gap is found.
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
                Err(SnapshotError::Storage(StorageError::Failed(failure))) => return Err(failure.into()),
                Err(_) => damaged.push(Damage { path, offset: 0, kind: DamageKind::Contents("a snapshot") }),
            }
        }
        // A name that was seen must not go with a power loss: the log may have been purged on its account.
        disk.sync_dir(&dir).map_err(Failure::of("sync", &dir))?;
        let state = State { stored, ..State::default() };
        let shared = Shared { disk, dir, member, kept: kept.max(1), latch, state: Mutex::new(state) };
        Ok(FoundSnapshots { snapshots: Self(Arc::new(shared)), damaged })
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

    /// Puts a damaged snapshot aside, so that nobody opens it again.
    pub(crate) fn quarantine(&self, path: &Path) -> Result<(), StorageError> {
        let Shared { disk, dir, latch, .. } = &*self.0;
        latch.guard("rename", path, disk.rename(path, &dir.join(QUARANTINE)))?;
        latch.guard("sync", dir, disk.sync_dir(dir))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the lists as they were: each change to them is one step.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Snapshots on disk, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<SnapshotInfo> {
        self.state().stored.clone()
    }

    /// The newest snapshot.
    #[must_use]
    pub fn newest(&self) -> Option<SnapshotInfo> {
        self.state().stored.first().cloned()
    }

    /// Starts to write a snapshot of this member's own state.
    ///
    /// # Errors
    /// Nothing was started.
    pub fn begin(&self, meta: SnapshotMeta) -> Result<SnapshotWriter, SnapshotError> {
        SnapshotWriter::start(self.clone(), meta)
    }

    /// Starts to receive a snapshot from outside.
    ///
    /// # Errors
    /// Nothing was started.
    pub fn receive(&self, meta: SnapshotMeta) -> Result<SnapshotReceiver, SnapshotError> {
        SnapshotReceiver::start(self.clone(), meta)
    }

    /// Opens a snapshot for reading. It can be read to its end even if newer ones displace it meanwhile.
    ///
    /// # Errors
    /// It is not there, or damaged.
    pub fn open(&self, info: &SnapshotInfo) -> Result<SnapshotReader, SnapshotError> {
        let last = info.meta.last;
        if !self.state().stored.iter().any(|stored| stored.meta.last == last) {
            return Err(SnapshotError::Missing { index: last.index });
        }
        SnapshotReader::open(&*self.0.disk, &self.0.dir.join(name(last)), self.0.member)
    }

    /// Opens the newest snapshot, if it reaches `at_least`; if a newer one displaces that before it is open, the newer one.
    ///
    /// # Errors
    /// There is none, or it is damaged.
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

    /// Throws away one received snapshot that ends at `last` and was not installed. If it was received more than once, the
    /// others stay, as each may be the one to be installed.
    ///
    /// # Errors
    /// Of the disk.
    pub fn discard_received(&self, last: EntryId) -> Result<(), StorageError> {
        let mut is_first = true;
        self.discard(|info| info.meta.last == last && std::mem::take(&mut is_first))
    }

    /// Throws away all received snapshots that end at `index` or before and were not installed.
    ///
    /// # Errors
    /// Of the disk.
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

    /// Makes a received snapshot one of this member's own; the first step of an installation, and fine to repeat.
    pub(crate) fn adopt_received(&self, last: EntryId) -> Result<SnapshotInfo, StorageError> {
        let found = {
            let mut state = self.state();
            let place = state.received.iter().position(|(info, _)| info.meta.last == last);
            place.map(|place| state.received.remove(place))
        };
        let Some((info, draft)) = found else {
            let state = self.state();
            let stored = state.stored.iter().find(|info| info.meta.last == last && info.origin == Origin::Received);
            return stored.cloned().ok_or(StorageError::NoSnapshot { index: last.index });
        };
        self.publish(&draft, &info)?;
        Ok(info)
    }

    /// Gives a durable draft its name, and lets the oldest snapshots go.
    fn publish(&self, draft: &Path, info: &SnapshotInfo) -> Result<(), StorageError> {
        let Shared { disk, dir, kept, latch, .. } = &*self.0;
        latch.check()?;
        let path = dir.join(name(info.meta.last));
        latch.guard("rename", draft, disk.rename(draft, &path))?;
        latch.guard("sync", dir, disk.sync_dir(dir))?;
        let displaced = {
            let mut state = self.state();
            state.stored.retain(|stored| stored.meta.last != info.meta.last);
            state.stored.push(info.clone());
            state.stored.sort_by_key(|stored| std::cmp::Reverse(stored.meta.last.index));
            let from = state.stored.len().min(*kept);
            state.stored.split_off(from)
        };
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
