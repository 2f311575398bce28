//! Bytes around a snapshot's payload: a header before the payload, and checksums after it. Owns the layout of header
//! and checksums. Does not own any file (`read.rs`, `write.rs`).
//!
//! ```text
//! offset size  header, padded with zeros to a multiple of 4096
//!      0    8  "RAFTSNAP"
//!      8    4  crc32c of everything from 12 to the end of the meta
//!     12    4  format version, 1
//!     16    8  ID of the member that wrote the file
//!     24    1  origin: 1 taken, 2 received
//!     25    3  0
//!     28    4  length of the meta
//!     32       meta, as in `codec`
//!
//!              payload
//!
//!           4  crc32c of each chunk of the payload; a chunk is 1 MiB, the last one may be shorter
//!              trailer, the file's last 32 bytes:
//!      0    8  payload bytes
//!      8    4  chunk bytes
//!     12    4  crc32c of the payload
//!     16    4  the header's crc32c
//!     20    4  crc32c of the chunks' checksums and bytes 0..20
//!     24    8  "SNAPDONE"
//! ```

use std::ops::Range;

use bytes::Bytes;
use raft::{MemberId, SnapshotMeta};

use crate::checksum;
use crate::codec::{DecodeError, EncodeError, Reader, put_snapshot_meta};
use crate::disk::SECTOR;
use crate::snapshot::info::SnapshotOrigin;

/// Number of payload bytes that one checksum covers.
pub const CHUNK_BYTES: usize = 1024 * 1024;
const _: () =
    assert!(0 < CHUNK_BYTES && CHUNK_BYTES <= u32::MAX as usize, "the trailer holds the chunk's length as u32");

const MAGIC: &[u8; 8] = b"RAFTSNAP";
const DONE: &[u8; 8] = b"SNAPDONE";
pub(super) const VERSION: u32 = 1;
const CRC: Range<usize> = 8..12;
/// Number of bytes of the header before the meta.
pub(super) const FIXED_SIZE: usize = 32;
const _: () = assert!(MAGIC.len() == CRC.start && CRC.end + 4 + 8 + 1 + 3 + 4 == FIXED_SIZE, "the fields leave no gap");
/// The payload starts at a multiple of this number of bytes.
pub(super) const HEADER_ALIGN: usize = 4096;
const _: () = assert!(HEADER_ALIGN.is_multiple_of(SECTOR), "header and payload share no sector");
/// Number of bytes of the trailer, which follows the chunks' checksums.
pub(super) const TRAILER_SIZE: usize = 32;
/// Number of bytes of the trailer that the trailer's checksum covers.
const TRAILER_SUMMED: usize = 20;
const _: () = assert!(TRAILER_SUMMED == 8 + 3 * 4, "the fields leave no gap");
const _: () = assert!(TRAILER_SUMMED + 4 + DONE.len() == TRAILER_SIZE, "the fields leave no gap");
/// Maximum number of bytes of a meta that is read or written.
const META_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The header before the payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) member: MemberId,
    pub(super) origin: SnapshotOrigin,
    pub(super) meta: SnapshotMeta,
}

impl Header {
    pub(super) fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut meta = Vec::new();
        put_snapshot_meta(&mut meta, &self.meta)?;
        if meta.len() > META_BYTES_MAX {
            return Err(EncodeError::TooLarge("snapshot meta"));
        }
        let mut bytes = Vec::new();
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.member.0.to_le_bytes());
        let origin: u8 = match self.origin {
            SnapshotOrigin::Taken => 1,
            SnapshotOrigin::Received => 2,
        };
        bytes.extend_from_slice(&[origin, 0, 0, 0]);
        bytes.extend_from_slice(&(meta.len() as u32).to_le_bytes());
        debug_assert_eq!(bytes.len(), FIXED_SIZE, "the meta stands where readers expect it");
        bytes.extend_from_slice(&meta);
        let crc = checksum::of(&bytes[CRC.end..]);
        bytes[CRC].copy_from_slice(&crc.to_le_bytes());
        debug_assert_eq!(Self::decode(&bytes).as_ref(), Ok(self), "a snapshot header reads back as it was written");
        bytes.resize(bytes.len().next_multiple_of(HEADER_ALIGN), 0);
        Ok(bytes)
    }

    /// Length of the header including the meta, read from the header's fixed part; `None` if the bytes are not the
    /// start of a snapshot.
    pub(super) fn size(fixed: &[u8; FIXED_SIZE]) -> Option<usize> {
        let mut length = [0; 4];
        length.copy_from_slice(&fixed[FIXED_SIZE - 4..]);
        let length = u32::from_le_bytes(length) as usize;
        (fixed.starts_with(MAGIC) && length <= META_BYTES_MAX).then_some(FIXED_SIZE + length)
    }

    /// Format version, read from the header's fixed part.
    pub(super) fn version(fixed: &[u8; FIXED_SIZE]) -> u32 {
        let mut version = [0; 4];
        version.copy_from_slice(&fixed[CRC.end..CRC.end + 4]);
        u32::from_le_bytes(version)
    }

    /// Offset of the payload in the file. `size` is the length of the header including the meta.
    pub(super) fn payload_offset(size: usize) -> u64 {
        size.next_multiple_of(HEADER_ALIGN) as u64
    }

    /// Checksum of the header. The trailer repeats this checksum.
    pub(super) fn crc(header: &[u8]) -> u32 {
        let mut crc = [0; 4];
        crc.copy_from_slice(&header[CRC]);
        u32::from_le_bytes(crc)
    }

    /// Returns whether the checksum of a header including the meta matches. Every version has the checksum at the same
    /// place.
    pub(super) fn is_intact(header: &[u8]) -> bool {
        header.len() >= FIXED_SIZE && Self::crc(header) == checksum::of(&header[CRC.end..])
    }

    /// Decodes a header including the meta. `header` must not include the padding.
    pub(super) fn decode(header: &[u8]) -> Result<Self, DecodeError> {
        if !Self::is_intact(header) {
            return Err(DecodeError::Malformed("snapshot header"));
        }
        let mut reader = Reader::new(Bytes::copy_from_slice(&header[CRC.end + 4..]));
        let member = MemberId(reader.u64()?);
        let origin = match reader.u8()? {
            1 => SnapshotOrigin::Taken,
            2 => SnapshotOrigin::Received,
            found => return Err(DecodeError::Unknown { what: "snapshot origin", found }),
        };
        reader.bytes(3 + 4)?;
        let meta = reader.snapshot_meta()?;
        reader.finish()?;
        Ok(Self { member, origin, meta })
    }
}

