//! The traits that every byte passes. Owns what storage may expect of a disk. Does not own an implementation: the real disk
//! is [`crate::file`]; the crate `memory-disk` has a faulty one for tests.
//!
//! Promised: after [`DiskFile::sync`] the file's bytes and length survive a power loss; after [`Disk::sync_dir`] the names
//! in that directory do. Not promised: that bytes or names written between two syncs reach the medium, that they reach it
//! in order, or that a write of more than one sector reaches it whole.

use std::fmt;
use std::io;
use std::path::Path;

/// Bytes that a power failure may turn to garbage while they are written, aligned to their number. So no acknowledged byte
/// shares a sector with a later write.
pub const SECTOR: usize = 512;
const _: () = assert!(SECTOR.is_power_of_two(), "sectors of every larger size are whole multiples of it");

/// A file system, or something that behaves like one.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates a directory whose parent exists. Does nothing if the directory exists already.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Lists the names in a directory, sorted; empty if there is no such directory.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Creates a file for reading and writing.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::AlreadyExists`] if there is a file of that name, or any error of the file system.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::NotFound`] if there is no such file, or any error of the file system.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Reads the whole file from the medium, bypassing caches where that is possible, because after a failed sync a cache
    /// may still show bytes that never reached the medium.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::NotFound`] if there is no such file, or any error of the file system.
    fn read_settled(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Renames a file within one directory. Replaces a file that has the new name.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// Returns any error of the file system. The state of the disk is unknown then, so the process must end: a second call
    /// may succeed although names were lost.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock at `path`, and creates the file if it is missing. The lock ends when the returned value is
    /// dropped and when the process ends.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::WouldBlock`] while another process holds the lock, or any error of the file system.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn size(&self) -> io::Result<u64>;

    /// Reads at most `into.len()` bytes from `offset` on, and returns their number; 0 at the end of the file.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes all bytes from `offset` on, and lets the file grow if they reach beyond its end.
    ///
    /// # Errors
    /// Returns any error of the file system. Any part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes bytes and length durable (fdatasync).
    ///
    /// # Errors
    /// Returns any error of the file system. The state of the disk is unknown then, so the process must end: a second call
    /// may succeed although bytes were lost.
    fn sync(&self) -> io::Result<()>;

    /// Fills a range with zeros, so that later writes to it need no new space and change no length.
    ///
    /// # Errors
    /// Returns any error of the file system. Any part of the range may have been filled.
    fn preallocate(&self, from: u64, to: u64) -> io::Result<()> {
        const BLOCK: usize = 256 * 1024;
        static ZEROS: [u8; BLOCK] = [0; BLOCK];
        debug_assert!(from <= to, "space from {from} to {to} is no range");
        let mut at = from;
        while at < to {
            let step = (to - at).min(BLOCK as u64);
            self.write_at(at, &ZEROS[..step as usize])?;
            at += step;
        }
        Ok(())
    }
}

/// A lock that is held until this is dropped.
pub trait DiskLock: fmt::Debug + Send + Sync {}

/// Fills `into` with the bytes from `offset` on.
///
/// # Errors
/// Returns [`io::ErrorKind::UnexpectedEof`] if the file ends too early, or any error of the file system.
pub fn read_exact_at(file: &dyn DiskFile, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
    while !into.is_empty() {
        let read = file.read_at(offset, into)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        debug_assert!(read <= into.len(), "a read of {read} bytes into a buffer of {}", into.len());
        offset += read as u64;
        into = &mut into[read..];
    }
    Ok(())
}
