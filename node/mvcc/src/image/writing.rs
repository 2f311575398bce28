//! Owns the parts of writing that all formats share: the versions, in chunks, and their totals. Does not own the layout
//! of a format (`full`, `sections`).

use std::io::{self, Write};

use super::chunk::{ChunkWriter, PAYLOAD_BYTES_MAX};
use super::error::WriteError;
use super::loading::{are_revisions_sound, check_version};
use super::summary::{ImageSummary, MAGIC};
use crate::hash::{self, Hasher};
use crate::key_value::KeyValue;
use crate::keyspace::Keyspace;
use crate::revision::{FullRevision, Revision};
use crate::sequence::Place;

/// A chunk is closed when its payload reaches this many bytes.
pub(super) const CHUNK_BYTES: usize = 256 << 10;
/// Upper bound on the bytes that any format adds to a KeyValue.
const VERSION_HEADER_SIZE_MAX: usize = 64;

const _: () = assert!(CHUNK_BYTES < PAYLOAD_BYTES_MAX, "a chunk is closed long before it is too large");

/// An image that is being written.
pub(super) struct Writing<'a, W> {
    space: &'a Keyspace,
    applied_index: u64,
    chunks: ChunkWriter<W>,
    image_bytes: u64,
    version_count: u64,
    version_bytes: u64,
    hash: u32,
}

impl<'a, W: Write> Writing<'a, W> {
    /// Begins an image whose magic is written. The next chunk holds the fields with which the header of every format
    /// begins.
    pub(super) fn begin(space: &'a Keyspace, applied_index: u64, version: u16, out: W) -> Self {
        debug_assert!(
            are_revisions_sound(space),
            "an image holds only what its reader accepts: revision and compaction mark"
        );
        let mut chunks = ChunkWriter::new(out);
        let header = chunks.payload();
        header.extend_from_slice(&version.to_le_bytes());
        header.extend_from_slice(&applied_index.to_le_bytes());
        header.extend_from_slice(&space.revision.0.to_le_bytes());
        header.extend_from_slice(&space.compacted.0.to_le_bytes());
        header.extend_from_slice(&space.time_ms.to_le_bytes());
        let image_bytes = MAGIC.len() as u64;
        Writing { space, applied_index, chunks, image_bytes, version_count: 0, version_bytes: 0, hash: 0 }
    }

    /// The payload of the next chunk, to which the caller appends.
    pub(super) fn payload(&mut self) -> &mut Vec<u8> {
        self.chunks.payload()
    }

    /// Appends the alarms to the next chunk.
    pub(super) fn put_alarms(&mut self) -> Result<(), WriteError> {
        let payload = self.chunks.payload();
        payload.extend_from_slice(&(self.space.alarms.len() as u32).to_le_bytes());
        for alarm in self.space.alarms.iter() {
            payload.push(alarm.kind.code());
            payload.extend_from_slice(&alarm.member.to_le_bytes());
        }
        if self.chunks.payload_len() > PAYLOAD_BYTES_MAX {
            return Err(WriteError::TooManyAlarms { alarms: self.space.alarms.len() });
        }
        Ok(())
    }

    pub(super) fn finish_chunk(&mut self, kind: u8) -> io::Result<()> {
        self.image_bytes += self.chunks.finish_chunk(kind)?;
        Ok(())
    }

    /// Finishes the next chunk if its payload has reached the size of a chunk.
    pub(super) fn finish_full_chunk(&mut self, kind: u8) -> io::Result<bool> {
        let is_full = self.chunks.payload_len() >= CHUNK_BYTES;
        if is_full {
            self.finish_chunk(kind)?;
        }
        Ok(is_full)
    }

    /// Finishes the next chunk if its payload is not empty.
    pub(super) fn finish_started_chunk(&mut self, kind: u8) -> io::Result<bool> {
        let is_started = self.chunks.payload_len() > 0;
        if is_started {
            self.finish_chunk(kind)?;
        }
        Ok(is_started)
    }

    /// Writes every version that compaction keeps, in revision order, each as `put` appends it. Returns the number of
    /// chunks.
    pub(super) fn put_versions(
        &mut self,
        kind: u8,
        mut put: impl FnMut(&mut Vec<u8>, Place, &KeyValue),
    ) -> Result<u32, WriteError> {
        let space = self.space;
        let mut hasher = Hasher::new(space, space.revision);
        let mut newest = FullRevision { main: Revision(0), sub: 0 };
        let mut chunks = 0;
        for (place, version) in space.surviving_versions() {
            hasher.add(place, version);
            let bytes = version.encoded().len();
            if bytes > PAYLOAD_BYTES_MAX - CHUNK_BYTES - VERSION_HEADER_SIZE_MAX {
                return Err(WriteError::VersionTooLarge { bytes, revision: version.main() });
            }
            debug_assert!(
                version.revision() > newest && version.main() <= space.revision && is_sound(version),
                "an image holds only what its reader accepts: {version:?} after {newest:?}"
            );
            newest = version.revision();
            put(self.chunks.payload(), place, version);
            self.version_count += 1;
            self.version_bytes += bytes as u64;
            chunks += u32::from(self.finish_full_chunk(kind)?);
        }
        chunks += u32::from(self.finish_started_chunk(kind)?);
        debug_assert!(
            space.removal.is_some() || self.version_count == space.history.len() as u64,
            "an image holds every version that compaction keeps"
        );
        self.hash = hasher.finish();
        debug_assert_eq!(self.hash, hash::of_all(space), "an image names the hash of its content");
        Ok(chunks)
    }

    /// Appends the fields with which the end of every format begins to the next chunk.
    pub(super) fn put_totals(&mut self) {
        let payload = self.chunks.payload();
        payload.extend_from_slice(&self.version_count.to_le_bytes());
        payload.extend_from_slice(&self.version_bytes.to_le_bytes());
        payload.extend_from_slice(&self.hash.to_le_bytes());
    }

    /// Finishes the last chunk and the image.
    pub(super) fn finish(mut self, kind: u8) -> Result<ImageSummary, WriteError> {
        self.finish_chunk(kind)?;
        self.chunks.into_inner().flush()?;
        Ok(ImageSummary {
            applied_index: self.applied_index,
            revision: self.space.revision,
            compact_revision: self.space.compacted,
            time_ms: self.space.time_ms,
            version_count: self.version_count,
            hash: self.hash,
            image_bytes: self.image_bytes,
        })
    }
}

/// Returns whether a reader of the image would accept the version.
fn is_sound(version: &KeyValue) -> bool {
    check_version(&version.fields(), version.revision(), version.is_tombstone()).is_ok()
}
