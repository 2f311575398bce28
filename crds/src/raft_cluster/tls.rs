//! How traffic is protected. This version speaks plaintext only; the fields are required all the same, so that the
//! secure default of a later version changes nobody's cluster.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::embedded;

/// How client and peer traffic is protected.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Between clients and members, port 2379. Only `Plaintext` in this version: whoever reaches the port reads and
    /// writes every key.
    #[schemars(schema_with = "embedded::word")]
    #[x_kube(validation = Rule::new("self == 'Plaintext'")
        .message("tls.client must be Plaintext in this version: TLS comes in a later one; until then keep others away from port 2379 by a NetworkPolicy"))]
    pub client: TlsMode,

    /// Between members, and between the operator and members, port 2380. Only `Plaintext` in this version; the
    /// operator's calls carry the cluster's token.
    #[schemars(schema_with = "embedded::word")]
    #[x_kube(validation = Rule::new("self == 'Plaintext'")
        .message("tls.peer must be Plaintext in this version: TLS comes in a later one; until then keep others away from port 2380 by a NetworkPolicy"))]
    pub peer: TlsMode,
}

/// A way to protect traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum TlsMode {
    /// Not at all.
    Plaintext,
}
