//! Tests whether this member can use the bucket with its current credentials. Owns one small object in the bucket for
//! each member of a cluster. Does not own the report (`raft-node`'s admin service).

use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use raft::MemberId;
use storage::ClusterId;

use crate::error::ArchiveError;
use crate::layout::Folder;
use crate::store::Access;

/// Writes, reads, conditionally writes and deletes a small object in the cluster's folder, because backups and restores
/// need these operations.
///
/// # Errors
/// Returns why a backup would fail.
pub async fn probe(access: &Access, cluster: ClusterId, member: MemberId) -> Result<(), ArchiveError> {
    let key = Folder::new(&access.store.prefix, cluster)?.probe(member)?;
    let store = access.connect()?;
    let interpret = |error: object_store::Error| match access.interpret(&error) {
        // A missing object means that the store lost the object, because this function has just written it.
        ArchiveError::BackupNotFound { key } => {
            ArchiveError::StoreRefused { reason: format!("{key} was written and does not exist") }
        }
        other => other,
    };
    let content = format!("{cluster} {member}\n");
    store.put(&key, content.clone().into()).await.map_err(interpret)?;
    let read = store.get(&key).await.map_err(interpret)?.bytes().await.map_err(interpret)?;
    if read != content.as_bytes() {
        return Err(ArchiveError::StoreRefused { reason: format!("{key} has other content than was written") });
    }
    // Backups write their manifests on the condition that no object of the same name exists. If a store ignored this
    // condition, a second backup of the same name could replace the first one.
    match store.put_opts(&key, content.into(), PutOptions::from(PutMode::Create)).await {
        Err(object_store::Error::AlreadyExists { .. }) => {}
        Err(other) => return Err(interpret(other)),
        Ok(_) => {
            let reason = "it ignores If-None-Match, so it could replace a backup".to_owned();
            return Err(ArchiveError::StoreRefused { reason });
        }
    }
    match store.delete(&key).await.map_err(|error| access.interpret(&error)) {
        // Credentials without the permission to delete are sufficient, because a member deletes no object except this
        // one.
        Ok(()) | Err(ArchiveError::CredentialsRefused { .. } | ArchiveError::BackupNotFound { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}
