//! The log on disk: segments of checksummed records, one commit frame and one sync per batch. Byte by byte in
//! `node/docs/wal_format.md`.
//!
//! Owns files, their order, and what a damaged or torn one means. Refuses to own entries in memory (the core keeps
//! those) and the decision what may be purged.

pub(crate) mod record;

pub(crate) mod segment;

pub(crate) mod append;

pub(crate) mod recover;

pub(crate) mod recycle;

use std::path::PathBuf;
use std::sync::Arc;

use raft::{EntryId, Index, MemberId};

use crate::disk::Disk;
use crate::error::Latch;
use segment::{Active, Segment};

/// What a log is told once.
#[derive(Clone, Debug)]
pub(crate) struct WalOptions {
    /// Whose log it is.
    pub(crate) member: MemberId,
    /// A segment that has reached this length is followed by another, bytes.
    pub(crate) segment_bytes: u64,
    /// Unguessable; keeps old bytes of recycled segments, and bytes chosen by clients, from being taken for frames.
    pub(crate) salt: u64,
}

/// One member's log on disk.
#[derive(Debug)]
pub(crate) struct Wal {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    options: WalOptions,
    latch: Latch,
    /// Oldest first; the last one is followed by the active one, or *is* the active one's record.
    segments: Vec<Segment>,
    /// Where the next batch goes; none after a start, so that nothing is ever written behind a torn tail.
    active: Option<Active>,
    /// Number of the next segment; larger than any that a file in the directory ever had.
    next_seq: u64,
    /// Number of the next batch.
    next_batch: u64,
    /// The log's last entry.
    last: EntryId,
    /// An old segment's file, to be overwritten by the next one.
    spare: Option<PathBuf>,
    /// Reused for every batch.
    scratch: Vec<u8>,
}

impl Wal {
    /// The log's last entry.
    pub(crate) fn last(&self) -> EntryId {
        self.last
    }

    /// Whether every entry of a segment is behind `first_kept`.
    fn is_behind(segment: &Segment, first_kept: Index) -> bool {
        segment.max_index.is_none_or(|max| max < first_kept)
    }
}
