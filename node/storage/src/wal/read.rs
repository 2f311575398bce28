//! Reads entries back from the segments. Owns the files that are open for it, and the place where a sequential reader goes on. Does
//! not own the places of entries (`extents.rs`) or the decision which entries are in memory (the core).
//!
//! Reads go through the cache, because what they return was written or read by this process. Only a start must not rely on the
//! cache.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use raft::{Entry, Index};

use crate::disk::{Disk, DiskFile};
use crate::error::{Damage, DamageKind, Failure};
use crate::wal::Wal;
use crate::wal::record::{self, Place};
use crate::wal::window::Window;

/// Number of bytes that are read at a time.
const BLOCK: usize = 128 * 1024;
/// Number of files that stay open: one for a member that catches up, one for another one.
const OPEN_FILES: usize = 2;

/// Why entries could not be read back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// The entry was purged, or a snapshot replaced it.
    #[error("the log begins after the entry")]
    Gone,
    /// The entry was durable and cannot be read any more.
    #[error("{0}")]
    Damaged(Damage),
    /// The file system failed.
    #[error("{0}")]
    Failed(Failure),
}

/// State of reads.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// Number and file of the segments that were read last, the latest at the end.
    open: VecDeque<(u64, Box<dyn DiskFile>)>,
    /// Where the last reads ended, the latest at the end: one for each open file.
    resumes: VecDeque<Resume>,
}

/// Where a read ended, which is closer to the next entry than the start of its extent.
#[derive(Debug)]
struct Resume {
    next: Index,
    segment: u64,
    /// Place of the batch that holds the next entry, or of one before it.
    place: Place,
    /// The rest of that batch, if a part of it was returned. A batch is larger than a read, so without it each batch would be
    /// decoded many times.
    rest: Option<Decoded>,
}

/// A batch, or what of it was not returned yet.
#[derive(Debug)]
struct Decoded {
    entries: Vec<Entry>,
    /// Place of the batch after it.
    after: Place,
}

impl Reads {
    /// Closes the file of a segment.
    pub(crate) fn close(&mut self, segment: u64) {
        self.open.retain(|(open, _)| *open != segment);
        self.resumes.retain(|resume| resume.segment != segment);
    }
}

/// Returns the file of a segment, and opens it if it is not among the `open` ones.
fn opened<'a>(
    open: &'a mut VecDeque<(u64, Box<dyn DiskFile>)>,
    disk: &dyn Disk,
    segment: u64,
    path: &Path,
) -> Result<&'a dyn DiskFile, ReadFault> {
    let place = open.iter().position(|(number, _)| *number == segment);
    let file = match place.and_then(|place| open.remove(place)) {
        Some((_, file)) => file,
        None => disk.open(path).map_err(failed(path))?,
    };
    if open.len() >= OPEN_FILES {
        open.pop_front();
    }
    open.push_back((segment, file));
    let (_, file) = open.back().ok_or(ReadFault::Gone)?;
    Ok(&**file)
}

impl Wal {
    /// Reads the entries from `from` to `through`, or fewer: stops at the end of the log, before an entry with which the payloads
    /// would exceed `bytes`, and before an entry that cannot be read. Reads the first entry whatever its length.
    ///
    /// # Errors
    /// Returns [`ReadFault`] if the first entry cannot be read.
    pub(crate) fn read(&mut self, from: Index, through: Index, bytes: usize) -> Result<Vec<Entry>, ReadFault> {
        let mut taken = Taken { entries: Vec::new(), next: from, bytes: 0, limit: bytes, is_full: false };
        let through = through.min(self.last.index);
        while taken.next <= through && !taken.is_full {
            match self.read_segment(&mut taken, through) {
                Err(_) if !taken.entries.is_empty() => break,
                other => other?,
            }
        }
        debug_assert!(
            taken.entries.iter().zip(from.0..).all(|(entry, index)| entry.id.index.0 == index),
            "a read returns consecutive entries"
        );
        Ok(taken.entries)
    }

