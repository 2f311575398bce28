//! A cluster's identity: created before its members, immutable, and read in every pass. Owns its format as a Secret. Does
//! not own which Secret counts (`pointer.rs`), nor when one is created (`secret.rs`, `bootstrap.rs`). The reasons are in
//! `operator/docs/decisions/identity.md`.

use std::collections::BTreeMap;

use crds::ObjectStore;
use crds::raft_cluster::{Bootstrap, VolumeFate};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::{Deserialize, Serialize};

use crate::ids::{ClusterId, MemberId, Token};
use crate::names;

const CLUSTER_ID: &str = "cluster-id";
const TOKEN: &str = "token";
const GENERATION: &str = "generation";
const ORIGIN: &str = "origin";
const BOOTSTRAP: &str = "bootstrap";
const NAMESPACE: &str = "namespace";
/// Field of Secrets that earlier versions created: the first voters, which are now an annotation of the members' Service.
const VOTERS: &str = "voters";

/// Generation of a cluster that was not formed a second time. It is also that of every Secret without this field.
const FIRST_GENERATION: u32 = 1;

/// The identity of a cluster, with the voters and the data that the cluster began with.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterIdentity {
    /// The cluster's ID.
    pub cluster: ClusterId,
    /// The token by which the operator authenticates to members.
    pub token: Token,
    /// How many times the cluster was formed, counted from 1.
    pub generation: u32,
    /// The data that the cluster began with.
    pub origin: Origin,
    /// `spec.bootstrap` as the cluster began with it. `None` if it had none, or if an earlier version created the Secret.
    pub bootstrap: Option<Bootstrap>,
    /// The voters of the first configuration, in the order of ordinals. `None` while they are not chosen. Empty if no
    /// member may be bootstrapped, because the cluster was formed and its first voters are not known any more.
    pub voters: Option<Vec<FirstVoter>>,
}

/// A voter of the first configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct FirstVoter {
    /// Name of the voter, such as `demo-1`.
    pub name: String,
    /// The ID that the voter's disk generated.
    pub id: MemberId,
}

