//! A disk in memory that fails on purpose: unsynced writes are lost or torn, bits rot, space runs out, syncs fail, and
//! the machine stops at a chosen operation. Owns faults and their bookkeeping; draws no chance of its own, so the same
//! calls with the same seeds end the same.
//!
//! For tests and simulations, of this crate and of others.

mod power;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile, DiskLock};

/// A disk in memory. A clone is the same disk.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    shared: Arc<Mutex<State>>,
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

/// Bytes of a file as a process sees them, and as the medium holds them.
#[derive(Clone, Debug, Default)]
struct Inode {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Written since the last sync, in order.
    pending: Vec<(usize, Vec<u8>)>,
}

/// A change to a directory that is not durable yet.
#[derive(Clone, Debug)]
enum NameChange {
    MakeDir(PathBuf),
    Link(PathBuf, u64),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
}

/// Names of one moment.
#[derive(Clone, Debug, Default)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Clone, Debug, Default)]
struct State {
    inodes: BTreeMap<u64, Inode>,
    live: Names,
    durable: Names,
    pending: Vec<NameChange>,
    next_inode: u64,
    /// How often each inode is open.
    open: BTreeMap<u64, usize>,
    locks: BTreeSet<PathBuf>,
    /// Grows with every crash: whoever opened a file before it is dead.
    life: u64,
    operations: u64,
    stop_at: Option<u64>,
    syncs_to_failure: Option<u64>,
    capacity: Option<u64>,
}

impl Names {
    fn apply(&mut self, change: &NameChange) {
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
    fn parent(&self) -> Option<&Path> {
        match self {
            Self::MakeDir(path) | Self::Link(path, _) | Self::Rename(_, path) | Self::Unlink(path) => path.parent(),
        }
    }
}

fn write_into(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(data);
}

impl Inode {
    /// What reaches the medium when everything pending does, in order.
    fn settled(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for (offset, data) in &self.pending {
            write_into(&mut bytes, *offset, data);
        }
        bytes
    }
}

/// What happens to an operation that changes something.
enum Fate {
    /// It is carried out.
    Done,
    /// The machine stops while it is under way.
    Stopped,
}

fn stopped() -> io::Error {
    io::Error::other("the machine has stopped")
}

impl State {
    /// Counts an operation that changes something.
    fn operate(&mut self) -> io::Result<Fate> {
        self.operations += 1;
        match self.stop_at {
            Some(stop) if self.operations > stop => Err(stopped()),
            Some(stop) if self.operations == stop => Ok(Fate::Stopped),
            _ => Ok(Fate::Done),
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop_at.is_some_and(|stop| self.operations >= stop)
    }

    fn used(&self) -> u64 {
        self.live.files.values().filter_map(|inode| self.inodes.get(inode)).map(|i| i.live.len() as u64).sum()
    }

    fn change_name(&mut self, change: NameChange) -> io::Result<()> {
        let fate = self.operate()?;
        self.live.apply(&change);
        self.pending.push(change);
        match fate {
            Fate::Done => Ok(()),
            Fate::Stopped => Err(stopped()),
        }
    }

    /// Drops bytes that nobody can see any more: no name, no pending change, no open file mentions them.
    fn forget_unnamed(&mut self) {
        let mut seen: BTreeSet<u64> = self.live.files.values().chain(self.durable.files.values()).copied().collect();
        seen.extend(self.open.keys());
        seen.extend(self.pending.iter().filter_map(|change| match change {
            NameChange::Link(_, inode) => Some(*inode),
            NameChange::MakeDir(_) | NameChange::Rename(..) | NameChange::Unlink(_) => None,
        }));
        self.inodes.retain(|inode, _| seen.contains(inode));
    }

    fn inode(&mut self, life: u64, inode: u64) -> io::Result<&mut Inode> {
        if life != self.life {
            return Err(io::Error::other("opened before a crash"));
        }
        self.inodes.get_mut(&inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl MemoryDisk {
    /// An empty disk with one directory, `/`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked holding it has failed already.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A disk of its own that holds the same now. What is open on this one is not open there.
    #[must_use]
    pub fn fork(&self) -> Self {
        let mut state = self.state().clone();
        state.end_life();
        Self { shared: Arc::new(Mutex::new(state)) }
    }

    fn opened(&self, state: &mut State, inode: u64) -> Box<dyn DiskFile> {
        *state.open.entry(inode).or_default() += 1;
        Box::new(MemoryFile { shared: self.shared.clone(), inode, life: state.life })
    }

    /// Operations so far that changed something; with [`Self::stop_after`], every place where a machine can stop.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Lets this many more operations begin; the last of them is cut off half-way (it fails, and a power loss may leave
    /// any part of it), and everything after it fails.
    pub fn stop_after(&self, operations: u64) {
        let mut state = self.state();
        state.stop_at = Some(state.operations + operations);
    }

    /// Whether the machine has stopped.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.state().is_stopped()
    }

    /// Lets this many syncs of files succeed; the next one fails, and what it was to make durable never will be, although
    /// reads show it until the next crash (as on ext4 and XFS).
    pub fn fail_sync_after(&self, syncs: u64) {
        self.state().syncs_to_failure = Some(syncs);
    }

    /// Limits the bytes of all files; `None`: no limit. Writes that would grow past it fail, others do not.
    pub fn limit_bytes(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.state().used()
    }

    /// All files, sorted.
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

    /// Rot: flips one bit, on the medium and for readers.
    ///
    /// # Panics
    /// There is no such byte.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) {
        let mut state = self.state();
        let inode = *state.live.files.get(path).expect("rot needs a file");
        let inode = state.inodes.get_mut(&inode).expect("a named file has bytes");
        let settled = inode.settled();
        inode.durable = settled;
        inode.pending.clear();
        let offset = usize::try_from(offset).expect("rot needs a byte of the file");
        for bytes in [&mut inode.durable, &mut inode.live] {
            bytes[offset] ^= 1 << (bit % 8);
        }
    }

    /// Replaces a file's bytes, durably and behind everybody's back; `None` removes the file.
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

    /// The process is killed and the machine goes on: everything written stays visible, durable or not. Faults are
    /// lifted.
    pub fn kill(&self) {
        self.state().end_life();
    }

    /// The machine loses power: of what was not synced, the seed decides what stays, sector by sector; one that was
    /// being written may turn to garbage. Faults are lifted.
    pub fn lose_power(&self, seed: u64) {
        self.state().lose_power(seed);
    }
}

impl State {
    fn end_life(&mut self) {
        self.life += 1;
        self.locks.clear();
        self.open.clear();
        self.stop_at = None;
        self.syncs_to_failure = None;
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.live.dirs.contains(path) {
            return Ok(());
        }
        state.change_name(NameChange::MakeDir(path.to_owned()))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.live.files.keys().chain(&state.live.dirs).filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name()?.to_str().map(ToOwned::to_owned));
        let sorted: BTreeSet<String> = names.collect();
        Ok(sorted.into_iter().collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        if state.live.files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if path.parent().is_some_and(|dir| dir != Path::new("/") && !state.live.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.next_inode += 1;
        let inode = state.next_inode;
        state.inodes.insert(inode, Inode::default());
        state.change_name(NameChange::Link(path.to_owned(), inode))?;
        Ok(self.opened(&mut state, inode))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let inode = *state.live.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.opened(&mut state, inode))
    }

    fn read_settled(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state();
        let inode = state.live.files.get(path).ok_or(io::ErrorKind::NotFound)?;
        state.inodes.get(inode).map(Inode::settled).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.live.files.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.live.files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_name(NameChange::Unlink(path.to_owned()))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if let Fate::Stopped = state.operate()? {
            return Err(stopped());
        }
        let (now, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut state.pending).into_iter().partition(|change| change.parent() == Some(dir));
        state.pending = later;
        for change in &now {
            state.durable.apply(change);
        }
        state.forget_unnamed();
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock { shared: self.shared.clone(), path: path.to_owned(), life: state.life }))
    }
}

struct MemoryFile {
    shared: Arc<Mutex<State>>,
    inode: u64,
    life: u64,
}

impl fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryFile").field("inode", &self.inode).finish_non_exhaustive()
    }
}

