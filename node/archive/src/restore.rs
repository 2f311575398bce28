//! Turns a backup into the snapshot from which a new cluster starts. Owns the changes that a restore makes: it raises
//! the revisions, compacts the history, and sets a configuration with one voter. Does not own the identity, which the
//! caller writes to the volume afterwards.

use std::io::{BufReader, BufWriter, Read, Write};
use std::sync::Arc;

use mvcc::image::{BumpedHistory, ImageFormat, LoadedImage};
use mvcc::{FeatureLevel, Revision};
use raft::{Configuration, EntryId, Index, MemberId, MemberInfo, SnapshotMeta, Term};
use storage::{ClusterId, Snapshots};
use tokio::sync::mpsc;

use crate::download::{ChunkReader, fetch_image, read_manifest};
use crate::error::ArchiveError;
use crate::layout::{folder_of, key};
use crate::manifest::Manifest;
use crate::progress::Progress;
use crate::store::Access;

/// Number by which revisions are raised, so that the new cluster does not reuse a revision that the old cluster may
/// have used after the backup. At 1,500 writes per second, it takes the old cluster about a week to use this number of
/// revisions. The documentation of etcdutl's `--bump-revision` advises this value.
pub const REVISION_BUMP: i64 = 1_000_000_000;

/// Capacity of the channel between download and parser, in chunks.
const CHUNKS_WAITING: usize = 1;
const BUFFER_BYTES: usize = 1024 * 1024;

/// Backup to restore, and the member that restores it.
#[derive(Clone, Debug)]
pub struct Restore {
    /// Key of the manifest in the bucket.
    pub manifest: String,
    /// Cluster to which the backup must belong.
    pub source: ClusterId,
    /// ID of the only voter of the new cluster.
    pub member: MemberId,
    /// Name and URLs of the only voter of the new cluster.
    pub own: MemberInfo,
    /// Highest feature level that this program supports. A backup of a higher level is refused before it is downloaded.
    pub supports: FeatureLevel,
}

/// Snapshot made from a backup, ready for [`storage::Storage::bootstrap`].
#[derive(Clone, Debug)]
pub struct Restored {
    /// Metadata of the snapshot. The log of the new cluster begins directly after the backup's last entry.
    pub meta: SnapshotMeta,
    /// First revision of the new cluster; all earlier revisions are compacted.
    pub revision: Revision,
    /// Revision of the backup.
    pub backup_revision: Revision,
    /// Size of the image in bytes.
    pub size_bytes: u64,
}

/// Fetches a backup, verifies all of it, and writes it to a blank volume as a received snapshot. The future can be
/// dropped at any time; the volume is blank afterwards.
///
/// # Errors
/// Returns why the backup was not restored. The volume is still blank.
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
    let manifest = read_manifest(access, &store, &manifest_key, restore.supports).await?;
    manifest.require_cluster(manifest_key.as_ref(), restore.source)?;
    let object = folder.object(&manifest.object)?;

    let (sender, receiver) = mpsc::channel(CHUNKS_WAITING);
    let loader = tokio::task::spawn_blocking(move || load(receiver));
    let fetched = fetch_image(access, &store, &object, &manifest, sender, progress).await;
    let loaded = loader.await.map_err(ArchiveError::member)?;
    // If both the fetch and the parser failed, returns the fetch's error, because an incomplete fetch makes the parser
    // fail.
    let loaded = match (fetched, loaded) {
        (Err(ArchiveError::BackupCorrupt { .. }), Err(reason)) if is_damaged_image(&reason) => {
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

/// Returns whether reading failed because the image is damaged. Returns false if the image is only incomplete because
/// the fetch ended early.
fn is_damaged_image(reason: &mvcc::image::ReadError) -> bool {
    !matches!(reason, mvcc::image::ReadError::Truncated { .. } | mvcc::image::ReadError::Io(_))
}

fn load(receiver: mpsc::Receiver<bytes::Bytes>) -> Result<LoadedImage, mvcc::image::ReadError> {
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, ChunkReader::new(receiver));
    let loaded = mvcc::image::read(&mut reader)?;
    // Reads to the end of the object, also beyond the end of the image, so that the checksums cover the whole object.
    std::io::copy(&mut reader.by_ref(), &mut std::io::sink()).map_err(mvcc::image::ReadError::Io)?;
    Ok(loaded)
}

fn check(manifest: &Manifest, loaded: &LoadedImage, object: &str) -> Result<(), ArchiveError> {
    let summary = &loaded.summary;
    let found = (summary.applied_index, summary.revision.0, summary.image_bytes, format!("{:08x}", summary.hash));
    let expected = (manifest.index, manifest.revision, manifest.size_bytes, manifest.keyspace_hash.clone());
    if found == expected {
        return Ok(());
    }
    Err(ArchiveError::corrupt(object, format!("it contains {found:?}, but its manifest says {expected:?}")))
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
    // An earlier attempt whose future was dropped may have left a received snapshot.
    snapshots.discard_received_through(index).map_err(ArchiveError::member)?;
    let receiver = snapshots.receive(meta.clone()).map_err(ArchiveError::member)?;
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, receiver);
    mvcc::image::write(&view, index.0, ImageFormat::of(view.level()), &mut writer).map_err(ArchiveError::member)?;
    writer.flush().map_err(ArchiveError::member)?;
    let receiver = writer.into_inner().map_err(|error| ArchiveError::member(error.error()))?;
    receiver.finish_verified().map_err(ArchiveError::member)?;
    Ok(Restored { meta, revision: view.revision(), backup_revision: summary.revision, size_bytes: summary.image_bytes })
}
