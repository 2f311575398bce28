//! Reads a snapshot. Owns one open file, and the rule that a reader returns only bytes whose checksum was verified.

use std::io;
use std::path::{Path, PathBuf};

use bytes::{Buf, Bytes};
use raft::MemberId;

use crate::checksum;
use crate::codec::DecodeError;
use crate::disk::{Disk, DiskFile, read_exact_at};
use crate::error::{Damage, DamageKind, Failure, Newer, StorageError};
use crate::snapshot::format::{FIXED_SIZE, Header, TRAILER_SIZE, Trailer, VERSION};
use crate::snapshot::info::{SnapshotError, SnapshotInfo};

/// An open snapshot, read from its start in chunks.
#[derive(Debug)]
pub struct SnapshotReader {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    info: SnapshotInfo,
    trailer: Trailer,
    payload_offset: u64,
    /// Number of the next chunk.
    next: usize,
    /// Verified bytes that [`io::Read`] has not returned yet.
    rest: Bytes,
}

impl SnapshotReader {
    pub(super) fn open(disk: &dyn Disk, path: &Path, member: MemberId) -> Result<Self, SnapshotError> {
        let damaged = |offset, kind| SnapshotError::Damaged(Damage { path: path.to_owned(), offset, kind });
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::UnexpectedEof => damaged(0, DamageKind::Checksum),
            _ => StorageError::Refused(Failure::of("read", path)(e)).into(),
        };
        let file = disk.open(path).map_err(failed)?;
        let size = file.size().map_err(failed)?;

        let mut fixed = [0; FIXED_SIZE];
        read_exact_at(&*file, 0, &mut fixed).map_err(failed)?;
        let header_size = Header::size(&fixed).ok_or_else(|| damaged(0, DamageKind::Checksum))?;
        let mut header = vec![0; header_size];
        read_exact_at(&*file, 0, &mut header).map_err(failed)?;
        let header_crc = Header::crc(&header);
        if !Header::is_intact(&header) {
            return Err(damaged(0, DamageKind::Checksum));
        }
        let newer = |what, found| SnapshotError::TooNew(Newer { path: path.to_owned(), what, found });
        let version = Header::version(&fixed);
        if version != VERSION {
            return Err(newer("format version", version));
        }
        let header = Header::decode(&header).map_err(|reason| match reason {
            DecodeError::Unknown { what, found } => newer(what, u32::from(found)),
            reason => damaged(0, DamageKind::undecodable("a snapshot header", reason)),
        })?;
        if header.member != member {
            return Err(damaged(0, DamageKind::Foreign));
        }

        let mut fixed = [0; TRAILER_SIZE];
        let end = size.saturating_sub(TRAILER_SIZE as u64);
        read_exact_at(&*file, end, &mut fixed).map_err(failed)?;
        // The lengths are compared before they are trusted: a damaged trailer may claim a table as long as the file.
        let payload_offset = Header::payload_offset(header_size);
        let start = Trailer::lengths(&fixed)
            .and_then(|(payload, table)| Some((payload_offset.checked_add(payload)?, table)))
            .filter(|(start, table)| start.checked_add(*table) == Some(end));
        let (start, _) = start.ok_or_else(|| damaged(end, DamageKind::Checksum))?;
        // There are four bytes for each chunk of the payload.
        let mut bytes = vec![0; (size - start) as usize];
        read_exact_at(&*file, start, &mut bytes).map_err(failed)?;
        let trailer = Trailer::decode(&bytes).map_err(|_| damaged(end, DamageKind::Checksum))?;
        if trailer.header_crc != header_crc {
            return Err(damaged(end, DamageKind::Contents("a trailer of another snapshot")));
        }
        let Header { origin, meta, .. } = header;
        let info = SnapshotInfo { meta, bytes: trailer.payload_bytes, crc32c: trailer.payload_crc, origin };
        Ok(Self { file, path: path.to_owned(), info, trailer, payload_offset, next: 0, rest: Bytes::new() })
    }

    /// Description of the snapshot.
    #[must_use]
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// Reads and verifies the next chunk of the payload. Returns `None` at the end of the payload.
    ///
    /// # Errors
    /// Returns [`SnapshotError`] if the chunk cannot be read or is damaged.
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let Some(&expected) = self.trailer.chunks.get(self.next) else { return Ok(None) };
        let chunk_bytes = u64::from(self.trailer.chunk_bytes);
        let from = self.next as u64 * chunk_bytes;
        // The cast loses nothing, because the length of a chunk is a u32.
        let mut chunk = vec![0; (self.trailer.payload_bytes - from).min(chunk_bytes) as usize];
        let offset = self.payload_offset + from;
        let read = read_exact_at(&*self.file, offset, &mut chunk);
        read.map_err(|e| StorageError::Refused(Failure::of("read", &self.path)(e)))?;
        if checksum::of(&chunk) != expected {
            let damage = Damage { path: self.path.clone(), offset, kind: DamageKind::Checksum };
            return Err(SnapshotError::Damaged(damage));
        }
        self.next += 1;
        Ok(Some(chunk.into()))
    }
}

impl io::Read for SnapshotReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            match self.next_chunk() {
                Ok(Some(chunk)) => self.rest = chunk,
                Ok(None) => return Ok(0),
                Err(e) => return Err(io::Error::new(io::ErrorKind::InvalidData, e)),
            }
        }
        let length = into.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}
