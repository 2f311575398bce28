//! Test whether the bucket can be used with the credentials that are mounted now. Owns one small object for each member of a
//! cluster. Does not own the report (`raft-node`'s admin service).

use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use raft::MemberId;
use storage::ClusterId;

use crate::error::ArchiveError;
use crate::layout::Folder;
use crate::store::Access;

/// Writes, reads, conditionally writes and deletes a small object in the cluster's folder.
///
/// # Errors
/// Returns why a backup would fail.
pub async fn probe(access: &Access, cluster: ClusterId, member: MemberId) -> Result<(), ArchiveError> {
    let key = Folder::new(&access.store.prefix, cluster)?.probe(member)?;
    let store = access.connect()?;
    let interpret = |error: object_store::Error| match access.interpret(&error) {
        // The object was written just before, so the store lost it.
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
    // A manifest is written with this condition. On a store that ignores it, a second backup could replace one of the same name.
    match store.put_opts(&key, content.into(), PutOptions::from(PutMode::Create)).await {
        Err(object_store::Error::AlreadyExists { .. }) => {}
        Err(other) => return Err(interpret(other)),
        Ok(_) => {
            let reason = "it ignores If-None-Match, so it could replace a backup".to_owned();
            return Err(ArchiveError::StoreRefused { reason });
        }
    }
    match store.delete(&key).await.map_err(|error| access.interpret(&error)) {
        // Credentials without the permission to delete are sufficient, because only this object is ever deleted.
        Ok(()) | Err(ArchiveError::CredentialsRefused { .. } | ArchiveError::BackupNotFound { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}
