//! Reads a segment front to back through a buffer. Owns the buffer, whose size does not depend on the length of the segment. Does
//! not own the meaning of the bytes (`record.rs`).

use std::io;

use crate::disk::{DiskReader, PAGE};

/// Bytes of a segment, addressed by their offset in the segment.
pub(crate) trait SegmentBytes {
    /// Returns `length` bytes from `offset` on; `None` if the segment ends before.
    ///
    /// # Errors
    /// Returns any error of the file system.
    fn get(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>>;
}

/// A part of a segment in memory. It moves forward as later bytes are requested, and is at most a block longer than the longest
/// request.
#[derive(Debug)]
pub(crate) struct Window<'a> {
    file: &'a dyn DiskReader,
    size: u64,
    /// Number of bytes to read at a time.
    block: usize,
    /// Offset of the first byte of `held` in the file.
    start: u64,
    held: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Opens a window that reads blocks of `block` bytes.
    pub(crate) fn new(file: &'a dyn DiskReader, block: usize) -> io::Result<Self> {
        Ok(Self { file, size: file.size()?, block, start: 0, held: Vec::new() })
    }

    /// Length of the file in bytes, when the window was opened.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    fn end(&self) -> u64 {
        self.start + self.held.len() as u64
    }

    /// Drops the bytes in whole pages before `offset`, or all bytes if `offset` is not in the window.
    fn move_to(&mut self, offset: u64) {
        let start = offset - offset % PAGE as u64;
        if (self.start..=self.end()).contains(&start) {
            // The cast loses nothing, because the bytes are in memory.
            self.held.drain(..(start - self.start) as usize);
        } else {
            self.held.clear();
        }
        self.start = start;
    }
}

impl SegmentBytes for Window<'_> {
    fn get(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let Some(end) = offset.checked_add(length as u64).filter(|end| *end <= self.size) else { return Ok(None) };
        if offset < self.start || end > self.end() {
            self.move_to(offset);
        }
        while self.end() < end {
            let (kept, left) = (self.held.len(), self.size - self.end());
            self.held.resize(kept + left.min(self.block as u64) as usize, 0);
            let read = self.file.read_at(self.start + kept as u64, &mut self.held[kept..])?;
            self.held.truncate(kept + read);
            if read == 0 {
                return Ok(None);
            }
        }
        let at = (offset - self.start) as usize;
        Ok(self.held.get(at..at + length))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A file that returns at most `most` bytes at a time, and notes the reads.
    #[derive(Debug)]
    struct Noting {
        bytes: Vec<u8>,
        most: usize,
        reads: Mutex<Vec<(u64, usize)>>,
    }

    impl DiskReader for Noting {
        fn size(&self) -> io::Result<u64> {
            Ok(self.bytes.len() as u64)
        }

        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
            let rest = &self.bytes[offset as usize..];
            let length = into.len().min(rest.len()).min(self.most);
            into[..length].copy_from_slice(&rest[..length]);
            self.reads.lock().expect("no holder panics").push((offset, length));
            Ok(length)
        }
    }

    fn file(size: usize, most: usize) -> Noting {
        Noting { bytes: (0..size).map(|at| (at / 3 % 251) as u8).collect(), most, reads: Mutex::default() }
    }

    #[test]
    fn a_window_returns_the_bytes_of_the_file() {
        for most in [usize::MAX, 512, 700] {
            let file = file(100_000, most);
            let mut window = Window::new(&file, 8192).expect("it has a size");
            let mut longest = 0;
            let requests =
                [(0, 512), (512, 40), (552, 30_000), (40_960, 40), (40_960, 59_040), (99_999, 1), (4096, 10)];
            for (offset, length) in requests {
                let found = window.get(offset as u64, length).expect("no fault").expect("inside the file");
                assert!(found == &file.bytes[offset..offset + length], "{length} bytes at {offset}, {most} at a time");
                longest = longest.max(length);
                assert!(window.held.len() <= longest + 8192 + PAGE, "{} bytes are held", window.held.len());
            }
            for (offset, length) in [(100_000, 1), (99_999, 2), (0, 100_001), (u64::MAX, 1)] {
                assert_eq!(window.get(offset, length).expect("no fault"), None, "{length} bytes at {offset}");
            }
        }
    }

    #[test]
    fn no_block_is_read_twice_on_the_way_forward() {
        let file = file(100_000, usize::MAX);
        let mut window = Window::new(&file, 8192).expect("it has a size");
        for offset in (0..99_000).step_by(120) {
            window.get(offset, 120).expect("no fault").expect("inside the file");
        }
        let reads = file.reads.lock().expect("no holder panics");
        let mut next = 0;
        for (offset, length) in reads.iter() {
            assert_eq!(*offset, next, "{reads:?}");
            next += *length as u64;
        }
    }
}
