//! Download of a backup, with checks of every byte. Owns the requests in flight and the checks. Does not own the
//! meaning of the bytes (`mvcc::image`).

use std::io::{self, Read};
use std::ops::Range;

use bytes::{Buf, Bytes};
use futures::StreamExt as _;
use mvcc::FeatureLevel;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::error::ArchiveError;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, hex};
use crate::progress::Progress;
use crate::store::Access;

/// Number of chunks requested at the same time.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Reads a manifest and verifies its checksum. `supports` is the highest feature level of which this program can read a backup.
///
/// # Errors
/// Returns an error if the manifest cannot be read, is damaged, or is of a higher level.
pub(super) async fn read_manifest(
    access: &Access,
    store: &dyn ObjectStore,
    key: &Path,
    supports: FeatureLevel,
) -> Result<Manifest, ArchiveError> {
    let interpret = |error| access.interpret(&error);
    let found = store.get(key).await.map_err(interpret)?;
    if found.meta.size > MANIFEST_BYTES_MAX {
        return Err(ArchiveError::corrupt(
            key.as_ref(),
            format!("{} bytes are too many for a manifest", found.meta.size),
        ));
    }
    Manifest::decode(key.as_ref(), &found.bytes().await.map_err(interpret)?, supports)
}

/// Fetches the image that a manifest names, and sends its chunks to `to` in order. On success, all chunks were sent,
/// and every chunk matches its checksum in the manifest.
///
/// # Errors
/// Returns why the image was not fetched. Some chunks may have been sent already; the receiver must not use them.
pub(super) async fn fetch_image(
    access: &Access,
    store: &dyn ObjectStore,
    key: &Path,
    manifest: &Manifest,
    to: mpsc::Sender<Bytes>,
    progress: &Progress,
) -> Result<(), ArchiveError> {
    progress.begin(manifest.size_bytes);
    let ranges = ranges(manifest.size_bytes, manifest.chunk_bytes).zip(manifest.chunk_crc32c.clone());
    // The arguments are owned, because with borrowed arguments the compiler cannot prove that the future is `Send`.
    let fetches = ranges.map(|(range, crc): (Range<u64>, String)| fetch_chunk(access, store, key, range, crc));
    let mut chunks = futures::stream::iter(fetches).buffered(CHUNKS_IN_FLIGHT);
    let mut sha256 = Sha256::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        sha256.update(&chunk);
        progress.add(chunk.len() as u64);
        if to.send(chunk).await.is_err() {
            return Err(ArchiveError::corrupt(key.as_ref(), "the object is longer than the image in it"));
        }
    }
    if hex(&sha256.finalize()) != manifest.sha256 {
        return Err(ArchiveError::corrupt(key.as_ref(), "its SHA-256 differs from the one in the manifest"));
    }
    Ok(())
}

fn ranges(size: u64, chunk: u64) -> impl Iterator<Item = Range<u64>> {
    (0..size.div_ceil(chunk)).map(move |number| number * chunk..((number + 1) * chunk).min(size))
}

/// Fetches one chunk. If its checksum does not match, fetches it once more, because the chunk may have been damaged
/// only in transit.
async fn fetch_chunk(
    access: &Access,
    store: &dyn ObjectStore,
    key: &Path,
    range: Range<u64>,
    crc: String,
) -> Result<Bytes, ArchiveError> {
    for _ in 0..2 {
        let chunk = store.get_range(key, range.clone()).await.map_err(|error| shortened(access, key, &error))?;
        if chunk.len() as u64 == range.end - range.start && format!("{:08x}", crc32c::crc32c(&chunk)) == crc {
            return Ok(chunk);
        }
    }
    let Range { start, end } = range;
    Err(ArchiveError::corrupt(key.as_ref(), format!("bytes {start} to {end} do not match their checksum")))
}

/// Interprets an error of a ranged read. A refused range means that the object is too short. A missing object means
/// that the object was deleted. In both cases the backup is damaged.
fn shortened(access: &Access, key: &Path, error: &object_store::Error) -> ArchiveError {
    match access.interpret(error) {
        ArchiveError::StoreRefused { reason } if reason.contains("416") || reason.contains("range") => {
            ArchiveError::corrupt(key.as_ref(), format!("it is shorter than its manifest says ({reason})"))
        }
        ArchiveError::BackupNotFound { key } => {
            ArchiveError::corrupt(&key, "the manifest names this object, which does not exist")
        }
        other => other,
    }
}

/// Blocking reader of the chunks that are sent to it.
pub(super) struct ChunkReader {
    from: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl ChunkReader {
    pub(super) fn new(from: mpsc::Receiver<Bytes>) -> Self {
        Self { from, rest: Bytes::new() }
    }
}

impl Read for ChunkReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.from.blocking_recv() {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let length = into.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut into[..length]);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn ranges_cover_an_object_exactly_once() {
        let all: Vec<_> = ranges(10, 4).collect();
        assert_eq!(all, [0..4, 4..8, 8..10]);
        assert_eq!(ranges(8, 4).count(), 2);
        assert_eq!(ranges(0, 4).count(), 0);
    }
}
