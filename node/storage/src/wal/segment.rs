//! A segment is a file with a header sector, followed by batches. Owns file names, the header, the creation of a new segment, and
//! the rule that segments are contiguous. Does not own the batches (`record.rs`).
//!
//! ```text
//! offset size  header, the file's first sector
//!      0    8  "RAFTWAL\n"
//!      8    4  crc32c of bytes 12..512
//!     12    4  format version, 1
//!     16    8  number of the segment; also its name, never used twice in a directory
//!     24    8  salt; every open frame in the segment repeats it
//!     32    8  the member whose log it is
//!     40    8  number of the segment before it; 0: none, the log starts anew after `base`
//!     48    8  offset in that segment at which the log continues here
//!     56    4  the chain up to that offset
//!     60    4  0
//!     64    8  number of the first batch
//!     72    8  base: term of the log's last entry when the segment was made
//!     80    8  base: its index
//!     88  424  0
//! ```
//!
//! A segment is written under a temporary name, synced, and then renamed. Therefore the header of a segment with a
//! final name is whole or damaged, but never torn. When a segment is created, the segment before it is already durable.
//! If that segment is absent at a start, it was either purged or lost, and a loss is damage. The space after the last
//! batch holds zeros or the bytes of a recycled file; the salt distinguishes such bytes from frames.

use std::ops::Range;
use std::path::{Path, PathBuf};

use raft::{EntryId, Index, MemberId, Term};

use crate::checksum;
use crate::codec::Reader;
use crate::disk::{DiskFile, SECTOR};
use crate::error::{Damage, DamageKind, OpenError, StorageError, is_full};
use crate::wal::Wal;
use crate::wal::record::{self, Place};

pub(crate) const MAGIC: &[u8; 8] = b"RAFTWAL\n";
const VERSION: u32 = 1;
const CRC: Range<usize> = 8..12;
const FIELDS_END: usize = 88;
const _: () = assert!(MAGIC.len() == CRC.start && CRC.end + 3 * 4 + 8 * 8 == FIELDS_END, "the fields leave no gap");
/// Number of bytes of the header. The first batch follows the header.
pub(crate) const HEADER_SIZE: usize = SECTOR;
const _: () = assert!(FIELDS_END <= HEADER_SIZE, "the header is one sector, so it is never torn");

/// Ending of a segment's name.
const ENDING: &str = ".wal";
/// Name of a segment that is being created.
pub(crate) const DRAFT: &str = "next.tmp";
/// Name of an old segment that waits to be overwritten.
pub(crate) const SPARE: &str = "spare.old";

/// Minimum and maximum number of bytes that are filled with zeros at a time. The number grows with the segment, so that the log
/// of an idle member stays small.
const STEP_MIN: u64 = 256 * 1024;
const STEP_MAX: u64 = 4 * 1024 * 1024;
const _: () = assert!(STEP_MIN.is_multiple_of(SECTOR as u64) && STEP_MIN <= STEP_MAX, "whole sectors are filled");

/// A segment's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) seq: u64,
    pub(crate) salt: u64,
    pub(crate) member: MemberId,
    /// The segment before this segment; `None` if the log starts anew after `base`.
    pub(crate) previous: Option<Previous>,
    pub(crate) first_batch: u64,
    /// ID of the log's last entry when the segment was created.
    pub(crate) base: EntryId,
}

/// The segment before another segment, and the place where the earlier segment ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Previous {
    pub(crate) seq: u64,
    /// Offset at which the segment's last batch ends.
    pub(crate) end: u64,
    /// Checksum chain up to `end`.
    pub(crate) chain: u32,
}

/// A segment that holds a part of the log.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) path: PathBuf,
    /// Largest index that was ever written to the segment; `None` if the segment holds no entry.
    pub(crate) max_index: Option<Index>,
    /// Offset at which the segment's last batch ends.
    pub(crate) end: u64,
    /// Checksum chain up to `end`.
    pub(crate) chain: u32,
}

/// Asserts that each segment continues the segment before it exactly at its end, so that no batch is missing between two
/// segments.
pub(crate) fn segments_are_contiguous(segments: &[Segment]) {
    for pair in segments.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        let end = Previous { seq: before.header.seq, end: before.end, chain: before.chain };
        assert_eq!(after.header.previous, Some(end), "segment {} continues another place", after.header.seq);
    }
}

