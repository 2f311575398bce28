//! The traits through which storage reads and writes every byte. Owns what storage may expect of a disk. Does not own an
//! implementation: [`crate::file`] is the real disk, and the crate `memory-disk` is a faulty disk for tests.
//!
//! A disk promises that a file's bytes and length survive a power loss after [`DiskFile::sync`], and that the names in a
//! directory survive a power loss after [`Disk::sync_dir`]. A disk does not promise that bytes or names written between two syncs
//! reach the medium, that they reach the medium in order, or that a write reaches the medium whole: a power loss may turn the
//! whole unit in which a write is under way to garbage, with bytes in it that were durable before.

use std::fmt;
use std::io;
use std::path::Path;

/// Size of a sector in bytes, the unit that the medium is expected to write as one by format 1 of the log: no acknowledged byte
/// shares a sector with a later write.
pub const SECTOR: usize = 512;
const _: () = assert!(SECTOR.is_power_of_two(), "sectors of every larger size are whole multiples of it");

/// Size of a page in bytes, the unit in which systems write their caches back and in which most drives write.
pub const PAGE: usize = 4096;
const _: () = assert!(PAGE.is_power_of_two() && PAGE.is_multiple_of(SECTOR), "a page is a whole number of sectors");

/// Space of the volume that holds a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeSpace {
    /// Size of the volume, in bytes.
    pub total_bytes: u64,
    /// Bytes that this process may still write.
    pub free_bytes: u64,
}

/// A file system, or an object that behaves like a file system.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates a directory whose parent exists. Does nothing if the directory exists already.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Returns the names in a directory, sorted. Returns no names if the directory does not exist.
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

    /// Opens a file whose reads come from the medium and bypass caches where possible, because after a failed sync a cache may
    /// still show bytes that never reached the medium.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::NotFound`] if there is no such file, or any error of the file system.
    fn open_settled(&self, path: &Path) -> io::Result<Box<dyn DiskReader>>;

    /// Renames a file within one directory. If a file with the new name exists, the rename replaces it.
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
    /// Returns any error of the file system. After an error the state of the disk is unknown, and the process must end: a second
    /// call may succeed although names were lost.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Measures the volume that holds `dir`.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn space(&self, dir: &Path) -> io::Result<VolumeSpace>;

    /// Takes the exclusive lock at `path`, and creates the file if it is missing. The lock ends when the returned value
    /// is dropped or the process ends.
    ///
    /// # Errors
    /// Returns [`io::ErrorKind::WouldBlock`] while another process holds the lock, or any error of the file system.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;
}

/// A file that is open for reading.
pub trait DiskReader: fmt::Debug + Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn size(&self) -> io::Result<u64>;

    /// Reads at most `into.len()` bytes, starting at `offset`. Returns the number of bytes read; 0 at the end of the file.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
}

/// A file that is open for reading and writing.
pub trait DiskFile: DiskReader {
    /// Writes all of `bytes`, starting at `offset`. The file grows if the bytes reach beyond its end.
    ///
    /// # Errors
    /// Returns any error of the file system. Any part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes bytes and length durable (fdatasync).
    ///
    /// # Errors
    /// Returns any error of the file system. After an error the state of the disk is unknown, and the process must end: a second
    /// call may succeed although bytes were lost.
    fn sync(&self) -> io::Result<()>;

    /// Makes a range after the end of the file exist, with zeros, so that later writes to the range need no new space and do not
    /// change the file's length.
    ///
    /// # Errors
    /// Returns any error of the file system. Any part of the range may exist.
    fn preallocate(&self, from: u64, to: u64) -> io::Result<()> {
        self.fill_with_zeros(from, to)
    }

    /// Writes zeros to a range after the end of the file, so that later writes to the range change neither its space nor the
    /// file's length.
    ///
    /// # Errors
    /// Returns any error of the file system. Any part of the range may exist.
    fn fill_with_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        write_zeros(self, from, to, ZEROS_MAX)
    }
}

/// Maximum number of bytes that [`write_zeros`] writes at a time.
const ZEROS_MAX: usize = 256 * 1024;

/// Writes zeros to a range of a file, at most `block` bytes at a time.
pub(crate) fn write_zeros(file: &(impl DiskFile + ?Sized), from: u64, to: u64, block: usize) -> io::Result<()> {
    static ZEROS: [u8; ZEROS_MAX] = [0; ZEROS_MAX];
    debug_assert!(from <= to, "space from {from} to {to} is no range");
    debug_assert!((1..=ZEROS_MAX).contains(&block), "a block has 1 to {ZEROS_MAX} bytes, not {block}");
    let mut at = from;
    while at < to {
        let step = (to - at).min(block as u64);
        file.write_at(at, &ZEROS[..step as usize])?;
        at += step;
    }
    Ok(())
}

/// A held lock. Dropping this value releases the lock.
pub trait DiskLock: fmt::Debug + Send + Sync {}

/// Fills `into` with the bytes that start at `offset`.
///
/// # Errors
/// Returns [`io::ErrorKind::UnexpectedEof`] if the file ends too early, or any error of the file system.
pub fn read_exact_at(file: &dyn DiskReader, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
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

/// Reads a small file through [`Disk::open_settled`], and at most its first `most` bytes: a damaged file may have any length.
///
/// # Errors
/// Returns [`io::ErrorKind::NotFound`] if there is no such file, or any error of the file system.
pub(crate) fn read_settled(disk: &dyn Disk, path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = disk.open_settled(path)?;
    // The cast loses nothing, because `most` is a length of memory.
    let mut bytes = vec![0; file.size()?.min(most as u64) as usize];
    read_exact_at(&*file, 0, &mut bytes)?;
    Ok(bytes)
}
