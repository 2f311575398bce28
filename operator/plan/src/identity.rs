//! A cluster's identity: created once, immutable, and read in every pass. Owns its format as a Secret. Does not own
//! when it is created (`bootstrap.rs`). The reasons are in `operator/docs/decisions/identity.md`.

use std::collections::BTreeMap;

use crds::ObjectStore;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, MemberId, Token};
use crate::names;

const CLUSTER_ID: &str = "cluster-id";
const TOKEN: &str = "token";
const VOTERS: &str = "voters";
const ORIGIN: &str = "origin";

/// The identity of a cluster, with the voters and the data that the cluster began with.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterIdentity {
    /// The cluster's ID.
    pub cluster: ClusterId,
    /// The token by which the operator authenticates to members.
    pub token: Token,
    /// The voters of the first configuration, in the order of ordinals; never empty.
    pub voters: Vec<FirstVoter>,
    /// The data that the cluster began with.
    pub origin: Origin,
}

/// A voter of the first configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct FirstVoter {
    /// Name of the voter, such as `demo-1`.
    pub name: String,
    /// The ID that the voter's disk generated.
    pub id: MemberId,
}

/// The data that a cluster began with.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// No data.
    Empty,
    /// The data of a backup.
    Backup(Box<BackupPlace>),
}

impl Origin {
    /// The store of the backup that the cluster began with. Members need its credentials for the restore. `None` if
    /// the cluster began empty.
    #[must_use]
    pub fn store(&self) -> Option<&ObjectStore> {
        match self {
            Self::Empty => None,
            Self::Backup(place) => Some(&place.store),
        }
    }
}

/// The place of a backup.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupPlace {
    /// The bucket.
    pub store: ObjectStore,
    /// The cluster that was backed up.
    pub source: ClusterId,
    /// Key of the backup's manifest.
    pub manifest: String,
}

/// The reason why a Secret cannot be read as an identity. Nothing is done for the cluster until a person corrects the
/// Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Secret {secret} is not readable as this cluster's identity ({field}: {why}): restore it from a copy, or delete the RaftCluster and restore a backup"
)]
pub struct IdentityError {
    secret: String,
    field: &'static str,
    why: String,
}

impl ClusterIdentity {
    /// The identity as a Secret. The Secret must be created and never applied.
    #[must_use]
    pub fn to_secret(&self, cluster: &str, namespace: &str, owner: OwnerReference) -> Secret {
        assert!(!self.voters.is_empty(), "a cluster begins with at least one voter");
        let voters = serde_json::to_string(&self.voters).expect("plain text and numbers always serialize");
        let origin = serde_json::to_string(&self.origin).expect("plain text always serializes");
        let data = [
            (CLUSTER_ID, self.cluster.to_string()),
            (TOKEN, self.token.reveal().to_owned()),
            (VOTERS, voters),
            (ORIGIN, origin),
        ];
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(names::identity(cluster)),
                namespace: Some(namespace.to_owned()),
                labels: Some(names::data_labels(cluster)),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            type_: Some("raftoperator.io/identity".to_owned()),
            data: Some(data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()),
            string_data: None,
        };
        debug_assert_eq!(Self::from_secret(&secret).as_ref(), Ok(self), "an identity is read as it was written");
        secret
    }

    /// Reads an identity.
    ///
    /// # Errors
    /// Returns an error that names the first missing or malformed field. No part of the identity is used.
    pub fn from_secret(secret: &Secret) -> Result<Self, IdentityError> {
        let empty = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&empty);
        let name = secret.metadata.name.clone().unwrap_or_default();
        let error = |field, why: String| IdentityError { secret: name.clone(), field, why };
        let text = |field| -> Result<&str, IdentityError> {
            let bytes = data.get(field).ok_or_else(|| error(field, "is missing".to_owned()))?;
            std::str::from_utf8(&bytes.0).map_err(|_| error(field, "is not text".to_owned()))
        };
        let cluster = text(CLUSTER_ID)?.parse().map_err(|why| error(CLUSTER_ID, format!("{why}")))?;
        let token = text(TOKEN)?.parse().map_err(|why| error(TOKEN, format!("{why}")))?;
        let voters: Vec<FirstVoter> =
            serde_json::from_str(text(VOTERS)?).map_err(|why| error(VOTERS, why.to_string()))?;
        if voters.is_empty() {
            return Err(error(VOTERS, "is empty".to_owned()));
        }
        let origin = serde_json::from_str(text(ORIGIN)?).map_err(|why| error(ORIGIN, why.to_string()))?;
        Ok(Self { cluster, token, voters, origin })
    }

    /// The ID of the member `name`; `None` if the first configuration has no voter with this name.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<MemberId> {
        self.voters.iter().find(|voter| voter.name == name).map(|voter| voter.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> ClusterIdentity {
        ClusterIdentity {
            cluster: ClusterId(1),
            token: Token::of([9; 32]),
            voters: vec![FirstVoter { name: "demo-1".to_owned(), id: MemberId(0xa) }],
            origin: Origin::Empty,
        }
    }

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let secret = identity().to_secret("demo", "default", OwnerReference::default());
        assert_eq!(secret.immutable, Some(true));
        assert_eq!(ClusterIdentity::from_secret(&secret), Ok(identity()));
    }

    #[test]
    fn a_damaged_identity_is_refused_by_field() {
        for field in [CLUSTER_ID, TOKEN, VOTERS, ORIGIN] {
            let mut secret = identity().to_secret("demo", "default", OwnerReference::default());
            if let Some(data) = &mut secret.data {
                data.insert(field.to_owned(), ByteString(b"[]".to_vec()));
            }
            let refused = ClusterIdentity::from_secret(&secret).expect_err("damaged").to_string();
            assert!(refused.contains(field), "{refused}");
        }
    }
}
