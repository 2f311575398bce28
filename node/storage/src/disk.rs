//! The trait that every byte passes. Owns what the rest may expect of a disk; the real one is [`crate::file`], the
//! faulty one, for tests, the crate `memory-disk`.
//!
//! What is promised: after [`DiskFile::sync`] the file's bytes and length survive a power loss, after [`Disk::sync_dir`]
//! the names in that directory do. What is not: anything about bytes or names between two syncs, in which order they
//! reach the medium, or whether a write of more than one sector reaches it whole.

use std::fmt;
use std::io;
use std::path::Path;

/// What a power failure may turn to garbage while it is written, in bytes: nothing acknowledged shares as much, aligned, with
/// a later write.
pub const SECTOR: usize = 512;

/// A file system, or something that behaves like one.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a directory (its parent exists); an existing one is fine.
    ///
    /// # Errors
    /// Of the file system.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Names in a directory, sorted; empty if there is no such directory.
    ///
    /// # Errors
    /// Of the file system.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Makes a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`], or of the file system.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or of the file system.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// The whole file as the medium holds it, past any cache where that is possible: after a failed sync a cache may
    /// still show bytes that never reached the medium.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or of the file system.
    fn read_settled(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Renames within one directory, replacing what has the new name.
    ///
    /// # Errors
    /// Of the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Of the file system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Whatever it is, the state of the disk is unknown afterwards: never call again, end the process.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock at `path` (made if missing); dropping the answer lets go of it, and so does the end of
    /// the process.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] while somebody else holds it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// Of the file system.
    fn size(&self) -> io::Result<u64>;

    /// Reads at most `into.len()` bytes; 0 means the end of the file.
    ///
    /// # Errors
    /// Of the file system.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all bytes, growing the file if need be.
    ///
    /// # Errors
    /// Of the file system; any part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes bytes and length durable (fdatasync).
    ///
    /// # Errors
    /// Whatever it is, the state of the disk is unknown afterwards: never call again, end the process.
    fn sync(&self) -> io::Result<()>;

    /// Fills a range with zeros, so that later writes to it need no new space and change no length.
    ///
    /// # Errors
    /// Of the file system; any part may have been filled.
    fn preallocate(&self, from: u64, to: u64) -> io::Result<()> {
        const BLOCK: usize = 256 * 1024;
        static ZEROS: [u8; BLOCK] = [0; BLOCK];
        let mut at = from;
        while at < to {
            let step = (to - at).min(BLOCK as u64);
            self.write_at(at, &ZEROS[..step as usize])?;
            at += step;
        }
        Ok(())
    }
}

/// A held lock; it ends when dropped.
pub trait DiskLock: fmt::Debug + Send + Sync {}

/// Fills `into` from `offset` on.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] when the file ends before, or of the file system.
pub fn read_exact_at(file: &dyn DiskFile, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        let read = file.read_at(offset, into)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        offset += read as u64;
        into = &mut into[read..];
    }
    Ok(())
}
