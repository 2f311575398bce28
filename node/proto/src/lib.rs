//! Generated messages and services. Owns the includes; does not own the formats, which are in the `.proto` files.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]

/// etcd v3 API: services KV, Watch, Lease, Cluster, Maintenance and Auth.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}
/// etcd v3 API: versions of keys, and events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}
/// etcd v3 API: users, roles and permissions.
pub mod authpb {
    tonic::include_proto!("authpb");
}
/// etcd v3 API: service Lock.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}
/// etcd v3 API: service Election.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}
/// The peer service, through which members send messages to each other.
pub mod peer {
    tonic::include_proto!("raftoperator.peer.v1");
}
/// The admin service of members, which the operator calls.
pub mod admin {
    tonic::include_proto!("raftoperator.admin.v1");
}

/// The descriptors from which the code of the etcd packages is generated: an encoded
/// `google.protobuf.FileDescriptorSet`.
pub const ETCD_DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/etcd_descriptors.bin"));