impl MemoryFile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let mut state = self.state();
        if state.life != self.life {
            return;
        }
        if let Some(count) = state.open.get_mut(&self.inode) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.inode);
            }
        }
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.state().inode(self.life, self.inode)?.live.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        let live = &state.inode(self.life, self.inode)?.live;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(live.len());
        let length = into.len().min(live.len() - start);
        into[..length].copy_from_slice(&live[start..start + length]);
        Ok(length)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        state.inode(self.life, self.inode)?;
        let fate = state.operate()?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let (capacity, used) = (state.capacity, state.used());
        let inode = state.inode(self.life, self.inode)?;
        let growth = (offset + bytes.len()).saturating_sub(inode.live.len()) as u64;
        if growth > 0 && capacity.is_some_and(|capacity| used + growth > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        write_into(&mut inode.live, offset, bytes);
        inode.pending.push((offset, bytes.to_vec()));
        match fate {
            Fate::Done => Ok(()),
            Fate::Stopped => Err(stopped()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state();
        state.inode(self.life, self.inode)?;
        if let Fate::Stopped = state.operate()? {
            return Err(stopped());
        }
        let fails = match &mut state.syncs_to_failure {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        let inode = state.inode(self.life, self.inode)?;
        if fails {
            inode.pending.clear();
            return Err(io::Error::other("the medium does not answer"));
        }
        for (offset, data) in std::mem::take(&mut inode.pending) {
            write_into(&mut inode.durable, offset, &data);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryLock {
    shared: Arc<Mutex<State>>,
    path: PathBuf,
    life: u64,
}

impl DiskLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}