/// The segment to which batches are written.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Box<dyn DiskFile>,
    /// Length of the file in bytes, including the part that is only filled with zeros.
    pub(crate) allocated: u64,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_SIZE] {
        debug_assert!(self.previous.is_none_or(|p| 0 < p.seq && p.seq < self.seq), "a segment follows an earlier one");
        let previous = self.previous.unwrap_or(Previous { seq: 0, end: 0, chain: 0 });
        let mut fields = Vec::with_capacity(HEADER_SIZE);
        fields.extend_from_slice(MAGIC);
        fields.extend_from_slice(&[0; CRC.end - CRC.start]);
        fields.extend_from_slice(&VERSION.to_le_bytes());
        fields.extend_from_slice(&self.seq.to_le_bytes());
        fields.extend_from_slice(&self.salt.to_le_bytes());
        fields.extend_from_slice(&self.member.0.to_le_bytes());
        fields.extend_from_slice(&previous.seq.to_le_bytes());
        fields.extend_from_slice(&previous.end.to_le_bytes());
        fields.extend_from_slice(&previous.chain.to_le_bytes());
        fields.extend_from_slice(&[0; 4]);
        fields.extend_from_slice(&self.first_batch.to_le_bytes());
        fields.extend_from_slice(&self.base.term.0.to_le_bytes());
        fields.extend_from_slice(&self.base.index.0.to_le_bytes());
        let mut header = [0; HEADER_SIZE];
        header[..FIELDS_END].copy_from_slice(&fields);
        let crc = checksum::of(&header[CRC.end..]);
        header[CRC].copy_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(
            Self::decode(&header, Path::new("")).ok().as_ref(),
            Some(self),
            "a segment header reads back as it was written"
        );
        header
    }

    /// Checksum chain before the first batch.
    pub(crate) fn chain(&self) -> u32 {
        checksum::of(&self.encode())
    }

    /// Reads and checks the header at the start of `file`. `file` holds the content of the file at `path`.
    pub(crate) fn decode(file: &[u8], path: &Path) -> Result<Self, OpenError> {
        let damaged =
            |kind| OpenError::Damaged { identity: None, damage: Damage { path: path.to_owned(), offset: 0, kind } };
        let header = file.get(..HEADER_SIZE).ok_or_else(|| damaged(DamageKind::Checksum))?;
        if !header.starts_with(MAGIC) || header[CRC] != checksum::of(&header[CRC.end..]).to_le_bytes() {
            return Err(damaged(DamageKind::Checksum));
        }
        let mut reader = Reader::new(bytes::Bytes::copy_from_slice(&header[CRC.end..FIELDS_END]));
        let found = reader.u32().map_err(|_| damaged(DamageKind::Checksum))?;
        if found != VERSION {
            return Err(OpenError::TooNew { path: path.to_owned(), found, supported: VERSION });
        }
        Self::fields(&mut reader).map_err(|_| damaged(DamageKind::Contents("a segment header")))
    }

    fn fields(reader: &mut Reader) -> Result<Self, crate::codec::DecodeError> {
        let (seq, salt, member) = (reader.u64()?, reader.u64()?, MemberId(reader.u64()?));
        let previous = Previous { seq: reader.u64()?, end: reader.u64()?, chain: reader.u32()? };
        reader.u32()?;
        let first_batch = reader.u64()?;
        let base = EntryId { term: Term(reader.u64()?), index: Index(reader.u64()?) };
        Ok(Self { seq, salt, member, previous: (previous.seq != 0).then_some(previous), first_batch, base })
    }
}

/// File name of a segment.
pub(crate) fn name(seq: u64) -> String {
    let name = format!("{seq:016x}{ENDING}");
    debug_assert_eq!(seq_of(&name), Some(seq), "a start recognizes the name");
    name
}

/// Number of the segment with this file name; `None` if the name is not the name of a segment.
pub(crate) fn seq_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?;
    (digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
}

/// Length to which a file of `allocated` bytes is extended so that at least `needed` bytes exist.
pub(crate) fn allocation(allocated: u64, needed: u64, segment_bytes: u64) -> u64 {
    let step = allocated.clamp(STEP_MIN, STEP_MAX).min(segment_bytes.max(HEADER_SIZE as u64));
    let target = needed.max((allocated + step).min(segment_bytes)).next_multiple_of(HEADER_SIZE as u64);
    debug_assert!(target >= needed, "{target} bytes are fewer than the {needed} that are needed");
    target
}

impl Wal {
    /// Creates the next segment and makes it the active segment. The segment and its name are durable when this method returns.
    ///
    /// With `restart`, the log starts anew after the given entry, and all earlier segments are superseded.
    pub(crate) fn next_segment(&mut self, restart: Option<EntryId>, first_bytes: u64) -> Result<(), StorageError> {
        let header = self.next_header(restart);
        let draft = self.dir.join(DRAFT);
        let path = self.dir.join(name(header.seq));
        let needed = HEADER_SIZE as u64 + first_bytes;
        let (file, allocated) = self.draft(&draft, needed)?;
        self.latch.guard("write", &draft, file.write_at(0, &header.encode()))?;
        self.latch.guard("sync", &draft, file.sync())?;
        self.latch.guard("rename", &draft, self.disk.rename(&draft, &path))?;
        self.latch.guard("sync", &self.dir, self.disk.sync_dir(&self.dir))?;

        self.point_to_next(&header)?;
        self.next_seq += 1;
        let superseded = match (restart, self.segments.last()) {
            (Some(_), _) => self.segments.drain(..).collect(),
            // The new segment replaces an empty last segment. Otherwise every restart without a write would add a file.
            (None, Some(last)) if last.max_index.is_none() => self.segments.pop().into_iter().collect(),
            (None, _) => Vec::new(),
        };
        self.last = header.base;
        let chain = header.chain();
        self.segments.push(Segment { header, path, max_index: None, end: HEADER_SIZE as u64, chain });
        self.active = Some(Active { file, allocated });
        self.assert_consistent();
        self.retire(superseded)
    }

