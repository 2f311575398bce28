//! The real disk: files, fdatasync, directory sync, advisory locks, and reads that bypass the page cache. Owns every call to
//! `std::fs`. Does not own any format.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FallocateFlags, OFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::disk::{Disk, DiskFile, DiskLock, DiskReader, PAGE, SECTOR, VolumeSpace, write_zeros};

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

    fn open_settled(&self, path: &Path) -> io::Result<Box<dyn DiskReader>> {
        let cached = File::open(path)?;
        let flag = OFlags::DIRECT.bits().cast_signed();
        match OpenOptions::new().read(true).custom_flags(flag).open(path) {
            Ok(direct) => Ok(Box::new(DirectFile::new(direct, cached)?)),
            Err(e) if has_no_direct_reads(&e) => Ok(Box::new(RealFile(cached))),
            Err(e) => Err(e),
        }
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

    fn space(&self, dir: &Path) -> io::Result<VolumeSpace> {
        let found = rustix::io::retry_on_intr(|| statvfs(dir))?;
        // Space that only the superuser may use does not count.
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(VolumeSpace { total_bytes: bytes(found.f_blocks), free_bytes: bytes(found.f_bavail) })
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

/// Returns whether a file system refuses direct reads, as some do (tmpfs, some overlays). Their files are read through the cache.
fn has_no_direct_reads(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// A file that is read past the cache.
#[derive(Debug)]
struct DirectFile {
    direct: File,
    /// The same file, read through the cache where a direct read is refused.
    cached: File,
    size: u64,
    /// Memory for direct reads, longer than a block by one aligned unit, so that an aligned part of it is as long as a block.
    block: Mutex<Vec<u8>>,
}

impl DirectFile {
    fn new(direct: File, cached: File) -> io::Result<Self> {
        let size = direct.metadata()?.len();
        let block = DIRECT_BLOCK.min(usize::try_from(size).unwrap_or(DIRECT_BLOCK).next_multiple_of(DIRECT_ALIGN));
        Ok(Self { direct, cached, size, block: Mutex::new(vec![0; block + DIRECT_ALIGN]) })
    }
}

impl DiskReader for DirectFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut memory = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        let start = memory.as_ptr().align_offset(DIRECT_ALIGN);
        let length = memory.len() - DIRECT_ALIGN;
        let block = memory.get_mut(start..start.saturating_add(length)).unwrap_or_default();
        match read_aligned(self.size, offset, into, block, |block, at| self.direct.read_at(block, at)) {
            Ok(Some(read)) => Ok(read),
            Ok(None) => self.cached.read_at(into, offset),
            Err(e) if has_no_direct_reads(&e) => self.cached.read_at(into, offset),
            Err(e) => Err(e),
        }
    }
}

/// Reads from a file of `size` bytes into `block`, and copies the bytes at `offset` to `into`. Calls `read_at` only with aligned
/// offsets and lengths, at least an aligned unit at a time. A file system may return fewer bytes than were asked for. If it does
/// so inside the file, only whole aligned units count: the bytes that are missing were acknowledged, and a log that ended here
/// would look like a torn one.
///
/// Returns the number of bytes copied, or `None` if two reads return less than is needed although the file does not end there.
fn read_aligned(
    size: u64,
    offset: u64,
    into: &mut [u8],
    block: &mut [u8],
    mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<Option<usize>> {
    if offset >= size || into.is_empty() {
        return Ok(Some(0));
    }
    // The casts lose nothing, because the values are below the length of memory.
    let skipped = (offset % DIRECT_ALIGN as u64) as usize;
    let start = offset - skipped as u64;
    let wanted = (skipped + into.len()).next_multiple_of(DIRECT_ALIGN).min(block.len());
    for _ in 0..2 {
        let read = (read_at(&mut block[..wanted], start)? as u64).min(size - start) as usize;
        let is_end = start + read as u64 == size;
        let whole = if is_end { read } else { read - read % DIRECT_ALIGN };
        if let Some(found) = block.get(skipped..whole).filter(|found| !found.is_empty()) {
            let copied = found.len().min(into.len());
            into[..copied].copy_from_slice(&found[..copied]);
            return Ok(Some(copied));
        }
    }
    Ok(None)
}

impl DiskReader for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(into, offset)
    }
}

impl DiskFile for RealFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn preallocate(&self, from: u64, to: u64) -> io::Result<()> {
        match reserve(&self.0, from, to) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self.fill_with_zeros(from, to),
            other => Ok(other?),
        }
    }

    /// Writes page by page. The system's cache would hold what is written at once as one part, and count all of it as written
    /// when a later batch changes a page of it.
    fn fill_with_zeros(&self, from: u64, to: u64) -> io::Result<()> {
        write_zeros(self, from, to, PAGE)
    }
}

