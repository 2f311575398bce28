//! The real disk: files, fdatasync, directory sync, advisory locks, and reads that bypass the page cache. Owns every call to
//! `std::fs`. Does not own any format.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use crate::disk::{Disk, DiskFile, DiskLock, SECTOR};

/// The file system of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct FileDisk;

#[derive(Debug)]
struct RealFile(File);

#[derive(Debug)]
struct RealLock {
    // Closing the file releases the lock.
    _file: File,
}

impl DiskLock for RealLock {}

/// Value of `O_DIRECT`; `None` on architectures for which the value is not known here.
#[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
const O_DIRECT: Option<i32> = Some(0o40_000);
#[cfg(target_arch = "aarch64")]
const O_DIRECT: Option<i32> = Some(0o200_000);
#[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
const O_DIRECT: Option<i32> = None;

const DIRECT_ALIGN: usize = 4096;
const DIRECT_BLOCK: usize = 1024 * 1024;
const _: () = assert!(DIRECT_BLOCK.is_multiple_of(DIRECT_ALIGN), "direct reads have aligned lengths and offsets");
const _: () = assert!(DIRECT_ALIGN.is_multiple_of(SECTOR), "an aligned read never splits a sector");

impl Disk for FileDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in entries {
            // A name that is not UTF-8 is skipped, because storage gives every file a name in UTF-8.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Box::new(RealFile(file)))
    }

    fn read_settled(&self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(flag) = O_DIRECT {
            // Some file systems (tmpfs, some overlays) do not support direct reads. Their files are read through the cache.
            let direct =
                OpenOptions::new().read(true).custom_flags(flag).open(path).and_then(|file| read_direct(&file));
            match direct {
                Err(e) if matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {}
                other => return other,
            }
        }
        fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        debug_assert_eq!(from.parent(), to.parent(), "a rename across directories would need the sync of both");
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

/// Reads a whole file past the cache, with the alignment of memory that direct reads require.
fn read_direct(file: &File) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    let mut space = vec![0u8; DIRECT_BLOCK + DIRECT_ALIGN];
    let start = space.as_ptr().align_offset(DIRECT_ALIGN);
    let block = space
        .get_mut(start..start.saturating_add(DIRECT_BLOCK))
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    read_aligned(size, block, |into, offset| file.read_at(into, offset))
}

/// Reads a file of `size` bytes in blocks, and calls `read_at` only with aligned offsets. A file system may return fewer bytes
/// than were asked for. The next read then starts at the last aligned offset, because the bytes that are missing were
/// acknowledged: a log that ended here would look like a torn one.
///
/// # Errors
/// Returns [`io::ErrorKind::InvalidInput`] if two reads in a row return less than one aligned unit although the file does not end
/// there, or any error of `read_at`.
fn read_aligned(
    size: u64,
    block: &mut [u8],
    mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).map_err(|_| io::ErrorKind::FileTooLarge)?);
    let mut is_stuck = false;
    while (bytes.len() as u64) < size {
        debug_assert!(bytes.len().is_multiple_of(DIRECT_ALIGN), "a direct read starts at an aligned offset");
        let left = size - bytes.len() as u64;
        // The cast loses nothing, because the block is in memory.
        let read = (read_at(block, bytes.len() as u64)? as u64).min(left) as usize;
        let kept = if read as u64 == left { read } else { read - read % DIRECT_ALIGN };
        bytes.extend_from_slice(&block[..kept]);
        if kept == 0 && std::mem::replace(&mut is_stuck, true) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        is_stuck &= kept == 0;
    }
    assert_eq!(bytes.len() as u64, size, "a direct read returns the whole file");
    Ok(bytes)
}

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `content` from a file system whose reads return these numbers of bytes, again and again.
    fn read(content: &[u8], lengths: &[usize]) -> io::Result<Vec<u8>> {
        let mut block = vec![0; 4 * DIRECT_ALIGN];
        let mut lengths = lengths.iter().cycle();
        read_aligned(content.len() as u64, &mut block, |into, offset| {
            let offset = usize::try_from(offset).expect("a small file");
            assert!(offset.is_multiple_of(DIRECT_ALIGN), "a read at {offset}");
            let rest = &content[offset..];
            let length = lengths.next().map_or(0, |length| *length).min(rest.len()).min(into.len());
            into[..length].copy_from_slice(&rest[..length]);
            Ok(length)
        })
    }

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at / 7 % 251) as u8).collect()
    }

    #[test]
    fn a_short_direct_read_continues_at_the_last_aligned_offset() {
        let lengths: [&[usize]; 7] =
            [&[16_384], &[4096], &[4097], &[512, 8192], &[0, 4096], &[4095, 12_288, 8191], &[16_383, 0, 5000, 512]];
        for size in [0, 1, 511, 512, 4095, 4096, 4097, 8192, 50_000, 65_536] {
            for lengths in lengths {
                let read = read(&content(size), lengths).unwrap_or_else(|e| panic!("{size} bytes by {lengths:?}: {e}"));
                assert!(read == content(size), "{} of {size} bytes by {lengths:?}", read.len());
            }
        }
    }

    #[test]
    fn direct_reads_that_make_no_progress_are_refused() {
        for lengths in [&[0][..], &[512], &[4095], &[0, 512], &[8192, 512, 4095]] {
            let error = read(&content(50_000), lengths).expect_err("the file does not end there");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{lengths:?}");
        }
    }
}