    /// Writes a frame after the last batch of the previous segment, so that a start notices if the newest segment is missing. The
    /// frame is not synced: the segment that it names is already durable, and the log is correct without the frame.
    fn point_to_next(&self, header: &Header) -> Result<(), StorageError> {
        let Some(previous) = header.previous else { return Ok(()) };
        let Some(segment) = self.segments.iter().find(|s| s.header.seq == previous.seq) else { return Ok(()) };
        let (salt, offset, chain) = (segment.header.salt, previous.end, previous.chain);
        let frame = record::continued_frame(Place { salt, number: header.seq, offset, chain });
        let file = self.latch.guard("open", &segment.path, self.disk.open(&segment.path))?;
        self.latch.guard("write", &segment.path, file.write_at(offset, &frame))
    }

    fn next_header(&self, restart: Option<EntryId>) -> Header {
        let previous = match (restart, self.segments.last()) {
            (Some(_), _) | (None, None) => None,
            (None, Some(last)) if last.max_index.is_none() => last.header.previous,
            (None, Some(last)) => Some(Previous { seq: last.header.seq, end: last.end, chain: last.chain }),
        };
        Header {
            seq: self.next_seq,
            // The multiplier is odd, so different segment numbers give different salts.
            salt: self.options.salt ^ self.next_seq.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            member: self.options.member,
            previous,
            first_batch: self.next_batch,
            base: restart.unwrap_or(self.last),
        }
    }

    /// Prepares the file of the next segment, from the spare file or as a new file. The file is at least `needed` bytes long.
    fn draft(&mut self, draft: &Path, needed: u64) -> Result<(Box<dyn DiskFile>, u64), StorageError> {
        let recycled = self.spare.take();
        let file = match &recycled {
            Some(spare) => {
                self.latch.guard("rename", spare, self.disk.rename(spare, draft))?;
                self.latch.guard("open", draft, self.disk.open(draft))?
            }
            None => match self.disk.create(draft) {
                Err(e) if is_full(&e) => {
                    return Err(StorageError::Full { path: draft.to_owned() });
                }
                other => self.latch.guard("create", draft, other)?,
            },
        };
        let exists = self.latch.guard("measure", draft, file.size())?;
        let target = if exists >= needed { exists } else { allocation(exists, needed, self.options.segment_bytes) };
        match file.preallocate(exists, target) {
            Ok(()) => Ok((file, target)),
            Err(e) if is_full(&e) => {
                drop(file);
                self.latch.guard("remove", draft, self.disk.remove(draft))?;
                Err(StorageError::Full { path: draft.to_owned() })
            }
            Err(e) => self.latch.guard("extend", draft, Err(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates a segment that holds one batch and continues `before`.
    fn segment(seq: u64, before: Option<&Segment>) -> Segment {
        let previous = before.map(|s| Previous { seq: s.header.seq, end: s.end, chain: s.chain });
        let base = EntryId { term: Term(1), index: Index(seq - 1) };
        let header = Header { seq, salt: 7, member: MemberId(5), previous, first_batch: seq, base };
        let chain = header.chain() ^ 1;
        Segment { header, path: PathBuf::new(), max_index: Some(Index(seq)), end: 1024, chain }
    }

    fn three() -> [Segment; 3] {
        let first = segment(1, None);
        let second = segment(2, Some(&first));
        let third = segment(3, Some(&second));
        [first, second, third]
    }

    #[test]
    fn segments_that_continue_each_other_are_contiguous() {
        segments_are_contiguous(&three());
    }

    #[test]
    #[should_panic(expected = "segment 3 continues another place")]
    fn a_planted_gap_between_segments_is_caught() {
        let [first, _, third] = three();
        segments_are_contiguous(&[first, third]);
    }

    #[test]
    #[should_panic(expected = "segment 2 continues another place")]
    fn a_planted_batch_that_the_next_segment_does_not_know_is_caught() {
        let mut segments = three();
        segments[0].end += 512;
        segments_are_contiguous(&segments);
    }

    #[test]
    #[should_panic(expected = "a segment follows an earlier one")]
    fn a_planted_segment_that_continues_itself_is_caught() {
        let [_, second, _] = three();
        segment(2, Some(&second));
    }
}
