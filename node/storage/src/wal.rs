//! The log on disk: segments of checksummed records, one commit frame and one sync per batch. Byte by byte in
//! `node/docs/wal_format.md`.
//!
//! Owns files, their order, and the meaning of a damaged or torn one. Does not own entries in memory (the core keeps those)
//! or the decision which entries may be purged.

pub(crate) mod record;

pub(crate) mod segment;

pub(crate) mod append;

pub(crate) mod recover;

pub(crate) mod recycle;

use std::path::PathBuf;
use std::sync::Arc;

use raft::{EntryId, MemberId};

use crate::disk::Disk;
use crate::error::Latch;
use segment::{Active, Segment};

/// Settings of a log.
#[derive(Clone, Debug)]
pub(crate) struct WalOptions {
    /// Member whose log it is.
    pub(crate) member: MemberId,
    /// Length from which on a segment is followed by another one, bytes.
    pub(crate) segment_bytes: u64,
    /// Random number, so that neither old bytes of recycled segments nor bytes chosen by clients are taken for frames.
    pub(crate) salt: u64,
}

/// One member's log on disk.
#[derive(Debug)]
pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: WalOptions,
    latch: Latch,
    /// Segments that hold the log, oldest first. The last one is the active one, unless there is none.
    segments: Vec<Segment>,
    /// Segment that the next batch goes to; none after a start, so that no batch ever follows a torn tail in its file.
    active: Option<Active>,
    /// Number of the next segment; larger than any that a file in the directory ever had.
    next_seq: u64,
    /// Number of the next batch.
    next_batch: u64,
    /// The log's last entry.
    last: EntryId,
    /// File of an old segment, to be overwritten as the next segment.
    spare: Option<PathBuf>,
    /// Buffer of the batch that is being written, reused.
    scratch: Vec<u8>,
}

impl Wal {
    /// The log's last entry.
    pub(crate) fn last(&self) -> EntryId {
        self.last
    }

    /// Checks the rules that hold between two calls.
    fn assert_consistent(&self) {
        segment::segments_are_contiguous(&self.segments);
        assert!(self.segments.last().is_none_or(|s| s.header.seq < self.next_seq), "a segment's number is used once");
        if let (Some(active), Some(segment)) = (&self.active, self.segments.last()) {
            assert!(segment.end <= active.allocated, "every written byte of the active segment is allocated");
        }
    }
}
