//! Frames inside a segment: the open frame of a batch, the batch's records, and the batch's commit frame. Owns the layout and the
//! checksum chain. Does not own the places of batches (`segment.rs`).
//!
//! Every frame starts with 40 bytes; numbers are little-endian.
//!
//! ```text
//! open: stands at a multiple of the unit; self-contained    record: one entry            commit: ends a batch
//! offset size                                               offset size                  offset size
//!      0    4  crc32c of bytes 4..40                             0    4  crc32c, chained       0    4  crc32c, chained
//!      4    4  the chain before this batch                       4    4  payload bytes         4    4  0
//!      8    8  number of the batch                               8    8  index                 8    8  number of the batch
//!     16    8  the segment's salt                               16    8  term                 16    8  records in the batch
//!     24    8  offset of this frame in the segment              24    8  time_ms              24    8  0
//!     32    1  0xA1                                             32    1  payload kind         32    1  0xC1
//!     33    7  0                                                33    7  0                    33    7  0
//!                                                               40    n  payload, then 0 up to a multiple of 8
//! ```
//!
//! The unit is 512 bytes in a segment of version 1 and at least 4,096 bytes in one of version 2 (`format.rs`).
//!
//! A fourth kind of frame, 0xE1, follows the last batch of a segment. It has the layout of an open frame, but the
//! number at offset 8 is the number of the segment in which the log continues.
//!
//! "Chained" means that the checksum is seeded with the checksum of the frame before. The checksum of the open frame seeds the
//! checksum of the first record.

use std::io;
use std::ops::Range;

use bytes::Bytes;
use raft::{Entry, EntryId, Index, Term};

use crate::checksum;
use crate::codec;
use crate::disk::{PAGE, SECTOR};
use crate::error::DamageKind;
use crate::wal::window::SegmentBytes;

const CRC: Range<usize> = 0..4;
const LEN: Range<usize> = 4..8;
const CHAIN: Range<usize> = LEN;
const INDEX: Range<usize> = 8..16;
const NUMBER: Range<usize> = INDEX;
const TERM: Range<usize> = 16..24;
const SALT: Range<usize> = TERM;
const COUNT: Range<usize> = TERM;
const TIME: Range<usize> = 24..32;
const OFFSET: Range<usize> = TIME;
const KIND: usize = 32;
/// Number of bytes of a frame without its payload.
pub(crate) const FRAME_SIZE: usize = 40;
const _: () = assert!(FRAME_SIZE.is_multiple_of(8), "alignment keeps a frame's numbers inside one sector");
const _: () = assert!(SECTOR.is_multiple_of(8), "a record never starts inside the last seven bytes of a sector");
const _: () = assert!(CRC.end == LEN.start && LEN.end == INDEX.start && INDEX.end == TERM.start, "no field overlaps");
const _: () = assert!(TERM.end == TIME.start && TIME.end == KIND && KIND + 8 == FRAME_SIZE, "no field overlaps");

/// Kinds of frames. They differ from all payload kinds, which records hold at the same offset.
const OPEN: u8 = 0xA1;
const COMMIT: u8 = 0xC1;
const CONTINUED: u8 = 0xE1;
const _: () = assert!(OPEN >= codec::PAYLOAD_KINDS_END && COMMIT >= codec::PAYLOAD_KINDS_END, "a record is no frame");
const _: () = assert!(CONTINUED >= codec::PAYLOAD_KINDS_END, "a record is no frame");

/// Place of a batch in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Salt of the segment.
    pub(crate) salt: u64,
    /// Number of the batch.
    pub(crate) number: u64,
    /// Size in bytes of the unit in which the segment aligns batches. A multiple of [`SECTOR`] and a power of two.
    pub(crate) unit: u64,
    /// Offset of the batch's open frame in the segment. A multiple of `unit`.
    pub(crate) offset: u64,
    /// Checksum chain before the batch.
    pub(crate) chain: u32,
}

/// Reason why there is no whole batch at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Offset of the first frame that does not belong to the batch.
    pub(crate) offset: u64,
    /// [`DamageKind::Checksum`] if the frame may have been written only in part. A frame with any other kind of damage was
    /// written whole.
    pub(crate) kind: DamageKind,
}

/// A batch that was read from a segment.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecoveredBatch {
    /// Entries, in the order in which they were written.
    pub(crate) entries: Vec<Entry>,
    /// Offset at which the next batch starts.
    pub(crate) end: u64,
    /// Checksum chain after the batch.
    pub(crate) chain: u32,
}

fn word(bytes: &[u8], at: Range<usize>) -> u64 {
    let mut word = [0; 8];
    word[..at.len()].copy_from_slice(&bytes[at]);
    u64::from_le_bytes(word)
}

fn half(bytes: &[u8], at: Range<usize>) -> u32 {
    debug_assert_eq!(at.len(), 4, "a longer field would be cut off");
    word(bytes, at) as u32
}