/// Reserves space, which costs no writes. A sync of reserved space takes longer than one of space that was filled with zeros
/// (`examples/sync_cost.rs`), so only a batch that found no space reserves it this way.
fn reserve(file: &File, from: u64, to: u64) -> rustix::io::Result<()> {
    rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::empty(), from, to - from))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    /// Reads `content` in pieces from a file system whose reads return these numbers of bytes, again and again. Returns the content,
    /// or `None` if a read has to go through the cache.
    fn read(content: &[u8], piece: usize, lengths: &[usize]) -> Option<Vec<u8>> {
        let mut block = vec![0; 4 * DIRECT_ALIGN];
        let mut lengths = lengths.iter().cycle();
        let mut found = Vec::new();
        loop {
            let mut into = vec![0; piece];
            let read = read_aligned(content.len() as u64, found.len() as u64, &mut into, &mut block, |into, offset| {
                let offset = usize::try_from(offset).expect("a small file");
                assert!(offset.is_multiple_of(DIRECT_ALIGN), "a read at {offset}");
                assert!(into.len().is_multiple_of(DIRECT_ALIGN), "a read of {} bytes", into.len());
                let rest = &content[offset..];
                let length = lengths.next().map_or(0, |length| *length).min(rest.len()).min(into.len());
                into[..length].copy_from_slice(&rest[..length]);
                Ok(length)
            });
            match read.expect("no read fails")? {
                0 => return Some(found),
                read => found.extend_from_slice(&into[..read]),
            }
        }
    }

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at / 7 % 251) as u8).collect()
    }

    #[test]
    fn a_short_direct_read_continues_at_the_last_aligned_offset() {
        let lengths: [&[usize]; 7] =
            [&[16_384], &[4096], &[4097], &[512, 8192], &[0, 4096], &[4095, 12_288, 8191], &[16_383, 0, 5000, 512]];
        for size in [0, 1, 511, 512, 4095, 4096, 4097, 8192, 50_000, 65_536] {
            for (lengths, piece) in lengths.iter().flat_map(|lengths| [(lengths, 40), (lengths, 100_000)]) {
                let found = read(&content(size), piece, lengths);
                let found = found.unwrap_or_else(|| panic!("{size} bytes by {lengths:?}: no progress"));
                assert!(found == content(size), "{} of {size} bytes by {lengths:?}", found.len());
            }
        }
    }

    #[test]
    fn a_volume_is_as_large_as_the_file_system_says() {
        let path = std::env::temp_dir();
        let space = FileDisk.space(&path).expect("a directory has a volume");
        assert!(0 < space.free_bytes && space.free_bytes <= space.total_bytes, "{space:?}");
        let output = std::process::Command::new("df").args(["--output=size", "--block-size=1"]).arg(&path).output();
        let said = String::from_utf8_lossy(&output.expect("df runs").stdout).into_owned();
        let size = said.lines().nth(1).and_then(|size| size.trim().parse().ok());
        assert_eq!(size, Some(space.total_bytes), "{said}");
        assert!(FileDisk.space(&path.join("absent")).is_err());
    }

    #[test]
    fn reserved_and_filled_space_are_zeros_after_the_content() {
        let path = std::env::temp_dir().join(format!("storage-space-{}", std::process::id()));
        type Way = fn(&RealFile, u64, u64) -> io::Result<()>;
        let ways: [Way; 2] =
            [|file, from, to| file.preallocate(from, to), |file, from, to| file.fill_with_zeros(from, to)];
        for way in ways {
            let _ = fs::remove_file(&path);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path)
                .map(RealFile)
                .expect("a new file");
            file.write_at(0, &[7; 5000]).expect("there is space");
            for (from, to) in [(5000, 5000), (5000, 300_000), (300_000, 1 << 20)] {
                way(&file, from, to).expect("there is space");
            }
            let metadata = file.0.metadata().expect("an open file");
            let mut bytes = fs::read(&path).expect("a file");
            fs::remove_file(&path).expect("a file");
            assert!(metadata.blocks() * 512 >= 1 << 20, "only {} blocks are reserved", metadata.blocks());
            assert_eq!(bytes.len(), 1 << 20);
            let rest = bytes.split_off(5000);
            assert!(bytes.iter().all(|byte| *byte == 7) && rest.iter().all(|byte| *byte == 0), "other bytes");
        }
    }

    #[test]
    fn direct_reads_that_make_no_progress_are_given_up() {
        for lengths in [&[0][..], &[512], &[4095], &[0, 512], &[8192, 512, 4095]] {
            assert_eq!(read(&content(50_000), 100_000, lengths), None, "{lengths:?}");
        }
    }
}