/// The checksums after the payload.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trailer {
    pub(super) payload_bytes: u64,
    pub(super) chunk_bytes: u32,
    pub(super) payload_crc: u32,
    pub(super) header_crc: u32,
    pub(super) chunks: Vec<u32>,
}

impl Trailer {
    pub(super) fn encode(&self) -> Vec<u8> {
        self.every_chunk_has_a_checksum();
        let mut bytes = Vec::with_capacity(self.chunks.len() * 4 + TRAILER_SIZE);
        for crc in &self.chunks {
            bytes.extend_from_slice(&crc.to_le_bytes());
        }
        bytes.extend_from_slice(&self.payload_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.chunk_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.payload_crc.to_le_bytes());
        bytes.extend_from_slice(&self.header_crc.to_le_bytes());
        let crc = checksum::of(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(DONE);
        debug_assert_eq!(Self::decode(&bytes).as_ref(), Ok(self), "a trailer reads back as it was written");
        bytes
    }

    /// Asserts that every chunk has a checksum. Otherwise a reader could return unverified bytes.
    fn every_chunk_has_a_checksum(&self) {
        assert_ne!(self.chunk_bytes, 0, "a chunk holds bytes");
        assert_eq!(
            self.chunks.len() as u64,
            self.payload_bytes.div_ceil(u64::from(self.chunk_bytes)),
            "a trailer has one checksum for each chunk of {} payload bytes",
            self.payload_bytes
        );
    }

    /// Number of bytes of the payload, and of all chunk checksums, read from the file's last bytes; `None` if the last bytes are
    /// not a trailer. No checksum was compared.
    pub(super) fn lengths(fixed: &[u8; TRAILER_SIZE]) -> Option<(u64, u64)> {
        let mut reader = Reader::new(Bytes::copy_from_slice(fixed));
        let payload_bytes = reader.u64().ok()?;
        let chunk_bytes = reader.u32().ok()?;
        if chunk_bytes == 0 || !fixed.ends_with(DONE) {
            return None;
        }
        Some((payload_bytes, payload_bytes.div_ceil(u64::from(chunk_bytes)).checked_mul(4)?))
    }

    /// Decodes the chunks' checksums and the trailer that follows them.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let malformed = DecodeError::Malformed("snapshot trailer");
        let table = bytes.len().checked_sub(TRAILER_SIZE).ok_or(malformed)?;
        let mut reader = Reader::new(Bytes::copy_from_slice(bytes));
        let chunks = (0..table / 4).map(|_| reader.u32()).collect::<Result<Vec<_>, _>>()?;
        let trailer = Self {
            chunks,
            payload_bytes: reader.u64()?,
            chunk_bytes: reader.u32()?,
            payload_crc: reader.u32()?,
            header_crc: reader.u32()?,
        };
        if reader.u32()? != checksum::of(&bytes[..table + TRAILER_SUMMED]) {
            return Err(malformed);
        }
        Ok(trailer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trailer(payload_bytes: u64, chunks: usize) -> Trailer {
        Trailer { payload_bytes, chunk_bytes: 1000, payload_crc: 1, header_crc: 2, chunks: vec![7; chunks] }
    }

    #[test]
    fn a_trailer_covers_its_last_short_chunk() {
        let bytes = trailer(2001, 3).encode();
        assert_eq!(bytes.len(), 3 * 4 + TRAILER_SIZE);
        trailer(0, 0).encode();
    }

    #[test]
    #[should_panic(expected = "one checksum for each chunk of 2001 payload bytes")]
    fn a_planted_chunk_without_a_checksum_is_caught() {
        trailer(2001, 2).encode();
    }

    #[test]
    #[should_panic(expected = "one checksum for each chunk of 2000 payload bytes")]
    fn a_planted_checksum_without_a_chunk_is_caught() {
        trailer(2000, 3).encode();
    }
}
