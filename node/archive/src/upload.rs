//! Getting an image into the bucket: made twice, once to know its name and sums, once to send it, so that it needs neither
//! disk nor memory of its size. Owns parts in flight, and the end of an upload that does not finish.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use mvcc::View;
use mvcc::image::ImageSummary;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::ArchiveError;
use crate::manifest::{CHUNK_BYTES, hex};
use crate::progress::Progress;
use crate::store::Access;

/// Bytes of a part; all but the last are as large, as some stores demand. 10,000 of them are possible.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Parts on their way at once. With one being filled and one waiting, this bounds the memory of a backup.
const PARTS_IN_FLIGHT: usize = 2;
/// How long an upload that failed is waited for: for its parts on their way, and for the store to forget it.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of an image before it is sent.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    pub(super) summary: ImageSummary,
    pub(super) sha256: String,
    pub(super) chunk_crc32c: Vec<String>,
}

/// Sums up what is written and forgets it.
struct Summer {
    sha256: Sha256,
    chunks: Vec<String>,
    crc: u32,
    in_chunk: u64,
}

impl Summer {
    fn end_chunk(&mut self) {
        self.chunks.push(format!("{:08x}", self.crc));
        self.crc = 0;
        self.in_chunk = 0;
    }
}

impl Write for Summer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // At most a chunk, so it fits.
        let room = (CHUNK_BYTES - self.in_chunk) as usize;
        let now = &bytes[..bytes.len().min(room)];
        self.sha256.update(now);
        self.crc = crc32c::crc32c_append(self.crc, now);
        self.in_chunk += now.len() as u64;
        if self.in_chunk == CHUNK_BYTES {
            self.end_chunk();
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sums up the image of a view. Blocks.
pub(super) fn sum(view: &View, applied: u64) -> Result<Sums, ArchiveError> {
    let mut summer = Summer { sha256: Sha256::new(), chunks: Vec::new(), crc: 0, in_chunk: 0 };
    let summary = mvcc::image::write(view, applied, &mut summer).map_err(ArchiveError::member)?;
    if summer.in_chunk > 0 {
        summer.end_chunk();
    }
    Ok(Sums { summary, sha256: hex(&summer.sha256.finalize()), chunk_crc32c: summer.chunks })
}

/// Hands on what is written in parts.
struct Parts {
    to: mpsc::Sender<Bytes>,
    part: Vec<u8>,
}

impl Parts {
    fn send(&mut self) -> io::Result<()> {
        let part = std::mem::take(&mut self.part);
        self.to.blocking_send(part.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Parts {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let now = &bytes[..bytes.len().min(PART_BYTES - self.part.len())];
        self.part.extend_from_slice(now);
        if self.part.len() == PART_BYTES {
            self.send()?;
        }
        Ok(now.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the image of a view and sends it to `to`, which exists whole or not at all afterwards.
pub(super) async fn send(
    access: &Access,
    store: &dyn ObjectStore,
    to: &Path,
    view: View,
    sums: &Sums,
    progress: &Progress,
) -> Result<(), ArchiveError> {
    progress.begin(sums.summary.image_bytes);
    let (sender, mut parts) = mpsc::channel(1);
    let applied = sums.summary.applied_index;
    let writer = tokio::task::spawn_blocking(move || {
        let mut parts = Parts { to: sender, part: Vec::new() };
        let summary = mvcc::image::write(&view, applied, &mut parts)?;
        if !parts.part.is_empty() {
            parts.send()?;
        }
        Ok::<_, mvcc::image::WriteError>(summary)
    });
    let first = parts.recv().await.unwrap_or_default();
    let sent = if sums.summary.image_bytes <= PART_BYTES as u64 {
        send_whole(access, store, to, first, progress).await
    } else {
        send_parts(access, store, to, first, &mut parts, progress).await
    };
    // Ends the writer if it still writes.
    drop(parts);
    let written = writer.await.map_err(ArchiveError::member)?;
    sent?;
    let summary = written.map_err(ArchiveError::member)?;
    if summary != sums.summary {
        return Err(ArchiveError::member("a view made two different images"));
    }
    Ok(())
}

async fn send_whole(
    access: &Access,
    store: &dyn ObjectStore,
    to: &Path,
    image: Bytes,
    progress: &Progress,
) -> Result<(), ArchiveError> {
    let bytes = image.len() as u64;
    // Its name tells its content: to write it again is to write the same.
    store.put(to, image.into()).await.map_err(|error| access.answered(&error))?;
    progress.add(bytes);
    Ok(())
}

async fn send_parts(
    access: &Access,
    store: &dyn ObjectStore,
    to: &Path,
    first: Bytes,
    parts: &mut mpsc::Receiver<Bytes>,
    progress: &Progress,
) -> Result<(), ArchiveError> {
    let answered = |error| access.answered(&error);
    let mut upload = Upload::new(store.put_multipart(to).await.map_err(answered)?);
    let sent = async {
        let mut next = Some(first);
        loop {
            if let Some(part) = next.take() {
                upload.begin(part)?;
                next = parts.recv().await;
            }
            let must_wait = upload.in_flight.len() >= PARTS_IN_FLIGHT || next.is_none();
            match if must_wait { upload.in_flight.join_next().await } else { None } {
                Some(arrived) => progress.add(arrived.map_err(ArchiveError::member)?.map_err(answered)?),
                None if next.is_none() => break,
                None => {}
            }
        }
        upload.target()?.complete().await.map_err(answered)?;
        Ok(())
    }
    .await;
    match sent {
        Ok(()) => upload.completed(),
        Err(_) => upload.abort().await,
    }
    sent
}

/// Parts on their way; each ends with its bytes.
type InFlight = JoinSet<object_store::Result<u64>>;

/// An upload that the store is asked to forget unless it is completed, also when nobody waits for it any more.
struct Upload {
    target: Option<Box<dyn MultipartUpload>>,
    in_flight: InFlight,
}

impl Upload {
    fn new(upload: Box<dyn MultipartUpload>) -> Self {
        Self { target: Some(upload), in_flight: JoinSet::new() }
    }

    fn target(&mut self) -> Result<&mut Box<dyn MultipartUpload>, ArchiveError> {
        self.target.as_mut().ok_or_else(|| ArchiveError::member("the upload has ended"))
    }

    fn begin(&mut self, part: Bytes) -> Result<(), ArchiveError> {
        let bytes = part.len() as u64;
        let arrival = self.target()?.put_part(part.into());
        self.in_flight.spawn(async move { arrival.await.map(|()| bytes) });
        Ok(())
    }

    fn completed(&mut self) {
        self.target = None;
    }

    /// Best effort: what stays goes by the bucket's own rule for unfinished uploads.
    async fn abort(&mut self) {
        if let Some(target) = self.target.take() {
            forget(target, std::mem::take(&mut self.in_flight)).await;
        }
    }
}

/// Asks the store to forget an upload, once no part of it is on its way any more: some stores keep a part for ever that
/// arrives after they forgot its upload.
async fn forget(mut target: Box<dyn MultipartUpload>, mut in_flight: InFlight) {
    let forgotten = async {
        while in_flight.join_next().await.is_some() {}
        target.abort().await
    };
    match tokio::time::timeout(ABORT_TIMEOUT, forgotten).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "an unfinished upload was not cleared away"),
        Err(_) => tracing::warn!("an unfinished upload was not cleared away: the store does not answer"),
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(target) = self.target.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(forget(target, std::mem::take(&mut self.in_flight)));
        }
    }
}
