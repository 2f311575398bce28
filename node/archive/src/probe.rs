//! Can the bucket be used with the credentials that are mounted now? Owns one small object per member and cluster.

use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use raft::MemberId;
use storage::ClusterId;

use crate::error::ArchiveError;
use crate::layout::Folder;
use crate::store::Access;

/// Writes, reads, writes on condition and deletes a small object in the cluster's folder.
///
/// # Errors
/// Backups would fail, for this reason.
pub async fn probe(access: &Access, cluster: ClusterId, member: MemberId) -> Result<(), ArchiveError> {
    let key = Folder::new(&access.store.prefix, cluster)?.probe(member)?;
    let store = access.connect()?;
    let answered = |error: object_store::Error| match access.answered(&error) {
        // It was written just before.
        ArchiveError::BackupNotFound { key } => {
            ArchiveError::StoreRefused { reason: format!("{key} was written and cannot be found") }
        }
        other => other,
    };
    let content = format!("{cluster} {member}\n");
    store.put(&key, content.clone().into()).await.map_err(answered)?;
    let read = store.get(&key).await.map_err(answered)?.bytes().await.map_err(answered)?;
    if read != content.as_bytes() {
        return Err(ArchiveError::StoreRefused { reason: format!("{key} reads back as something else") });
    }
    // A backup's manifest is written so: on a store that ignores the condition two backups could share one name.
    match store.put_opts(&key, content.into(), PutOptions::from(PutMode::Create)).await {
        Err(object_store::Error::AlreadyExists { .. }) => {}
        Err(other) => return Err(answered(other)),
        Ok(_) => {
            let reason = "it ignores If-None-Match, so it could replace a backup".to_owned();
            return Err(ArchiveError::StoreRefused { reason });
        }
    }
    match store.delete(&key).await.map_err(|error| access.answered(&error)) {
        // Keys that may not delete are good keys: nothing but this object is ever deleted.
        Ok(()) | Err(ArchiveError::CredentialsRefused { .. } | ArchiveError::BackupNotFound { .. }) => Ok(()),
        Err(other) => Err(other),
    }
}
