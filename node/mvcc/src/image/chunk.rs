//! Owns the chunks of an image. Each chunk has a number, a length and a checksum. Does not own the payload of a chunk (`full`).
//!
//! ```text
//! offset size
//!      0    4  crc32c of the rest of the chunk, header and payload
//!      4    4  number: 0 for the first chunk, one more for each next one
//!      8    4  length of the payload, bytes
//!     12    1  kind
//!     13    .  payload
//! ```

use std::io::{self, Read, Write};
use std::ops::Range;

const CRC: Range<usize> = 0..4;
const NUMBER: Range<usize> = 4..8;
const LENGTH: Range<usize> = 8..12;
const KIND: usize = 12;
pub(super) const HEADER_SIZE: usize = KIND + 1;

/// Maximum number of payload bytes in a chunk that is written or read. It limits the length that a damaged header can claim. A
/// reader allocates memory only as bytes arrive.
pub(super) const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// Writes chunks one at a time. The caller appends to the payload, then finishes the chunk.
pub(super) struct ChunkWriter<W> {
    out: W,
    number: u32,
    chunk: Vec<u8>,
}

impl<W: Write> ChunkWriter<W> {
    pub(super) fn new(out: W) -> Self {
        ChunkWriter { out, number: 0, chunk: vec![0; HEADER_SIZE] }
    }

    /// The payload of the next chunk, to which the caller appends.
    pub(super) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.chunk
    }

    pub(super) fn payload_len(&self) -> usize {
        self.chunk.len() - HEADER_SIZE
    }

    /// Writes the chunk and begins the next chunk. Returns the number of bytes written.
    pub(super) fn finish_chunk(&mut self, kind: u8) -> io::Result<u64> {
        assert!(self.payload_len() <= PAYLOAD_BYTES_MAX, "a chunk is no larger than its reader accepts");
        let length = u32::try_from(self.payload_len()).expect("a payload is at most PAYLOAD_BYTES_MAX");
        self.chunk[NUMBER].copy_from_slice(&self.number.to_le_bytes());
        self.chunk[LENGTH].copy_from_slice(&length.to_le_bytes());
        self.chunk[KIND] = kind;
        let crc = crc32c::crc32c(&self.chunk[CRC.end..]);
        self.chunk[CRC].copy_from_slice(&crc.to_le_bytes());
        self.out.write_all(&self.chunk)?;
        let written = self.chunk.len() as u64;
        self.number = self.number.checked_add(1).ok_or_else(|| io::Error::other("2^32 chunks in one image"))?;
        self.chunk.truncate(HEADER_SIZE);
        debug_assert_eq!(self.payload_len(), 0, "the next chunk begins empty");
        Ok(written)
    }

    pub(super) fn into_inner(self) -> W {
        self.out
    }
}

/// Reads chunks. Reads no byte after the last requested chunk.
pub(super) struct ChunkReader<R> {
    input: R,
    number: u32,
    payload: Vec<u8>,
}

/// Why a chunk was not read.
#[derive(Debug)]
pub(super) enum ChunkError {
    Io(io::Error),
    Truncated { chunk: u32 },
    Damaged { chunk: u32 },
}

impl<R: Read> ChunkReader<R> {
    pub(super) fn new(input: R) -> Self {
        ChunkReader { input, number: 0, payload: Vec::new() }
    }

    /// Number of the chunk that was read last; 0 before the first chunk.
    pub(super) fn number(&self) -> u32 {
        self.number.saturating_sub(1)
    }

    /// Reads and checks one chunk. Returns the kind and the payload of the chunk.
    pub(super) fn next_chunk(&mut self) -> Result<(u8, &[u8]), ChunkError> {
        let chunk = self.number;
        let mut header = [0; HEADER_SIZE];
        self.input.read_exact(&mut header).map_err(|error| io_error(error, chunk))?;
        let word = |range: Range<usize>| u32::from_le_bytes(header[range].try_into().expect("4 bytes"));
        let length = word(LENGTH) as usize;
        if word(NUMBER) != chunk || length > PAYLOAD_BYTES_MAX {
            return Err(ChunkError::Damaged { chunk });
        }
        self.payload.clear();
        let read = (&mut self.input).take(length as u64).read_to_end(&mut self.payload);
        if read.map_err(|error| io_error(error, chunk))? < length {
            return Err(ChunkError::Truncated { chunk });
        }
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[CRC.end..]), &self.payload);
        if crc != word(CRC) {
            return Err(ChunkError::Damaged { chunk });
        }
        self.number = self.number.wrapping_add(1);
        Ok((header[KIND], &self.payload))
    }
}

fn io_error(error: io::Error, chunk: u32) -> ChunkError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ChunkError::Truncated { chunk },
        _ => ChunkError::Io(error),
    }
}
