//! Upload of an image. The image is generated twice: first to compute its name and checksums, then to send it. An
//! upload therefore needs neither disk space nor memory for the whole image. Owns the parts in flight, and the abort of
//! an unfinished upload. Does not own the image (`mvcc::image`).

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use mvcc::View;
use mvcc::image::{ImageFormat, ImageSummary};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::error::ArchiveError;
use crate::manifest::{CHUNK_BYTES, hex};
use crate::progress::Progress;
use crate::store::Access;

/// Size of a part in bytes. All parts except the last one have this size, because some stores require equal sizes. An
/// upload may have at most 10,000 parts.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Number of parts sent at the same time. One more part is being filled and another one waits. These four parts limit
/// the memory that a backup needs.
const PARTS_IN_FLIGHT: usize = 2;
/// Time limit for aborting a failed upload. It includes the wait for the parts in flight.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// Summary and checksums of an image, computed before it is sent.
#[derive(Clone, Debug)]
pub(super) struct Checksums {
    pub(super) summary: ImageSummary,
    pub(super) sha256: String,
    pub(super) chunk_crc32c: Vec<String>,
}

/// Writer that computes checksums and discards the bytes.
struct ChecksumWriter {
    sha256: Sha256,
    chunks: Vec<String>,
    crc: u32,
    in_chunk: u64,
}

impl ChecksumWriter {
    fn end_chunk(&mut self) {
        self.chunks.push(format!("{:08x}", self.crc));
        self.crc = 0;
        self.in_chunk = 0;
    }
}

impl Write for ChecksumWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The difference is at most the size of a chunk, so it fits into a usize.
        let free = (CHUNK_BYTES - self.in_chunk) as usize;
        let part = &bytes[..bytes.len().min(free)];
        self.sha256.update(part);
        self.crc = crc32c::crc32c_append(self.crc, part);
        self.in_chunk += part.len() as u64;
        if self.in_chunk == CHUNK_BYTES {
            self.end_chunk();
        }
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Computes the checksums of the image of a view. Blocks the thread.
pub(super) fn checksums(view: &View, applied: u64) -> Result<Checksums, ArchiveError> {
    let mut writer = ChecksumWriter { sha256: Sha256::new(), chunks: Vec::new(), crc: 0, in_chunk: 0 };
    let summary =
        mvcc::image::write(view, applied, ImageFormat::of(view.level()), &mut writer).map_err(ArchiveError::member)?;
    if writer.in_chunk > 0 {
        writer.end_chunk();
    }
    Ok(Checksums { summary, sha256: hex(&writer.sha256.finalize()), chunk_crc32c: writer.chunks })
}

/// Writer that sends the bytes in parts.
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
        let added = &bytes[..bytes.len().min(PART_BYTES - self.part.len())];
        self.part.extend_from_slice(added);
        if self.part.len() == PART_BYTES {
            self.send()?;
        }
        Ok(added.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Generates the image of a view and sends it to the object `to`. Afterwards the object is complete or does not exist.
///
/// # Errors
/// Returns why the object was not written.
pub(super) async fn send(
    access: &Access,
    store: &dyn ObjectStore,
    to: &Path,
    view: View,
    sums: &Checksums,
    progress: &Progress,
) -> Result<(), ArchiveError> {
    progress.begin(sums.summary.image_bytes);
    let (sender, mut parts) = mpsc::channel(1);
    let applied = sums.summary.applied_index;
    let writer = tokio::task::spawn_blocking(move || {
        let mut parts = Parts { to: sender, part: Vec::new() };
        let summary = mvcc::image::write(&view, applied, ImageFormat::of(view.level()), &mut parts)?;
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
    // If the writer thread is still generating the image, dropping `parts` ends the thread.
    drop(parts);
    let written = writer.await.map_err(ArchiveError::member)?;
    sent?;
    let summary = written.map_err(ArchiveError::member)?;
    if summary != sums.summary {
        return Err(ArchiveError::member("the same view has produced two different images"));
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
    // This write can be repeated safely: the name is derived from the content, so every write to this name has the same
    // content.
    store.put(to, image.into()).await.map_err(|error| access.interpret(&error))?;
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
    let interpret = |error| access.interpret(&error);
    let mut upload = Upload::new(store.put_multipart(to).await.map_err(interpret)?);
    let sent = async {
        let mut next = Some(first);
        loop {
            if let Some(part) = next.take() {
                upload.begin(part)?;
                next = parts.recv().await;
            }
            let must_wait = upload.in_flight.len() >= PARTS_IN_FLIGHT || next.is_none();
            match if must_wait { upload.in_flight.join_next().await } else { None } {
                Some(arrived) => progress.add(arrived.map_err(ArchiveError::member)?.map_err(interpret)?),
                None if next.is_none() => break,
                None => {}
            }
        }
        upload.target()?.complete().await.map_err(interpret)?;
        Ok(())
    }
    .await;
    match sent {
        Ok(()) => upload.completed(),
        Err(_) => upload.abort().await,
    }
    sent
}

/// Parts in flight; each task returns the size of its part.
type InFlight = JoinSet<object_store::Result<u64>>;

/// An upload that is aborted when dropped, unless it was completed.
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

    /// Aborts the upload. If the abort fails, the bucket's lifecycle rule for unfinished uploads must remove the parts.
    async fn abort(&mut self) {
        if let Some(target) = self.target.take() {
            abort_upload(target, std::mem::take(&mut self.in_flight)).await;
        }
    }
}

/// Aborts an upload after its parts in flight have ended, because some stores permanently keep a part that arrives
/// after an abort.
async fn abort_upload(mut target: Box<dyn MultipartUpload>, mut in_flight: InFlight) {
    let aborting = async {
        while in_flight.join_next().await.is_some() {}
        target.abort().await
    };
    match tokio::time::timeout(ABORT_TIMEOUT, aborting).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "an unfinished upload was not aborted"),
        Err(_) => tracing::warn!("an unfinished upload was not aborted: the object store does not answer"),
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(target) = self.target.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(abort_upload(target, std::mem::take(&mut self.in_flight)));
        }
    }
}
