//! Owns how traffic is protected. This version has plain text only; the fields are required nevertheless, so that a secure
//! default of a later version does not change existing clusters.

use kube_derive::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::embedded;

/// How client and peer traffic is protected.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[x_kube(crates(kube_core = "kube_core"))]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// Protection of traffic between clients and members, port 2379. Only `Plaintext` in this version: every client that
    /// can reach the port can read and write all keys.
    #[schemars(schema_with = "embedded::word")]
    #[x_kube(validation = Rule::new("self == 'Plaintext'")
        .message("tls.client must be Plaintext: this version has no TLS; restrict access to port 2379 with a NetworkPolicy"))]
    pub client: TlsMode,

    /// Protection of traffic between members, and between the operator and members, port 2380. Only `Plaintext` in this
    /// version; calls of the operator carry the cluster's token.
    #[schemars(schema_with = "embedded::word")]
    #[x_kube(validation = Rule::new("self == 'Plaintext'")
        .message("tls.peer must be Plaintext: this version has no TLS; restrict access to port 2380 with a NetworkPolicy"))]
    pub peer: TlsMode,
}

/// Way to protect traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum TlsMode {
    /// No protection.
    Plaintext,
}
