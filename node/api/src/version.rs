//! Owns the versions that the client port reports. Does not own the version of the program.

/// Version of etcd's API that is served. Clients parse this version: below 3.5.13, the Kubernetes API server disables
/// features.
pub const API: &str = "3.7.3";
/// Version of the cluster in metrics. As in etcd, it has no patch number there.
pub const CLUSTER: &str = "3.7";
/// Version of the cluster and of its storage, as reported over HTTP and in `Status`. As in etcd, this version has a
/// patch number.
pub const STORAGE: &str = "3.7.0";
