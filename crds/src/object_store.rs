//! Owns the description of a bucket, shared by backups, restores and status. Holds the name of the credentials Secret,
//! never the credentials.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

/// Key of the access key ID in the credentials Secret.
pub const ACCESS_KEY_ID: &str = "access-key-id";

/// Key of the secret access key in the credentials Secret.
pub const SECRET_ACCESS_KEY: &str = "secret-access-key";

/// A bucket in S3-compatible storage, addressed by path.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct ObjectStore {
    /// Name of the bucket. It must exist, because neither members nor the operator create it.
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$"))]
    pub bucket: String,

    /// Prefix of every object's name, without a slash at either end, e.g. `prod/raft`. Several clusters may share a
    /// bucket and a prefix, because each writes below its own cluster ID. Default: empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = r"^[A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*$"))]
    pub prefix: Option<String>,

    /// URL of the service, e.g. `http://s3.storage.svc:7070`; `http` or `https`, without a path. Default: AWS S3 in
    /// `region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), regex(pattern = r"^https?://[^/?#\s]+/?$"))]
    pub endpoint: Option<String>,

    /// Region that requests are signed for. Default: `us-east-1`, which most services other than AWS accept.
    #[serde(default = "default_region")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9-]+$"))]
    pub region: String,

    /// Secret in the cluster's namespace with the keys `access-key-id` and `secret-access-key`. Members mount it; the
    /// operator never reads it. It may be created or changed later: the kubelet refreshes the mount, so members use the
    /// new content within about two minutes, without a restart. The optional key `ca.crt` holds PEM certificates of
    /// authorities that members trust in addition to the public ones.
    pub credentials_secret_ref: SecretReference,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

fn default_region() -> String {
    "us-east-1".into()
}
