//! Frames inside a segment: what opens a batch, its records, what commits it. Owns layout and the checksum chain; where
//! batches stand is the segment's business.
//!
//! Every frame starts with 40 bytes; numbers are little-endian.
//!
//! ```text
//! open: stands at the start of a sector; self-contained     record: one entry            commit: ends a batch
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
//! A fourth kind, 0xE1, is an open frame with a segment's number in place of a batch's: "the log goes on in that segment".
//!
//! "Chained": seeded with the checksum of the frame before it. An open frame's own checksum seeds its first record.

use std::ops::Range;

use bytes::Bytes;
use raft::{Entry, EntryId, Index, Term};

use crate::checksum;
use crate::codec;
use crate::disk::SECTOR;
use crate::error::DamageKind;

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
/// Bytes of every frame before its payload.
pub(crate) const FRAME_SIZE: usize = 40;
const _: () = assert!(FRAME_SIZE.is_multiple_of(8), "alignment keeps a frame's numbers inside one sector");
const _: () = assert!(SECTOR.is_multiple_of(8), "a record never starts inside the last seven bytes of a sector");

/// Frame kinds; payload kinds stay below 0x80.
const OPEN: u8 = 0xA1;
const COMMIT: u8 = 0xC1;
const GOES_ON: u8 = 0xE1;

/// Where a batch is, or is to be, written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The segment's salt.
    pub(crate) salt: u64,
    /// The batch's number.
    pub(crate) number: u64,
    /// Offset of its open frame in the segment; a multiple of [`SECTOR`].
    pub(crate) offset: u64,
    /// The chain before it.
    pub(crate) chain: u32,
}

/// Why no batch could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// First frame that is not what it should be.
    pub(crate) offset: u64,
    /// [`DamageKind::Checksum`] if it may just not have been written whole; anything else was written like that.
    pub(crate) kind: DamageKind,
}

/// A batch as read back.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Its entries, in the order they were written.
    pub(crate) entries: Vec<Entry>,
    /// Where the next batch starts.
    pub(crate) end: u64,
    /// The chain after it.
    pub(crate) chain: u32,
}

fn word(bytes: &[u8], at: Range<usize>) -> u64 {
    let mut word = [0; 8];
    word[..at.len()].copy_from_slice(&bytes[at]);
    u64::from_le_bytes(word)
}

fn half(bytes: &[u8], at: Range<usize>) -> u32 {
    // Callers pass ranges of four bytes, whose value fits.
    word(bytes, at) as u32
}

/// The next multiple of `unit`, a power of two.
pub(crate) fn round_up(value: usize, unit: usize) -> usize {
    (value + unit - 1) & !(unit - 1)
}

/// The open frame of a batch.
pub(crate) fn open_frame(place: Place) -> [u8; FRAME_SIZE] {
    place_frame(OPEN, place)
}

/// The frame at the end of a segment that says in which other one the log goes on; `place.number` is that one's number.
pub(crate) fn goes_on_frame(place: Place) -> [u8; FRAME_SIZE] {
    place_frame(GOES_ON, place)
}

