//! A full backup: image first, manifest last. Owns that order and the promise that one name makes one backup.

use std::time::{SystemTime, UNIX_EPOCH};

use mvcc::View;
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

/// How often the manifest is tried to be put in place when it is not known whether it is.
const PUBLISH_ATTEMPTS: u32 = 4;

/// What to back up, and as what.
#[derive(Clone, Debug)]
pub struct Backup {
    /// Names the backup, for ever: a second one of that name is the first one.
    pub name: String,
    /// Whose state it is.
    pub cluster: ClusterId,
    /// Who makes it.
    pub member: MemberId,
    /// The applied state.
    pub view: View,
    /// The entry that the state was last changed by.
    pub applied: EntryId,
}

/// A backup that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Key of its manifest in the bucket: what a restore asks for.
    pub manifest: String,
    /// SHA-256 of its image, hexadecimal.
    pub sha256: String,
    /// Bytes of its image.
    pub size_bytes: u64,
    /// Last entry in it: index.
    pub index: u64,
    /// Last entry in it: term.
    pub term: u64,
    /// Its revision.
    pub revision: i64,
}

impl Done {
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

/// The backup of that name, if it is there.
///
/// # Errors
/// Nobody knows whether it is.
pub async fn find(access: &Access, cluster: ClusterId, name: &str) -> Result<Option<Done>, ArchiveError> {
    let key = Folder::new(&access.store.prefix, cluster)?.manifest(name)?;
    look_up(access, &access.connect()?, cluster, &key).await
}

async fn look_up(
    access: &Access,
    store: &dyn ObjectStore,
    cluster: ClusterId,
    key: &Path,
) -> Result<Option<Done>, ArchiveError> {
    match read_manifest(access, store, key).await {
        Ok(manifest) => {
            manifest.require_cluster(key.as_ref(), cluster)?;
            Ok(Some(Done::of(key, &manifest)))
        }
        Err(ArchiveError::BackupNotFound { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}

/// Makes a backup, or finds that it is there already. Can be dropped at any time; then there is none, or it is whole.
///
/// # Errors
/// There is no backup of that name; what was sent stays unseen.
pub async fn backup(access: &Access, backup: Backup, progress: &Progress) -> Result<Done, ArchiveError> {
    let Backup { name, cluster, member, view, applied } = backup;
    let folder = Folder::new(&access.store.prefix, cluster)?;
    let key = folder.manifest(&name)?;
    let store = access.connect()?;
    if let Some(done) = look_up(access, &store, cluster, &key).await? {
        progress.finish(done.size_bytes);
        return Ok(done);
    }
    let summed = view.clone();
    let sums = tokio::task::spawn_blocking(move || upload::sum(&summed, applied.index.0));
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
        checksum: String::new(),
    };
    publish(access, &store, cluster, &key, manifest).await
}

/// Puts the manifest in place, once. An answer may get lost, so whoever finds one in place takes it for done: it names a
/// whole backup of that name, by this call or by another.
async fn publish(
    access: &Access,
    store: &dyn ObjectStore,
    cluster: ClusterId,
    key: &Path,
    manifest: Manifest,
) -> Result<Done, ArchiveError> {
    let done = Done::of(key, &manifest);
    let bytes = bytes::Bytes::from(manifest.encode()?);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let options = PutOptions::from(PutMode::Create);
        let error = match store.put_opts(key, bytes.clone().into(), options).await {
            Ok(_) => return Ok(done),
            Err(error) => error,
        };
        let refusal = access.answered(&error);
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
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;
    use raft::{Index, Term};

    fn access() -> Access {
        let store = crate::ObjectStoreConfig { bucket: "b".into(), ..Default::default() };
        Access { store, credentials: None, patience: crate::Patience::PROBE }
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
            checksum: String::new(),
        }
    }

    /// A lost answer looks like somebody else's manifest; both are the backup of that name.
    #[tokio::test]
    async fn whoever_finds_the_manifest_in_place_is_done() {
        let (access, store, cluster) = (access(), InMemory::new(), ClusterId([7; 16]));
        let key = Folder::new("", cluster).and_then(|folder| folder.manifest("monday")).expect("a name");
        let first = publish(&access, &store, cluster, &key, manifest(5)).await.expect("the first");
        let again = publish(&access, &store, cluster, &key, manifest(5)).await.expect("the same again");
        let late = publish(&access, &store, cluster, &key, manifest(9)).await.expect("another one's is found");
        assert_eq!((first.index, again.index, late.index), (5, 5, 5));
    }
}
