//! Contents of the disk: bytes of files and names in directories, both as processes see them and as they are after a
//! power loss. Owns the count of operations, and the stop of the machine at a chosen operation. Does not own the effect
//! of a power loss (`power.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use storage::disk::SECTOR;

use crate::choice::Choice;

/// Bytes of a file: the bytes that a process reads, and the bytes that are durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inode {
    /// Bytes that a read returns.
    pub(crate) live: Vec<u8>,
    /// Bytes that are durable, without the writes in `pending`.
    pub(crate) durable: Vec<u8>,
    /// Writes since the last sync, in order: offset and bytes.
    pub(crate) pending: Vec<(usize, Vec<u8>)>,
}

/// A change to a directory; the change is not durable yet.
#[derive(Clone, Debug)]
pub(crate) enum NameChange {
    MakeDir(PathBuf),
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

/// Names of all files and directories.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    pub(crate) files: BTreeMap<PathBuf, u64>,
    pub(crate) dirs: BTreeSet<PathBuf>,
}

/// Contents of a disk, and its planned faults.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    pub(crate) inodes: BTreeMap<u64, Inode>,
    /// Names of the files and directories that processes see.
    pub(crate) live: Names,
    /// Names of the files and directories that exist after a loss of power.
    pub(crate) durable: Names,
    /// Changes to names since the last sync of their directories, in order.
    pub(crate) pending: Vec<NameChange>,
    pub(crate) next_inode: u64,
    /// Number of open handles of each inode.
    pub(crate) open: BTreeMap<u64, usize>,
    pub(crate) locks: BTreeSet<PathBuf>,
    /// Number of crashes so far. A handle that was opened before a crash does not work after the crash.
    pub(crate) life: u64,
    /// Number of operations that changed something.
    pub(crate) operations: u64,
    /// Number of the operation at which the machine stops.
    pub(crate) stop_at: Option<u64>,
    /// Number of syncs of files that succeed before a sync fails.
    pub(crate) syncs_to_failure: Option<u64>,
    /// Maximum total size of all files, in bytes.
    pub(crate) capacity: Option<u64>,
    /// Number of bytes that a power loss tears as one.
    pub(crate) tear_unit: usize,
    /// Source of the lengths of short reads, if reads are short.
    pub(crate) short_reads: Option<Choice>,
    /// File of the last write, until that file is synced.
    pub(crate) last_write: Option<u64>,
}

impl Names {
    pub(crate) fn apply(&mut self, change: &NameChange) {
        match change {
            NameChange::MakeDir(path) => {
                self.dirs.insert(path.clone());
            }
            NameChange::Link(path, inode) => {
                self.files.insert(path.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = self.files.remove(from) {
                    self.files.insert(to.clone(), inode);
                }
            }
            NameChange::Unlink(path) => {
                self.files.remove(path);
            }
        }
    }
}

impl NameChange {
    pub(crate) fn parent(&self) -> Option<&Path> {
        match self {
            Self::MakeDir(path) | Self::Link(path, _) | Self::Rename(_, path) | Self::Unlink(path) => path.parent(),
        }
    }
}

pub(crate) fn write_into(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl Inode {
    /// Returns the durable bytes with all pending writes applied to them.
    pub(crate) fn settled(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for (offset, data) in &self.pending {
            write_into(&mut bytes, *offset, data);
        }
        bytes
    }
}

/// Outcome of an operation that changes something.
pub(crate) enum Fate {
    /// The operation succeeds.
    Done,
    /// The machine stops during the operation.
    Stopped,
}

pub(crate) fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

impl State {
    /// Counts an operation that changes something, and decides whether the machine stops at this operation.
    pub(crate) fn operate(&mut self) -> io::Result<Fate> {
        self.operations += 1;
        match self.stop_at {
            Some(stop) if self.operations > stop => Err(stopped()),
            Some(stop) if self.operations == stop => Ok(Fate::Stopped),
            _ => Ok(Fate::Done),
        }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop_at.is_some_and(|stop| self.operations >= stop)
    }

    /// Number of bytes that a read of `asked` bytes may return: at least one sector, and less than asked only in whole sectors.
    pub(crate) fn read_length(&mut self, asked: usize) -> usize {
        match &mut self.short_reads {
            Some(choice) => (choice.below(asked as u64) as usize / SECTOR * SECTOR).max(asked.min(SECTOR)),
            None => asked,
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.live.files.values().filter_map(|inode| self.inodes.get(inode)).map(|i| i.live.len() as u64).sum()
    }

    pub(crate) fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let fate = self.operate()?;
        self.live.apply(&change);
        self.pending.push(change);
        match fate {
            Fate::Done => Ok(()),
            Fate::Stopped => Err(stopped()),
        }
    }

    /// Drops inodes to which no name, no pending change and no open file refers.
    pub(crate) fn forget_unnamed(&mut self) {
        let mut seen: BTreeSet<u64> = self.live.files.values().chain(self.durable.files.values()).copied().collect();
        seen.extend(self.open.keys());
        seen.extend(self.pending.iter().filter_map(|change| match change {
            NameChange::Link(_, inode) => Some(*inode),
            NameChange::MakeDir(_) | NameChange::Rename(..) | NameChange::Unlink(_) => None,
        }));
        self.inodes.retain(|inode, _| seen.contains(inode));
    }

    pub(crate) fn inode(&mut self, life: u64, inode: u64) -> io::Result<&mut Inode> {
        if life != self.life {
            return Err(io::Error::other("the file was opened before a crash"));
        }
        self.inodes.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Ends every process: releases all locks and closes all files. Cancels the planned stop and the planned failure of
    /// a sync.
    pub(crate) fn end_life(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.open.clear();
        self.stop_at = None;
        self.syncs_to_failure = None;
    }
}