fn place_frame(kind: u8, place: Place) -> [u8; FRAME_SIZE] {
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

/// The number of the batch whose open frame stands at `offset` of a segment with this salt, if one does.
pub(crate) fn opens(segment: &[u8], salt: u64, offset: u64) -> Option<u64> {
    place_frame_at(segment, OPEN, salt, offset)
}

/// The segment that the log goes on in, if a frame at `offset` says so.
pub(crate) fn goes_on(segment: &[u8], salt: u64, offset: u64) -> Option<u64> {
    place_frame_at(segment, GOES_ON, salt, offset)
}

fn place_frame_at(segment: &[u8], kind: u8, salt: u64, offset: u64) -> Option<u64> {
    let frame = frame_at(segment, usize::try_from(offset).ok()?)?;
    let intact = half(frame, CRC) == checksum::of(&frame[CRC.end..FRAME_SIZE]);
    let ours = frame[KIND] == kind && word(frame, SALT) == salt && word(frame, OFFSET) == offset;
    (intact && ours).then(|| word(frame, NUMBER))
}

fn frame_at(segment: &[u8], at: usize) -> Option<&[u8]> {
    segment.get(at..at.checked_add(FRAME_SIZE)?)
}

/// Bytes that a batch takes up, padding included.
pub(crate) fn batch_size(payload_lengths: impl Iterator<Item = usize>) -> usize {
    let records: usize = payload_lengths.map(|length| FRAME_SIZE + round_up(length, 8)).sum();
    round_up(FRAME_SIZE + records + FRAME_SIZE, SECTOR)
}

/// Writes a batch into `into` (which is cleared); answers the chain after it.
///
/// # Errors
/// An entry is larger than the format can say.
pub(crate) fn encode_batch<'a>(
    into: &mut Vec<u8>,
    place: Place,
    entries: impl Iterator<Item = &'a Entry>,
) -> Result<u32, codec::EncodeError> {
    into.clear();
    into.extend_from_slice(&open_frame(place));
    let mut chain = half(into, CRC);
    let mut count = 0u64;
    for entry in entries {
        let (kind, body) = codec::payload_parts(&entry.payload)?;
        let start = into.len();
        let mut head = [0; FRAME_SIZE];
        // `payload_parts` bounds the length far below 2^32.
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
    let start = into.len();
    let mut head = [0; FRAME_SIZE];
    head[NUMBER].copy_from_slice(&place.number.to_le_bytes());
    head[COUNT].copy_from_slice(&count.to_le_bytes());
    head[KIND] = COMMIT;
    into.extend_from_slice(&head);
    chain = seal(&mut into[start..], chain);
    into.resize(round_up(into.len(), SECTOR), 0);
    Ok(chain)
}

fn seal(frame: &mut [u8], previous: u32) -> u32 {
    let crc = checksum::chained(previous, &frame[CRC.end..]);
    frame[CRC].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Reads the batch at `place`. Trusts nothing: a frame counts only if it continues the chain.
///
/// # Errors
/// Where the first frame stands that does not.
pub(crate) fn decode_batch(segment: &[u8], place: Place) -> Result<Batch, Fault> {
    let fault = |at: usize| Fault { offset: at as u64, kind: DamageKind::Checksum };
    let absurd = |at: usize, what| Fault { offset: at as u64, kind: DamageKind::Contents(what) };
    let start = usize::try_from(place.offset).map_err(|_| fault(usize::MAX))?;
    let open = frame_at(segment, start).ok_or(fault(start))?;
    if open != open_frame(place) {
        return Err(fault(start));
    }
    let mut chain = half(open, CRC);
    let mut at = start + FRAME_SIZE;
    let mut entries = Vec::new();
    loop {
        let frame = frame_at(segment, at).ok_or(fault(at))?;
        let length = half(frame, LEN) as usize;
        if length > codec::PAYLOAD_BYTES_MAX {
            return Err(fault(at));
        }
        let end = at + FRAME_SIZE + round_up(length, 8);
        let whole = segment.get(at..end).ok_or(fault(at))?;
        let crc = checksum::chained(chain, &whole[CRC.end..]);
        if crc != half(whole, CRC) {
            return Err(fault(at));
        }
        chain = crc;
        if whole[KIND] == COMMIT {
            if word(whole, NUMBER) != place.number || word(whole, COUNT) != entries.len() as u64 {
                return Err(absurd(at, "a commit frame of another batch"));
            }
            return Ok(Batch { entries, end: round_up(end, SECTOR) as u64, chain });
        }
        // Copied, so that a small entry does not keep a whole segment in memory.
        let body = Bytes::copy_from_slice(&whole[FRAME_SIZE..FRAME_SIZE + length]);
        let payload =
            codec::payload_from(whole[KIND], body).map_err(|_| absurd(at, "a record that this version cannot read"))?;
        entries.push(Entry {
            id: EntryId { term: Term(word(whole, TERM)), index: Index(word(whole, INDEX)) },
            time_ms: word(whole, TIME),
            payload,
        });
        at = end;
    }
}
