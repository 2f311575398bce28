//! A segment is a file with a header, followed by batches. Owns file names, the header, the creation of a new segment, and
//! the rule that segments are contiguous. Does not own the batches (`record.rs`).
//!
//! ```text
//! offset size  header, followed by zeros up to the first unit's end
//!      0    8  "RAFTWAL\n"
//!      8    4  crc32c of bytes 12..512
//!     12    4  format version, 1 or 2
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
//!     88    4  version 1: 0, and the unit is 512; version 2: the unit in bytes, a power of two
//!     92  420  0
//! ```
//!
//! The header fills the first unit, and batches start at multiples of the unit. The checksum covers 512 bytes in every version, so
//! a program that knows only version 1 finds an intact header of a newer version, and no damage.
//!
//! A segment is written under a temporary name, synced, and then renamed. Therefore the header of a segment with a
//! final name is whole or damaged, but never torn. When a segment is created, the segment before it is already durable.
//! If that segment is absent at a start, it was either purged or lost, and a loss is damage. The space after the last
//! batch holds zeros or the bytes of a recycled file; the salt distinguishes such bytes from frames.

use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use raft::{EntryId, Index, MemberId, Term};

use crate::checksum;
use crate::codec::{DecodeError, Reader};
use crate::disk::{DiskFile, PAGE, SECTOR};
use crate::error::{Damage, DamageKind, Newer, OpenError, StorageError, is_full};
use crate::wal::Wal;
use crate::wal::record::{self, Place};

pub(crate) const MAGIC: &[u8; 8] = b"RAFTWAL\n";
/// Newest version that this program reads.
const VERSION_MAX: u32 = 2;
const CRC: Range<usize> = 8..12;
const UNIT: Range<usize> = 88..92;
const _: () = assert!(MAGIC.len() == CRC.start && CRC.end + 3 * 4 + 8 * 8 == UNIT.start, "the fields leave no gap");
/// Number of bytes of the header under its checksum.
pub(crate) const HEADER_SIZE: usize = SECTOR;
const _: () = assert!(UNIT.end <= HEADER_SIZE, "the checksum covers all fields");
/// Units in bytes that a header of version 2 may name.
const UNITS: RangeInclusive<u64> = PAGE as u64..=65536;

/// Ending of a segment's name.
const ENDING: &str = ".wal";
/// Name of a segment that is being created.
pub(crate) const DRAFT: &str = "next.tmp";
/// Name of an old segment in directories of earlier versions, in which it waited to be overwritten. A start removes it.
pub(crate) const SPARE: &str = "spare.old";

/// Minimum and maximum number of bytes that are filled with zeros at a time. The number grows with the segment, so that the log
/// of an idle member stays small.
const STEP_MIN: u64 = 256 * 1024;
const STEP_MAX: u64 = 4 * 1024 * 1024;
const _: () = assert!(STEP_MIN.is_multiple_of(PAGE as u64) && STEP_MIN <= STEP_MAX, "whole units are filled");

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
    /// Size in bytes of the unit at whose multiples batches start. [`SECTOR`] in version 1.
    pub(crate) unit: u64,
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