/// Rounds up to a multiple of `unit`, which must be a power of two.
pub(crate) fn round_up(value: usize, unit: usize) -> usize {
    debug_assert!(unit.is_power_of_two(), "{unit} is no power of two");
    (value + unit - 1) & !(unit - 1)
}

/// Encodes the open frame of a batch.
pub(crate) fn open_frame(place: Place) -> [u8; FRAME_SIZE] {
    place_frame(OPEN, place)
}

/// Encodes the frame that follows the last batch of a segment when the log continues in another segment. `place.number` is the
/// number of the other segment.
pub(crate) fn continued_frame(place: Place) -> [u8; FRAME_SIZE] {
    place_frame(CONTINUED, place)
}

fn place_frame(kind: u8, place: Place) -> [u8; FRAME_SIZE] {
    debug_assert!(place.offset.is_multiple_of(place.unit), "a batch at {} would share a unit", place.offset);
    let mut frame = [0; FRAME_SIZE];
    frame[CHAIN].copy_from_slice(&place.chain.to_le_bytes());
    frame[NUMBER].copy_from_slice(&place.number.to_le_bytes());
    frame[SALT].copy_from_slice(&place.salt.to_le_bytes());
    frame[OFFSET].copy_from_slice(&place.offset.to_le_bytes());
    frame[KIND] = kind;
    let crc = checksum::of(&frame[CRC.end..]);
    frame[CRC].copy_from_slice(&crc.to_le_bytes());
    frame
}

/// Extends a frame that is written alone with zeros to its whole unit, if units are pages. Otherwise the system would have to read
/// the page before it can change a part of it, if the page is one of a recycled file.
pub(crate) fn fill_pages(frame: [u8; FRAME_SIZE], unit: u64) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    if unit >= PAGE as u64 {
        // The cast loses nothing, because units are small.
        bytes.resize(unit as usize, 0);
    }
    bytes
}

/// Returns the number of the batch whose open frame is at `offset` in a segment with this salt. Returns `None` if there is no
/// open frame at `offset`.
pub(crate) fn opens(segment: &mut impl SegmentBytes, salt: u64, offset: u64) -> io::Result<Option<u64>> {
    place_frame_at(segment, OPEN, salt, offset)
}

/// Returns the place of the batch whose open frame is at `offset` in the segment of `earlier`; `None` if there is no open frame. The
/// frame carries the chain, so that a reader can begin there.
pub(crate) fn opened_place(segment: &mut impl SegmentBytes, earlier: Place, offset: u64) -> io::Result<Option<Place>> {
    let Some(number) = opens(segment, earlier.salt, offset)? else { return Ok(None) };
    let frame = segment.get(offset, FRAME_SIZE)?;
    Ok(frame.map(|frame| Place { number, offset, chain: half(frame, CHAIN), ..earlier }))
}

/// Returns the number of the segment in which the log continues, if a frame at `offset` names a segment.
pub(crate) fn continued_in(segment: &mut impl SegmentBytes, salt: u64, offset: u64) -> io::Result<Option<u64>> {
    place_frame_at(segment, CONTINUED, salt, offset)
}

fn place_frame_at(segment: &mut impl SegmentBytes, kind: u8, salt: u64, offset: u64) -> io::Result<Option<u64>> {
    let Some(frame) = segment.get(offset, FRAME_SIZE)? else { return Ok(None) };
    let intact = half(frame, CRC) == checksum::of(&frame[CRC.end..FRAME_SIZE]);
    let ours = frame[KIND] == kind && word(frame, SALT) == salt && word(frame, OFFSET) == offset;
    Ok((intact && ours).then(|| word(frame, NUMBER)))
}

/// An encoded batch that is not written yet.
struct Encoded<'a> {
    offset: u64,
    bytes: &'a [u8],
}

impl SegmentBytes for Encoded<'_> {
    fn get(&mut self, offset: u64, length: usize) -> io::Result<Option<&[u8]>> {
        let at = offset.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        Ok(at.and_then(|at| self.bytes.get(at..at.checked_add(length)?)))
    }
}

/// Number of bytes of a record with its padding.
pub(crate) fn record_size(payload_length: usize) -> usize {
    FRAME_SIZE + round_up(payload_length, 8)
}

/// Number of bytes of an encoded batch with its padding up to a multiple of `unit`.
pub(crate) fn batch_size(payload_lengths: impl Iterator<Item = usize>, unit: u64) -> usize {
    let records: usize = payload_lengths.map(record_size).sum();
    round_up(FRAME_SIZE + records + FRAME_SIZE, unit as usize)
}

