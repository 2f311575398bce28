//! The three Services: for clients, for clients that accept stale data, and for the members' DNS names. Owns their
//! contents.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::stamped;
use crate::names;
use crate::validated::ValidatedCluster;

/// The Service `demo`, for clients: it routes to ready voters.
#[must_use]
pub fn client(valid: &ValidatedCluster<'_>) -> Service {
    let spec = ServiceSpec {
        selector: Some(names::voter_selector(valid.name)),
        ports: Some(vec![port("client", names::CLIENT_PORT)]),
        ..ServiceSpec::default()
    };
    service(valid, names::client_service(valid.name), spec)
}

/// The Service `demo-read`, for clients that accept stale data: it routes to every ready member.
#[must_use]
pub fn read(valid: &ValidatedCluster<'_>) -> Service {
    let spec = ServiceSpec {
        selector: Some(names::cluster_selector(valid.name)),
        ports: Some(vec![port("client", names::CLIENT_PORT)]),
        ..ServiceSpec::default()
    };
    service(valid, names::read_service(valid.name), spec)
}

/// The headless Service `demo-members`: it gives each member a DNS name even before the member is ready, because
/// members must reach each other in order to become ready.
#[must_use]
pub fn members(valid: &ValidatedCluster<'_>) -> Service {
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        selector: Some(names::cluster_selector(valid.name)),
        ports: Some(vec![
            port("client", names::CLIENT_PORT),
            port("peer", names::PEER_PORT),
            port("metrics", names::METRICS_PORT),
        ]),
        ..ServiceSpec::default()
    };
    service(valid, names::member_service(valid.name), spec)
}

fn service(valid: &ValidatedCluster<'_>, name: String, spec: ServiceSpec) -> Service {
    stamped(Service {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(valid.namespace.to_owned()),
            labels: Some(names::cluster_labels(valid.name)),
            owner_references: Some(vec![valid.owner.clone()]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    })
}

fn port(name: &str, number: i32) -> ServicePort {
    assert!(name.len() <= 15, "Kubernetes refuses a longer port name: {name}");
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}