impl Segment {
    /// Place of the next batch, which has this number.
    pub(crate) fn place(&self, number: u64) -> Place {
        let Header { salt, unit, .. } = self.header;
        Place { salt, number, unit, offset: self.end, chain: self.chain }
    }
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
        let is_first_version = self.unit == SECTOR as u64;
        let version: u32 = if is_first_version { 1 } else { 2 };
        let previous = self.previous.unwrap_or(Previous { seq: 0, end: 0, chain: 0 });
        let mut fields = Vec::with_capacity(HEADER_SIZE);
        fields.extend_from_slice(MAGIC);
        fields.extend_from_slice(&[0; CRC.end - CRC.start]);
        fields.extend_from_slice(&version.to_le_bytes());
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
        header[..UNIT.start].copy_from_slice(&fields);
        if !is_first_version {
            // The cast loses nothing, because units are small.
            header[UNIT].copy_from_slice(&(self.unit as u32).to_le_bytes());
        }
        let crc = checksum::of(&header[CRC.end..]);
        header[CRC].copy_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(
            Self::decode(&header, Path::new("")).ok().as_ref(),
            Some(self),
            "a segment header reads back as it was written"
        );
        header
    }

    /// Encodes the header with zeros up to the first batch.
    pub(super) fn encode_unit(&self) -> Vec<u8> {
        let mut bytes = self.encode().to_vec();
        bytes.resize(self.unit as usize, 0);
        bytes
    }

    /// Place of the first batch. The header seeds the checksum chain.
    pub(crate) fn first_place(&self) -> Place {
        let chain = checksum::of(&self.encode());
        Place { salt: self.salt, number: self.first_batch, unit: self.unit, offset: self.unit, chain }
    }

    /// Reads and checks the header at the start of `file`. `file` holds the content of the file at `path`.
    pub(crate) fn decode(file: &[u8], path: &Path) -> Result<Self, OpenError> {
        let damaged =
            |kind| OpenError::Damaged { identity: None, damage: Damage { path: path.to_owned(), offset: 0, kind } };
        let header = file.get(..HEADER_SIZE).ok_or_else(|| damaged(DamageKind::Checksum))?;
        if !header.starts_with(MAGIC) || header[CRC] != checksum::of(&header[CRC.end..]).to_le_bytes() {
            return Err(damaged(DamageKind::Checksum));
        }
        let mut reader = Reader::new(bytes::Bytes::copy_from_slice(&header[CRC.end..UNIT.end]));
        let found = reader.u32().map_err(|_| damaged(DamageKind::Checksum))?;
        if !(1..=VERSION_MAX).contains(&found) {
            return Err(Newer::at_start(path, "format version", found));
        }
        Self::fields(&mut reader, found).map_err(|_| damaged(DamageKind::Contents("a segment header")))
    }

    fn fields(reader: &mut Reader, version: u32) -> Result<Self, DecodeError> {
        let (seq, salt, member) = (reader.u64()?, reader.u64()?, MemberId(reader.u64()?));
        let previous = Previous { seq: reader.u64()?, end: reader.u64()?, chain: reader.u32()? };
        reader.u32()?;
        let first_batch = reader.u64()?;
        let base = EntryId { term: Term(reader.u64()?), index: Index(reader.u64()?) };
        let unit = match version {
            1 => SECTOR as u64,
            _ => u64::from(reader.u32()?),
        };
        if version > 1 && !(UNITS.contains(&unit) && unit.is_power_of_two()) {
            return Err(DecodeError::Malformed("unit"));
        }
        Ok(Self { seq, salt, member, previous: (previous.seq != 0).then_some(previous), first_batch, base, unit })
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

/// Length to which a file of `allocated` bytes is extended so that at least `needed` bytes exist, in whole units.
pub(crate) fn allocation(allocated: u64, needed: u64, segment_bytes: u64, unit: u64) -> u64 {
    let step = allocated.clamp(STEP_MIN, STEP_MAX).min(segment_bytes.max(unit));
    let target = needed.max((allocated + step).min(segment_bytes)).next_multiple_of(unit);
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
        let needed = header.unit + first_bytes;
        let (file, allocated) = self.draft(&draft, needed)?;
        self.latch.guard("write", &draft, file.write_at(0, &header.encode_unit()))?;
        self.latch.guard("sync", &draft, file.sync())?;
        self.latch.guard("rename", &draft, self.disk.rename(&draft, &path))?;
        self.latch.guard("sync", &self.dir, self.disk.sync_dir(&self.dir))?;

        self.point_to_next(&header)?;
        self.next_seq += 1;
        if restart.is_some() {
            self.extents.clear();
        }
        let superseded = match (restart, self.segments.last()) {
            (Some(_), _) => self.segments.drain(..).collect(),
            // The new segment replaces an empty last segment. Otherwise every restart without a write would add a file.
            (None, Some(last)) if last.max_index.is_none() => self.segments.pop().into_iter().collect(),
            (None, _) => Vec::new(),
        };
        self.last = header.base;
        let Place { offset: end, chain, .. } = header.first_place();
        self.segments.push(Segment { header, path, max_index: None, end, chain });
        self.active = Some(Active { file, allocated });
        self.assert_consistent();
        self.discard(superseded)
    }

    /// Writes a frame after the last batch of the previous segment, so that a start notices if the newest segment is missing. The
    /// frame is not synced: the segment that it names is already durable, and the log is correct without the frame.
    ///
    /// The frame is not written into a page that holds acknowledged batches, which a segment of version 1 may have: a power loss
    /// during the write could destroy them.
    fn point_to_next(&self, header: &Header) -> Result<(), StorageError> {
        let Some(previous) = header.previous else { return Ok(()) };
        let Some(segment) = self.segments.iter().find(|s| s.header.seq == previous.seq) else { return Ok(()) };
        if !previous.end.is_multiple_of(PAGE as u64) {
            return Ok(());
        }
        let place = Place { offset: previous.end, chain: previous.chain, ..segment.place(header.seq) };
        let frame = record::fill_pages(record::continued_frame(place), place.unit);
        let file = self.latch.guard("open", &segment.path, self.disk.open(&segment.path))?;
        self.latch.guard("write", &segment.path, file.write_at(place.offset, &frame))
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
            unit: self.unit(),
        }
    }

    /// Prepares the file of the next segment, from a purged segment or as a new file. The file is at least `needed` bytes long.
    fn draft(&mut self, draft: &Path, needed: u64) -> Result<(Box<dyn DiskFile>, u64), StorageError> {
        let file = if self.recycle(draft)? {
            self.latch.guard("open", draft, self.disk.open(draft))?
        } else {
            match self.disk.create(draft) {
                Err(e) if is_full(&e) => {
                    return Err(StorageError::Full { path: draft.to_owned() });
                }
                other => self.latch.guard("create", draft, other)?,
            }
        };
        let exists = self.latch.guard("measure", draft, file.size())?;
        let (bytes, unit) = (self.options.segment_bytes, self.unit());
        let target = if exists >= needed { exists } else { allocation(exists, needed, bytes, unit) };
        match file.preallocate(exists, target) {
            Ok(()) => {
                self.preallocated += target - exists;
                Ok((file, target))
            }
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
        let unit = SECTOR as u64;
        let header = Header { seq, salt: 7, member: MemberId(5), previous, first_batch: seq, base, unit };
        let chain = header.first_place().chain ^ 1;
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

    #[test]
    fn a_header_names_a_unit_that_is_a_power_of_two_from_a_page_on() {
        for unit in [512, 4096, 8192, 65536] {
            let header = Header { unit, ..segment(1, None).header };
            let version = if unit == 512 { 1 } else { 2 };
            assert_eq!(header.encode()[12..16], [version, 0, 0, 0]);
            assert_eq!(Header::decode(&header.encode(), Path::new("")).expect("it was encoded"), header);
            assert_eq!(header.first_place().offset, unit);
        }
        for unit in [0u32, 512, 2048, 6000, 131_072] {
            let mut header = Header { unit: 4096, ..segment(1, None).header }.encode();
            header[UNIT].copy_from_slice(&unit.to_le_bytes());
            let crc = checksum::of(&header[CRC.end..]);
            header[CRC].copy_from_slice(&crc.to_le_bytes());
            let error = Header::decode(&header, Path::new("")).expect_err("no writer writes it");
            let is_impossible =
                matches!(&error, OpenError::Damaged { damage, .. } if damage.kind != DamageKind::Checksum);
            assert!(is_impossible, "{unit}: {error}");
        }
    }

    #[test]
    fn a_header_of_a_later_version_is_too_new() {
        let mut header = segment(1, None).header.encode();
        header[12] = 3;
        let crc = checksum::of(&header[CRC.end..]);
        header[CRC].copy_from_slice(&crc.to_le_bytes());
        let error = Header::decode(&header, Path::new("")).expect_err("a later version");
        assert!(matches!(&error, OpenError::TooNew { newer, .. } if newer.found == 3), "{error}");
    }
}