/// Replaces the contents of `into` by an encoded batch, and returns the checksum chain after the batch.
///
/// # Errors
/// Returns [`codec::EncodeError`] if an entry exceeds a limit of the format.
pub(crate) fn encode_batch<'a>(
    into: &mut Vec<u8>,
    place: Place,
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<u32, codec::EncodeError> {
    debug_assert_ne!(place.number, 0, "batches are numbered from 1 on");
    into.clear();
    into.extend_from_slice(&open_frame(place));
    let mut chain = half(into, CRC);
    let mut count = 0u64;
    for entry in entries {
        let (kind, body) = codec::payload_parts(&entry.payload)?;
        let start = into.len();
        let mut head = [0; FRAME_SIZE];
        debug_assert!(body.len() <= codec::PAYLOAD_BYTES_MAX, "a start would take a longer record for a torn one");
        // The cast loses nothing, because the length limit of payloads is far below 2^32.
        head[LEN].copy_from_slice(&(body.len() as u32).to_le_bytes());
        head[INDEX].copy_from_slice(&entry.id.index.0.to_le_bytes());
        head[TERM].copy_from_slice(&entry.id.term.0.to_le_bytes());
        head[TIME].copy_from_slice(&entry.time_ms.to_le_bytes());
        head[KIND] = kind;
        into.extend_from_slice(&head);
        into.extend_from_slice(&body);
        into.resize(start + FRAME_SIZE + round_up(body.len(), 8), 0);
        chain = seal(&mut into[start..], chain);
        count += 1;
    }
    debug_assert_ne!(count, 0, "a batch without a record makes nothing durable");
    let start = into.len();
    let mut head = [0; FRAME_SIZE];
    head[NUMBER].copy_from_slice(&place.number.to_le_bytes());
    head[COUNT].copy_from_slice(&count.to_le_bytes());
    head[KIND] = COMMIT;
    into.extend_from_slice(&head);
    chain = seal(&mut into[start..], chain);
    into.resize(round_up(into.len(), place.unit as usize), 0);
    debug_assert!(
        decode_batch(&mut Encoded { offset: place.offset, bytes: into }, place).is_ok_and(|batch| {
            batch.is_ok_and(|batch| {
                let end = place.offset + into.len() as u64;
                (batch.chain, batch.end, batch.entries.len() as u64) == (chain, end, count)
            })
        }),
        "batch {} reads back as it was written",
        place.number
    );
    Ok(chain)
}

fn seal(frame: &mut [u8], previous: u32) -> u32 {
    debug_assert!(frame.len() >= FRAME_SIZE && frame.len().is_multiple_of(8), "the next frame stays aligned");
    let crc = checksum::chained(previous, &frame[CRC.end..]);
    frame[CRC].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Reads the batch at `place` of a segment. A frame belongs to the batch only if it continues the chain. In memory are at most the
/// entries of the batch and one record.
///
/// The inner result is a [`Fault`] with the place of the first frame that does not belong to the batch.
///
/// # Errors
/// Returns any error of the file system.
pub(crate) fn decode_batch(segment: &mut impl SegmentBytes, place: Place) -> io::Result<Result<RecoveredBatch, Fault>> {
    let fault = |offset| Ok(Err(Fault { offset, kind: DamageKind::Checksum }));
    let absurd = |offset, what| Ok(Err(Fault { offset, kind: DamageKind::Contents(what) }));
    let mut chain = match segment.get(place.offset, FRAME_SIZE)? {
        Some(open) if open == open_frame(place) => half(open, CRC),
        _ => return fault(place.offset),
    };
    let mut at = place.offset + FRAME_SIZE as u64;
    let mut entries = Vec::new();
    loop {
        let Some(frame) = segment.get(at, FRAME_SIZE)? else { return fault(at) };
        let length = half(frame, LEN) as usize;
        if length > codec::PAYLOAD_BYTES_MAX {
            return fault(at);
        }
        let size = record_size(length);
        let Some(whole) = segment.get(at, size)? else { return fault(at) };
        let crc = checksum::chained(chain, &whole[CRC.end..]);
        if crc != half(whole, CRC) {
            return fault(at);
        }
        chain = crc;
        if whole[KIND] == COMMIT {
            if word(whole, NUMBER) != place.number || word(whole, COUNT) != entries.len() as u64 {
                return absurd(at, "a commit frame of another batch");
            }
            let end = (at + size as u64).next_multiple_of(place.unit);
            return Ok(Ok(RecoveredBatch { entries, end, chain }));
        }
        // The payload is copied, so that a small entry does not keep a whole block in memory.
        let body = Bytes::copy_from_slice(&whole[FRAME_SIZE..FRAME_SIZE + length]);
        let payload = match codec::payload_from(whole[KIND], body) {
            Ok(payload) => payload,
            Err(reason) => {
                let kind = DamageKind::undecodable("a record that this version cannot read", reason);
                return Ok(Err(Fault { offset: at, kind }));
            }
        };
        entries.push(Entry {
            id: EntryId { term: Term(word(whole, TERM)), index: Index(word(whole, INDEX)) },
            time_ms: word(whole, TIME),
            payload,
        });
        at += size as u64;
    }
}
