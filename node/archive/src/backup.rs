//! A full backup: writes the image first and the manifest last. Owns this order, and the guarantee that a name never
//! denotes two different backups. Does not own the transfer of the image (`upload.rs`).

use std::time::{SystemTime, UNIX_EPOCH};

use mvcc::{FeatureLevel, View};
use object_store::path::Path;
use object_store::{ObjectStore, PutMode, PutOptions};
use raft::{EntryId, MemberId};
use storage::ClusterId;

use crate::download::read_manifest;
use crate::error::ArchiveError;
use crate::layout::Folder;
use crate::manifest::{CHUNK_BYTES, Kind, Manifest};
use crate::progress::Progress;
use crate::store::Access;
use crate::upload;

/// Version of the program that writes a backup; all crates of the workspace share it.
const PROGRAM_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Maximum number of attempts to write the manifest while it is unknown whether an earlier attempt succeeded.
const PUBLISH_ATTEMPTS: u32 = 4;

/// State to back up, and the name of the backup.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Name of the backup. It is never reused: a second request with this name returns the first backup.
    pub name: String,
    /// Cluster whose state is backed up.
    pub cluster: ClusterId,
    /// Member that writes the backup.
    pub member: MemberId,
    /// Applied state.
    pub view: View,
    /// Last entry applied to the state.
    pub applied: EntryId,
}

/// Backup that exists in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedBackup {
    /// Key of the backup's manifest in the bucket, which a restore needs.
    pub manifest: String,
    /// SHA-256 of the backup's image, in hexadecimal.
    pub sha256: String,
    /// Size of the backup's image in bytes.
    pub size_bytes: u64,
    /// Index of the last entry in the backup.
    pub index: u64,
    /// Term of the last entry in the backup.
    pub term: u64,
    /// Revision of the store in the backup.
    pub revision: i64,
}

impl FinishedBackup {
    fn of(key: &Path, manifest: &Manifest) -> Self {
        Self {
            manifest: key.to_string(),
            sha256: manifest.sha256.clone(),
            size_bytes: manifest.size_bytes,
            index: manifest.index,
            term: manifest.term,
            revision: manifest.revision,
        }
    }
}

/// Returns the backup of this name; `None` if it does not exist.
///
/// # Errors
/// Returns why the store could not answer, or why the manifest is not valid. Whether the backup exists is then unknown.
pub async fn find(access: &Access, cluster: ClusterId, name: &str) -> Result<Option<FinishedBackup>, ArchiveError> {
    let key = Folder::new(&access.store.prefix, cluster)?.manifest(name)?;
    look_up(access, &access.connect()?, cluster, &key).await
}

