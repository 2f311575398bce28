//! The log on disk: segments of records with checksums. Each batch has one commit frame and one sync. `node/docs/wal_format.md`
//! describes the format byte by byte.
//!
//! Owns the files, their order, the places of entries in them, and the meaning of a damaged or torn file. Does not own entries in
//! memory (the core keeps the last ones) or the decision which entries may be purged.

pub(crate) mod format;

pub(crate) mod record;

pub(crate) mod segment;

pub(crate) mod window;

pub(crate) mod extents;

pub(crate) mod outline;

pub(crate) mod append;

pub(crate) mod prepare;

pub(crate) mod recover;

pub(crate) mod read;

pub(crate) mod recycle;

pub(crate) mod draft;

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use raft::{EntryId, Index, MemberId};

use crate::disk::Disk;
use crate::error::Latch;
use extents::Extents;
use format::LogFormat;
use read::Reads;
use segment::{Active, Segment};

/// Settings of a log.
#[derive(Clone, Debug)]
pub(crate) struct WalOptions {
    /// Member that owns the log.
    pub(crate) member: MemberId,
    /// Length in bytes at which the log continues in a new segment.
    pub(crate) segment_bytes: u64,
    /// Maximum number of purged segments whose files are kept.
    pub(crate) recycled_segments: usize,
    /// Format of new segments.
    pub(crate) format: LogFormat,
    /// Random number, so that neither old bytes of a recycled segment nor bytes chosen by a client look like frames.
    pub(crate) salt: u64,
}

/// One member's log on disk.
#[derive(Debug)]
pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: WalOptions,
    latch: Latch,
    /// Segments that hold the log, oldest first. If `active` is set, it is the last of these segments.
    segments: Vec<Segment>,
    /// Segment to which the next batch is written. `None` after a start, so that no batch ever follows a torn tail in the same
    /// file.
    active: Option<Active>,
    /// Number of the next segment, which is larger than the number of any earlier segment in the directory.
    next_seq: u64,
    /// Number of the next batch.
    next_batch: u64,
    /// The log's last entry.
    last: EntryId,
    /// Places of all entries.
    extents: Extents,
    /// State of reads.
    reads: Reads,
    /// Files of purged segments, oldest first, which the next segments will overwrite.
    recyclable: VecDeque<PathBuf>,
    /// Buffer for an encoded batch, reused by every write.
    scratch: Vec<u8>,
    /// Bytes of all batches that were written.
    written: u64,
    /// Bytes by which files were extended ahead of batches.
    preallocated: u64,
}

impl Wal {
    /// The log's last entry.
    pub(crate) fn last(&self) -> EntryId {
        self.last
    }

    /// Continues the log in a later format. The next batch begins a segment of this format. A format is never changed
    /// back.
    pub(crate) fn use_format(&mut self, format: LogFormat) {
        if self.options.format < format {
            self.options.format = format;
            self.active = None;
        }
    }

    /// First index of the log. If the log is empty, index of the next entry.
    pub(crate) fn first(&self) -> Index {
        self.extents.first().unwrap_or(self.last.index.next())
    }

    /// Bytes of all batches that were written since the start.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written
    }

    /// Bytes by which files were extended ahead of batches since the start.
    pub(crate) fn preallocated_bytes(&self) -> u64 {
        self.preallocated
    }

    /// Length of the batches after `index`, in bytes, to within the length of an extent.
    pub(crate) fn bytes_after(&self, index: Index) -> u64 {
        let next = index.next();
        if next > self.last.index {
            return 0;
        }
        let from = self.extents.find(next.max(self.first())).map(|(extent, _)| extent);
        let Some(from) = from else { return 0 };
        let length = |segment: &Segment| match segment.header.seq.cmp(&from.segment) {
            Ordering::Less => 0,
            Ordering::Equal => segment.end - from.place.offset,
            Ordering::Greater => segment.end - segment.header.unit,
        };
        self.segments.iter().map(length).sum()
    }

    /// Size in bytes of the unit in which new segments align batches.
    fn unit(&self) -> u64 {
        self.options.format.unit() as u64
    }

    /// Asserts the log's invariants, which hold after every change.
    fn assert_consistent(&self) {
        segment::segments_are_contiguous(&self.segments);
        assert!(self.segments.last().is_none_or(|s| s.header.seq < self.next_seq), "a segment's number is used once");
        if let (Some(active), Some(segment)) = (&self.active, self.segments.last()) {
            assert!(segment.end <= active.allocated, "every written byte of the active segment is allocated");
            assert_eq!(segment.header.unit, self.unit(), "the active segment has the format of new segments");
        }
    }
}
