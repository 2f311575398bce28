//! A backup into the snapshot that a new cluster starts from. Owns what a restore changes: revisions run ahead, history is
//! compacted, the configuration is one voter. Refuses to own the identity that the caller then gives the volume.

use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use mvcc::Revision;
use mvcc::image::{BumpedHistory, LoadedImage};
use raft::{Configuration, EntryId, Index, MemberId, MemberInfo, SnapshotMeta, Term};
use storage::{ClusterId, Snapshots};
use tokio::sync::mpsc;

use crate::download::{Arriving, fetch_image, read_manifest};
use crate::error::ArchiveError;
use crate::layout::{folder_of, key};
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::store::Access;

/// How far revisions run ahead, so that none is given out again that the old cluster may have given out after the backup:
/// a week's worth at 1,500 writes per second (as etcdutl's `--bump-revision` advises).
pub const REVISION_BUMP: i64 = 1_000_000_000;

/// Chunks that wait to be read.
const CHUNKS_WAITING: usize = 1;
const BUFFER_BYTES: usize = 1024 * 1024;

/// What to restore, and into whom.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Key of the manifest in the bucket.
    pub manifest: String,
    /// Whose backup it must be.
    pub source: ClusterId,
    /// The only voter of the new cluster.
    pub member: MemberId,
    /// How it is known and reached.
    pub own: MemberInfo,
}

/// A received snapshot that waits for [`storage::Storage::bootstrap`].
#[derive(Clone, Debug)]
pub struct Restored {
    /// Its meta, to start from: the new cluster's log begins right behind the backup's last entry.
    pub meta: SnapshotMeta,
    /// The new cluster's first revision; everything before is compacted.
    pub revision: Revision,
    /// The backup's own revision.
    pub backup_revision: Revision,
    /// Bytes that were fetched.
    pub size_bytes: u64,
}

/// Fetches a backup, checks it to its last byte, and writes it as a received snapshot of a blank volume. Can be dropped at
/// any time; then the volume is as blank as before.
///
/// # Errors
/// The volume is as blank as before.
pub async fn restore(
    access: &Access,
    restore: Restore,
    snapshots: &Snapshots,
    progress: &Progress,
) -> Result<Restored, ArchiveError> {
    let store = access.connect()?;
    let manifest_key = key(restore.manifest.trim_start_matches('/'))?;
    let folder = folder_of(&manifest_key)
        .ok_or_else(|| ArchiveError::Invalid(format!("{manifest_key} is not the key of a manifest")))?;
    let manifest = read_manifest(access, &store, &manifest_key).await?;
    manifest.require_cluster(manifest_key.as_ref(), restore.source)?;
    let object = folder.object(&manifest.object)?;

    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    let loader = tokio::task::spawn_blocking(move || load(receiver));
    let fetched = fetch_image(access, &store, &object, &manifest, sender, progress).await;
    let loaded = loader.await.map_err(ArchiveError::member)?;
    // What was fetched is judged first: an image that ends early is the consequence of a fetch that did.
    let loaded = match (fetched, loaded) {
        (Err(ArchiveError::BackupCorrupt { .. }), Err(reason)) if is_own_fault(&reason) => {
            return Err(ArchiveError::corrupt(object.as_ref(), reason));
        }
        (Err(error), _) => return Err(error),
        (Ok(()), loaded) => loaded.map_err(|reason| ArchiveError::corrupt(object.as_ref(), reason))?,
    };
    check(&manifest, &loaded, object.as_ref())?;

    let snapshots = snapshots.clone();
    let term = Term(manifest.term);
    let written = tokio::task::spawn_blocking(move || write(loaded, term, &restore, &snapshots));
    let restored = written.await.map_err(ArchiveError::member)??;
    progress.finish(manifest.size_bytes);
    Ok(restored)
}

/// Whether an image is wrong by itself, and not just cut off.
fn is_own_fault(reason: &mvcc::image::ReadError) -> bool {
    !matches!(reason, mvcc::image::ReadError::Truncated { .. } | mvcc::image::ReadError::Io(_))
}

fn load(receiver: mpsc::Receiver<bytes::Bytes>) -> Result<LoadedImage, mvcc::image::ReadError> {
    let mut arriving = BufReader::with_capacity(BUFFER_BYTES, Arriving::new(receiver));
    let loaded = mvcc::image::read(&mut arriving)?;
    // An image knows its end. Whatever follows is fetched and summed up too, so that the sums decide.
    std::io::copy(&mut arriving.by_ref(), &mut std::io::sink()).map_err(mvcc::image::ReadError::Io)?;
    Ok(loaded)
}

fn check(manifest: &Manifest, loaded: &LoadedImage, object: &str) -> Result<(), ArchiveError> {
    let summary = &loaded.summary;
    let found = (summary.applied_index, summary.revision.0, summary.image_bytes, format!("{:08x}", summary.hash));
    let named = (manifest.index, manifest.revision, manifest.size_bytes, manifest.keyspace_hash.clone());
    if found == named {
        return Ok(());
    }
    Err(ArchiveError::corrupt(object, format!("it holds {found:?}, and its manifest says {named:?}")))
}

fn write(loaded: LoadedImage, term: Term, restore: &Restore, snapshots: &Snapshots) -> Result<Restored, ArchiveError> {
    let LoadedImage { mut store, summary } = loaded;
    store.bump_revision(REVISION_BUMP, BumpedHistory::MarkedCompacted).map_err(ArchiveError::member)?;
    let index = Index(summary.applied_index);
    let configuration = Configuration {
        voters: [restore.member].into(),
        members: [(restore.member, restore.own.clone())].into(),
        ..Configuration::default()
    };
    let meta = SnapshotMeta {
        last: EntryId { term, index },
        time_ms: summary.time_ms,
        configuration: Arc::new(configuration),
        configuration_index: index,
    };
    let view = store.view();
    // An attempt that nobody waited for may have left one.
    snapshots.discard_received_through(index).map_err(ArchiveError::member)?;
    let receiver = snapshots.receive(meta.clone()).map_err(ArchiveError::member)?;
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, receiver);
    mvcc::image::write(&view, index.0, &mut writer).map_err(ArchiveError::member)?;
    writer.flush().map_err(ArchiveError::member)?;
    let receiver = writer.into_inner().map_err(|error| ArchiveError::member(error.error()))?;
    receiver.finish_verified().map_err(ArchiveError::member)?;
    Ok(Restored { meta, revision: view.revision(), backup_revision: summary.revision, size_bytes: summary.image_bytes })
}
