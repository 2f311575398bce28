//! Implements the storage crate's traits for the memory disk. Owns the rules of each operation on files, directories and locks.
//! Does not own the bytes (`state.rs`) or the choice of faults (`lib.rs`).

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storage::disk::{Disk, DiskFile, DiskLock, DiskReader, VolumeSpace};

use crate::MemoryDisk;
use crate::state::{Fate, Inode, NameChange, State, stopped, write_into};

/// Size in bytes of a disk without a limit.
const UNLIMITED: u64 = 1 << 60;

impl MemoryDisk {
    fn opened(&self, state: &mut State, inode: u64) -> Box<dyn DiskFile> {
        *state.open.entry(inode).or_default() += 1;
        Box::new(MemoryFile { shared: self.shared.clone(), inode, life: state.life })
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

    fn open_settled(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        let state = self.state();
        let inode = state.live.files.get(path).and_then(|inode| state.inodes.get(inode));
        let bytes = inode.map(Inode::settled).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(SettledFile { shared: self.shared.clone(), bytes }))
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

    fn space(&self, _: &Path) -> io::Result<VolumeSpace> {
        let state = self.state();
        let total_bytes = state.capacity.unwrap_or(UNLIMITED);
        Ok(VolumeSpace { total_bytes, free_bytes: total_bytes.saturating_sub(state.used()) })
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

/// Copies the bytes at `offset` to `into`, at most `allowed` of them, and returns their number.
fn copy(bytes: &[u8], offset: u64, into: &mut [u8], allowed: usize) -> usize {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    let length = allowed.min(bytes.len() - start);
    into[..length].copy_from_slice(&bytes[start..start + length]);
    length
}

/// The bytes that a file had on the medium when it was opened.
struct SettledFile {
    shared: Arc<Mutex<State>>,
    bytes: Vec<u8>,
}

impl fmt::Debug for SettledFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SettledFile").field("size", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl DiskReader for SettledFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let allowed = self.shared.lock().unwrap_or_else(PoisonError::into_inner).read_length(into.len());
        Ok(copy(&self.bytes, offset, into, allowed))
    }
}

impl DiskReader for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.state().inode(self.life, self.inode)?.live.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.state();
        let allowed = state.read_length(into.len());
        Ok(copy(&state.inode(self.life, self.inode)?.live, offset, into, allowed))
    }
}

impl DiskFile for MemoryFile {
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
        state.last_write = Some(self.inode);
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
        if state.last_write == Some(self.inode) {
            state.last_write = None;
        }
        let inode = state.inode(self.life, self.inode)?;
        if fails {
            inode.pending.clear();
            return Err(io::Error::other("the medium does not respond"));
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
