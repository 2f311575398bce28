//! The record of a cluster's identity: made once, immutable, read ever after. Owns its shape as a Secret; when it is made
//! is decided in `bootstrap`.

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

/// Who a cluster is and how it began.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The cluster's ID.
    pub cluster: ClusterId,
    /// What the operator proves itself with.
    pub token: Token,
    /// The first configuration, in the order of ordinals; never empty.
    pub voters: Vec<RecordedVoter>,
    /// What the cluster began with.
    pub origin: Origin,
}

/// A voter of the first configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RecordedVoter {
    /// Such as `demo-1`.
    pub name: String,
    /// As its disk minted it.
    pub id: MemberId,
}

/// What a cluster began with.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// Nothing.
    Empty,
    /// A backup.
    Backup(Box<BackupPlace>),
}

impl Origin {
    /// The store that members need credentials of to restore.
    #[must_use]
    pub fn store(&self) -> Option<&ObjectStore> {
        match self {
            Self::Empty => None,
            Self::Backup(place) => Some(&place.store),
        }
    }
}

/// Where a backup is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupPlace {
    /// The bucket.
    pub store: ObjectStore,
    /// Whose backup it is.
    pub source: ClusterId,
    /// Key of its manifest.
    pub manifest: String,
}

/// Why a Secret is no record. Nothing is done with the cluster until a person put that right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the Secret {secret} is not readable as this cluster's identity ({field}: {why}): restore it from a copy, or delete the RaftCluster and restore a backup"
)]
pub struct RecordError {
    secret: String,
    field: &'static str,
    why: String,
}

impl Record {
    /// The record as a Secret, to be created and never applied.
    #[must_use]
    pub fn to_secret(&self, cluster: &str, namespace: &str, owner: OwnerReference) -> Secret {
        let voters = serde_json::to_string(&self.voters).expect("plain text and numbers always serialize");
        let origin = serde_json::to_string(&self.origin).expect("plain text always serializes");
        let data = [
            (CLUSTER_ID, self.cluster.to_string()),
            (TOKEN, self.token.reveal().to_owned()),
            (VOTERS, voters),
            (ORIGIN, origin),
        ];
        Secret {
            metadata: ObjectMeta {
                name: Some(names::identity(cluster)),
                namespace: Some(namespace.to_owned()),
                labels: Some(names::cluster_labels(cluster)),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            type_: Some("raftoperator.io/identity".to_owned()),
            data: Some(data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()),
            string_data: None,
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// A field is missing or is not what it should be; the record was tampered with.
    pub fn from_secret(secret: &Secret) -> Result<Self, RecordError> {
        let empty = BTreeMap::new();
        let data = secret.data.as_ref().unwrap_or(&empty);
        let name = secret.metadata.name.clone().unwrap_or_default();
        let error = |field, why: String| RecordError { secret: name.clone(), field, why };
        let text = |field| -> Result<&str, RecordError> {
            let bytes = data.get(field).ok_or_else(|| error(field, "is missing".to_owned()))?;
            std::str::from_utf8(&bytes.0).map_err(|_| error(field, "is not text".to_owned()))
        };
        let cluster = text(CLUSTER_ID)?.parse().map_err(|why| error(CLUSTER_ID, format!("{why}")))?;
        let token = text(TOKEN)?.parse().map_err(|why| error(TOKEN, format!("{why}")))?;
        let voters: Vec<RecordedVoter> =
            serde_json::from_str(text(VOTERS)?).map_err(|why| error(VOTERS, why.to_string()))?;
        if voters.is_empty() {
            return Err(error(VOTERS, "is empty".to_owned()));
        }
        let origin = serde_json::from_str(text(ORIGIN)?).map_err(|why| error(ORIGIN, why.to_string()))?;
        Ok(Self { cluster, token, voters, origin })
    }

    /// The ID that the record knows a member under.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<MemberId> {
        self.voters.iter().find(|voter| voter.name == name).map(|voter| voter.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            cluster: ClusterId(1),
            token: Token::of([9; 32]),
            voters: vec![RecordedVoter { name: "demo-1".to_owned(), id: MemberId(0xa) }],
            origin: Origin::Empty,
        }
    }

    #[test]
    fn a_record_survives_its_secret() {
        let secret = record().to_secret("demo", "default", OwnerReference::default());
        assert_eq!(secret.immutable, Some(true));
        assert_eq!(Record::from_secret(&secret), Ok(record()));
    }

    #[test]
    fn a_damaged_record_is_refused_by_field() {
        for field in [CLUSTER_ID, TOKEN, VOTERS, ORIGIN] {
            let mut secret = record().to_secret("demo", "default", OwnerReference::default());
            if let Some(data) = &mut secret.data {
                data.insert(field.to_owned(), ByteString(b"[]".to_vec()));
            }
            let refused = Record::from_secret(&secret).expect_err("damaged").to_string();
            assert!(refused.contains(field), "{refused}");
        }
    }
}