/// The namespace in which the members of a cluster run, according to its Secret, which a person may have copied into
/// another one. `None` if an earlier version created the Secret.
pub(crate) fn namespace_of(secret: &Secret) -> Option<&str> {
    std::str::from_utf8(&secret.data.as_ref()?.get(NAMESPACE)?.0).ok()
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
    /// The identity as a Secret, which the RaftCluster owns if `owner` is given. The Secret must be created and never
    /// applied. It lacks the first voters, because they are not known when it is created.
    #[must_use]
    pub fn to_secret(&self, cluster: &str, namespace: &str, owner: Option<OwnerReference>) -> Secret {
        let origin = serde_json::to_string(&self.origin).expect("plain text always serializes");
        let mut data = BTreeMap::from([
            (CLUSTER_ID, self.cluster.to_string()),
            (TOKEN, self.token.reveal().to_owned()),
            (GENERATION, self.generation.to_string()),
            (ORIGIN, origin),
            (NAMESPACE, namespace.to_owned()),
        ]);
        if let Some(bootstrap) = &self.bootstrap {
            data.insert(BOOTSTRAP, serde_json::to_string(bootstrap).expect("plain text always serializes"));
        }
        let fate = if owner.is_some() { VolumeFate::Delete } else { VolumeFate::Retain };
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(names::identity(cluster, &self.cluster.digits(), fate)),
                namespace: Some(namespace.to_owned()),
                labels: Some(names::data_labels(cluster)),
                owner_references: owner.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            immutable: Some(true),
            type_: Some("raftoperator.io/identity".to_owned()),
            data: Some(data.into_iter().map(|(key, text)| (key.to_owned(), ByteString(text.into_bytes()))).collect()),
            string_data: None,
        };
        debug_assert_eq!(
            Self::from_secret(&secret),
            Ok(Self { voters: None, ..self.clone() }),
            "an identity is read as it was written"
        );
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
        let optional = |field| -> Result<Option<&str>, IdentityError> {
            let Some(bytes) = data.get(field) else { return Ok(None) };
            std::str::from_utf8(&bytes.0).map(Some).map_err(|_| error(field, "is not text".to_owned()))
        };
        let text = |field| optional(field)?.ok_or_else(|| error(field, "is missing".to_owned()));
        let cluster = text(CLUSTER_ID)?.parse().map_err(|why| error(CLUSTER_ID, format!("{why}")))?;
        let token = text(TOKEN)?.parse().map_err(|why| error(TOKEN, format!("{why}")))?;
        let origin = serde_json::from_str(text(ORIGIN)?).map_err(|why| error(ORIGIN, why.to_string()))?;
        let generation = match optional(GENERATION)? {
            Some(text) => text.parse().map_err(|why| error(GENERATION, format!("{why}")))?,
            None => FIRST_GENERATION,
        };
        let bootstrap = optional(BOOTSTRAP)?.map(serde_json::from_str).transpose();
        let bootstrap = bootstrap.map_err(|why| error(BOOTSTRAP, why.to_string()))?;
        let voters: Option<Vec<FirstVoter>> =
            optional(VOTERS)?.map(serde_json::from_str).transpose().map_err(|why| {
                let why: serde_json::Error = why;
                error(VOTERS, why.to_string())
            })?;
        if voters.as_ref().is_some_and(Vec::is_empty) {
            return Err(error(VOTERS, "is empty".to_owned()));
        }
        Ok(Self { cluster, token, generation, origin, bootstrap, voters })
    }

    /// The identity of a cluster that is formed for the first time.
    #[must_use]
    pub fn new(cluster: ClusterId, token: Token, origin: Origin, bootstrap: Option<Bootstrap>) -> Self {
        Self { cluster, token, generation: FIRST_GENERATION, origin, bootstrap, voters: None }
    }

    /// The voters of the first configuration; empty if they are not chosen, or not known any more.
    #[must_use]
    pub fn first_voters(&self) -> &[FirstVoter] {
        self.voters.as_deref().unwrap_or_default()
    }

    /// The ID of the member `name`; `None` if the first configuration has no voter with this name.
    #[must_use]
    pub fn id_of(&self, name: &str) -> Option<MemberId> {
        self.first_voters().iter().find(|voter| voter.name == name).map(|voter| voter.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> ClusterIdentity {
        ClusterIdentity::new(ClusterId(1 << 120), Token::of([9; 32]), Origin::Empty, None)
    }

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        for owner in [None, Some(OwnerReference::default())] {
            let owned = owner.is_some();
            let secret = identity().to_secret("demo", "default", owner);
            assert_eq!(secret.immutable, Some(true));
            assert_eq!(ClusterIdentity::from_secret(&secret), Ok(identity()));
            let name = if owned { "demo-identity-01000000-owned" } else { "demo-identity-01000000" };
            assert_eq!(secret.metadata.name.as_deref(), Some(name));
            assert_eq!(secret.metadata.owner_references.is_some(), owned);
        }
    }

    /// Earlier versions wrote the first voters into the Secret, and neither generation nor `spec.bootstrap`.
    #[test]
    fn a_secret_of_an_earlier_version_is_of_the_first_generation() {
        let mut secret = identity().to_secret("demo", "default", None);
        let data = secret.data.get_or_insert_default();
        data.remove(GENERATION);
        data.insert(VOTERS.to_owned(), ByteString(br#"[{"name":"demo-1","id":"000000000000000a"}]"#.to_vec()));
        let read = ClusterIdentity::from_secret(&secret).expect("it stays readable");
        let voters = Some(vec![FirstVoter { name: "demo-1".to_owned(), id: MemberId(0xa) }]);
        assert_eq!(read, ClusterIdentity { voters, ..identity() });
    }

    #[test]
    fn a_damaged_identity_is_refused_by_field() {
        for field in [CLUSTER_ID, TOKEN, GENERATION, ORIGIN, BOOTSTRAP, VOTERS] {
            let mut secret = identity().to_secret("demo", "default", None);
            if let Some(data) = &mut secret.data {
                data.insert(field.to_owned(), ByteString(b"!".to_vec()));
            }
            let refused = ClusterIdentity::from_secret(&secret).expect_err("damaged").to_string();
            assert!(refused.contains(field), "{refused}");
        }
    }
}