    /// Reads on in the segment that holds the next entry, as far as the segment holds the entries after it.
    fn read_segment(&mut self, taken: &mut Taken, through: Index) -> Result<(), ReadFault> {
        let Self { disk, segments, extents, reads: Reads { open, resumes }, .. } = self;
        let (extent, _) = extents.find(taken.next).ok_or(ReadFault::Gone)?;
        let number = extent.segment;
        let path = &segments.iter().find(|segment| segment.header.seq == number).ok_or(ReadFault::Gone)?.path;
        let resumed = resumes.iter().position(|resume| (resume.next, resume.segment) == (taken.next, number));
        let (mut place, mut rest) = match resumed.and_then(|at| resumes.remove(at)) {
            Some(resume) => (resume.place, resume.rest),
            None => (extent.place, None),
        };
        let file = opened(open, &**disk, number, path)?;
        let mut window = Window::new(file, BLOCK).map_err(failed(path))?;
        while taken.next <= through && !taken.is_full {
            let Some((extent, after)) = extents.find(taken.next) else { break };
            if extent.segment != number {
                break;
            }
            // The numbers of batches only grow. So if a later batch superseded the entry after the last read, its extent begins
            // with that batch, and the old place is before it.
            if place.number < extent.place.number {
                (place, rest) = (extent.place, None);
            }
            let mut batch = match rest.take() {
                Some(rest) => rest,
                None => decode(&mut window, place, path)?,
            };
            // The entries from the first one of the next extent on are superseded.
            let end = after.map_or(through, |after| through.min(Index(after.0 - 1)));
            let last = batch.entries.last().map_or(Index(0), |entry| entry.id.index);
            taken.take(&mut batch.entries, end);
            if !taken.is_full && taken.next <= end.min(last) {
                return Err(damaged(path, place.offset, DamageKind::Contents("a gap in the log")));
            }
            if last < taken.next {
                place = batch.after;
            } else {
                rest = Some(batch);
            }
        }
        if resumes.len() >= OPEN_FILES {
            resumes.pop_front();
        }
        resumes.push_back(Resume { next: taken.next, segment: number, place, rest });
        Ok(())
    }
}

fn decode(window: &mut Window<'_>, place: Place, path: &Path) -> Result<Decoded, ReadFault> {
    let batch = record::decode_batch(window, place).map_err(failed(path))?;
    let batch = batch.map_err(|fault| damaged(path, fault.offset, fault.kind))?;
    let after = Place { number: place.number + 1, offset: batch.end, chain: batch.chain, ..place };
    Ok(Decoded { entries: survivors(batch.entries), after })
}

/// Entries that were read so far.
struct Taken {
    entries: Vec<Entry>,
    /// Index of the next entry.
    next: Index,
    /// Payload bytes of the entries.
    bytes: usize,
    /// Maximum of `bytes`, unless there is only one entry.
    limit: usize,
    /// Whether the next entry would exceed the limit.
    is_full: bool,
}

impl Taken {
    /// Takes the entries of a batch up to `end` that follow the taken ones, and leaves those after them in the batch.
    fn take(&mut self, batch: &mut Vec<Entry>, end: Index) {
        let known = batch.partition_point(|entry| entry.id.index < self.next);
        let mut through = known;
        for entry in &batch[known..] {
            let index = entry.id.index;
            if index != self.next || index > end {
                break;
            }
            let bytes = self.bytes.saturating_add(entry.payload.len());
            if through + self.entries.len() > known && bytes > self.limit {
                self.is_full = true;
                break;
            }
            (self.next, self.bytes) = (index.next(), bytes);
            through += 1;
        }
        self.entries.extend(batch.drain(..through).skip(known));
    }
}

/// The entries of a batch that later ones of the same batch do not supersede.
fn survivors(batch: Vec<Entry>) -> Vec<Entry> {
    let mut survivors: Vec<Entry> = Vec::with_capacity(batch.len());
    for entry in batch {
        while survivors.pop_if(|last| last.id.index >= entry.id.index).is_some() {}
        survivors.push(entry);
    }
    survivors
}

fn damaged(path: &Path, offset: u64, kind: DamageKind) -> ReadFault {
    ReadFault::Damaged(Damage { path: path.to_owned(), offset, kind })
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ReadFault {
    move |error| match error.kind() {
        io::ErrorKind::NotFound => damaged(path, 0, DamageKind::Missing),
        _ => ReadFault::Failed(Failure::of("read", path)(error)),
    }
}
