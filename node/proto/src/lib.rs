//! Generated messages and services. Owns the includes, nothing else; the formats are in the `.proto` files.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

/// etcd v3 API, KV to Maintenance.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
/// Keys, values and events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}
/// Users, roles and permissions.
pub mod authpb {
    tonic::include_proto!("authpb");
}
/// Member to member.
pub mod peer {
    tonic::include_proto!("raftoperator.peer.v1");
}
/// Operator to member.
pub mod admin {
    tonic::include_proto!("raftoperator.admin.v1");
}
