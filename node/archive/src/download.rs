//! Getting a backup out of the bucket, with every byte checked on the way. Owns requests in flight and checks, not what the
//! bytes mean.

use std::io::{self, Read};
use std::ops::Range;

use bytes::{Buf, Bytes};
use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::error::ArchiveError;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, hex};
use crate::progress::Progress;
use crate::store::Access;

/// Chunks asked for at once.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Reads a manifest and checks it against itself.
pub(super) async fn read_manifest(
    access: &Access,
    store: &dyn ObjectStore,
    key: &Path,
) -> Result<Manifest, ArchiveError> {
    let answered = |error| access.answered(&error);
    let found = store.get(key).await.map_err(answered)?;
    if found.meta.size > MANIFEST_BYTES_MAX {
        return Err(ArchiveError::corrupt(key.as_ref(), format!("{} bytes are no manifest", found.meta.size)));
    }
    Manifest::decode(key.as_ref(), &found.bytes().await.map_err(answered)?)
}

/// Fetches the image that a manifest names, and hands it on in order, chunk by chunk. When it answers, all of it was sent
/// and is what was backed up.
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
    // Owned arguments: with borrowed ones the compiler cannot tell that the whole may move between threads.
    let fetches = ranges.map(|(range, crc): (Range<u64>, String)| fetch_chunk(access, store, key, range, crc));
    let mut chunks = futures::stream::iter(fetches).buffered(CHUNKS_IN_FLIGHT);
    let mut sha256 = Sha256::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        sha256.update(&chunk);
        progress.add(chunk.len() as u64);
        if to.send(chunk).await.is_err() {
            return Err(ArchiveError::corrupt(key.as_ref(), "the image ends before its object does"));
        }
    }
    if hex(&sha256.finalize()) != manifest.sha256 {
        return Err(ArchiveError::corrupt(key.as_ref(), "its SHA-256 is not the one in the manifest"));
    }
    Ok(())
}

fn ranges(size: u64, chunk: u64) -> impl Iterator<Item = Range<u64>> {
    (0..size.div_ceil(chunk)).map(move |number| number * chunk..((number + 1) * chunk).min(size))
}

/// Fetches one chunk; a second time if what came does not match, as it may have been hurt on the way only.
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

/// A range behind the end of an object is refused, which means that the object was cut off.
fn shortened(access: &Access, key: &Path, error: &object_store::Error) -> ArchiveError {
    match access.answered(error) {
        ArchiveError::StoreRefused { reason } if reason.contains("416") || reason.contains("range") => {
            ArchiveError::corrupt(key.as_ref(), format!("it is shorter than its manifest says ({reason})"))
        }
        ArchiveError::BackupNotFound { key } => {
            ArchiveError::corrupt(&key, "the manifest names this object, and it is not there")
        }
        other => other,
    }
}

/// Reads what arrives in chunks. Blocks.
pub(super) struct Arriving {
    from: mpsc::Receiver<Bytes>,
    rest: Bytes,
}

impl Arriving {
    pub(super) fn new(from: mpsc::Receiver<Bytes>) -> Self {
        Self { from, rest: Bytes::new() }
    }
}

impl Read for Arriving {
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
    fn ranges_cover_an_object_once() {
        let all: Vec<_> = ranges(10, 4).collect();
        assert_eq!(all, [0..4, 4..8, 8..10]);
        assert_eq!(ranges(8, 4).count(), 2);
        assert_eq!(ranges(0, 4).count(), 0);
    }
}