async fn look_up(
    access: &Access,
    store: &dyn ObjectStore,
    cluster: ClusterId,
    key: &Path,
) -> Result<Option<FinishedBackup>, ArchiveError> {
    // The backup of this name is of this cluster, whose level this program supports.
    match read_manifest(access, store, key, FeatureLevel(u32::MAX)).await {
        Ok(manifest) => {
            manifest.require_cluster(key.as_ref(), cluster)?;
            Ok(Some(FinishedBackup::of(key, &manifest)))
        }
        Err(ArchiveError::BackupNotFound { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Writes a backup, or returns the existing backup of the same name. The future can be dropped at any time: afterwards
/// the backup either does not exist or is complete.
///
/// # Errors
/// Returns why the backup was not written. Bytes may have been sent, but no manifest names them.
pub async fn backup(access: &Access, backup: Backup, progress: &Progress) -> Result<FinishedBackup, ArchiveError> {
    let Backup { name, cluster, member, view, applied } = backup;
    let folder = Folder::new(&access.store.prefix, cluster)?;
    let key = folder.manifest(&name)?;
    let store = access.connect()?;
    if let Some(done) = look_up(access, &store, cluster, &key).await? {
        progress.finish(done.size_bytes);
        return Ok(done);
    }
    let (view_to_sum, level) = (view.clone(), view.level());
    let sums = tokio::task::spawn_blocking(move || upload::checksums(&view_to_sum, applied.index.0));
    let sums = sums.await.map_err(ArchiveError::member)??;
    let object = Folder::base(sums.summary.revision.0, applied, &sums.sha256);
    upload::send(access, &store, &folder.object(&object)?, view, &sums, progress).await?;

    let manifest = Manifest {
        format_version: Manifest::VERSION,
        kind: Kind::Full,
        cluster_id: cluster.to_string(),
        name,
        object,
        size_bytes: sums.summary.image_bytes,
        sha256: sums.sha256,
        chunk_bytes: CHUNK_BYTES,
        chunk_crc32c: sums.chunk_crc32c,
        index: applied.index.0,
        term: applied.term.0,
        revision: sums.summary.revision.0,
        compact_revision: sums.summary.compact_revision.0,
        keyspace_hash: format!("{:08x}", sums.summary.hash),
        time_ms: sums.summary.time_ms,
        created_ms: now_ms(),
        member_id: member.to_string(),
        version: PROGRAM_VERSION.to_owned(),
        feature_level: (level > FeatureLevel::FIRST).then_some(level.0),
        checksum: String::new(),
    };
    publish(access, &store, cluster, &key, manifest).await
}

/// Writes the manifest unless it exists. If it exists, the backup counts as done, because an answer may have been lost:
/// the existing manifest names a complete backup of this name, written by this call or by another call.
async fn publish(
    access: &Access,
    store: &dyn ObjectStore,
    cluster: ClusterId,
    key: &Path,
    manifest: Manifest,
) -> Result<FinishedBackup, ArchiveError> {
    let done = FinishedBackup::of(key, &manifest);
    let bytes = bytes::Bytes::from(manifest.encode()?);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let options = PutOptions::from(PutMode::Create);
        let error = match store.put_opts(key, bytes.clone().into(), options).await {
            Ok(_) => return Ok(done),
            Err(error) => error,
        };
        let refusal = access.interpret(&error);
        let in_doubt = matches!(error, object_store::Error::AlreadyExists { .. })
            || matches!(refusal, ArchiveError::StoreUnreachable { .. });
        if !in_doubt {
            return Err(refusal);
        }
        match look_up(access, store, cluster, key).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) if attempts < PUBLISH_ATTEMPTS => {}
            Ok(None) => return Err(refusal),
            Err(other) => return Err(other),
        }
    }
}

fn now_ms() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;
    use raft::{Index, Term};

    fn access() -> Access {
        let store = crate::ObjectStoreConfig { bucket: "b".into(), ..Default::default() };
        Access { store, credentials: None, timeouts: crate::Timeouts::PROBE }
    }

    fn manifest(index: u64) -> Manifest {
        Manifest {
            format_version: Manifest::VERSION,
            kind: Kind::Full,
            cluster_id: ClusterId([7; 16]).to_string(),
            name: "monday".into(),
            object: Folder::base(1, EntryId { term: Term(1), index: Index(index) }, &"0".repeat(64)),
            size_bytes: 0,
            sha256: "0".repeat(64),
            chunk_bytes: CHUNK_BYTES,
            chunk_crc32c: Vec::new(),
            index,
            term: 1,
            revision: 1,
            compact_revision: -1,
            keyspace_hash: "00000000".into(),
            time_ms: 0,
            created_ms: 0,
            member_id: "1".into(),
            version: PROGRAM_VERSION.into(),
            feature_level: None,
            checksum: String::new(),
        }
    }

    /// After a lost answer, a caller cannot distinguish its own manifest from the manifest of another call. Both
    /// manifests name a complete backup.
    #[tokio::test]
    async fn a_manifest_that_exists_already_counts_as_done() {
        let (access, store, cluster) = (access(), InMemory::new(), ClusterId([7; 16]));
        let key = Folder::new("", cluster).and_then(|folder| folder.manifest("monday")).expect("a name");
        let first = publish(&access, &store, cluster, &key, manifest(5)).await.expect("the first");
        let again = publish(&access, &store, cluster, &key, manifest(5)).await.expect("the same again");
        let late = publish(&access, &store, cluster, &key, manifest(9)).await.expect("the existing one is found");
        assert_eq!((first.index, again.index, late.index), (5, 5, 5));
    }
}
