//! Owns the versions that the client port reports. Does not own the version of the program.

/// Version of etcd whose API is served. Clients parse it: below 3.5.13 the Kubernetes API server disables features.
pub const API: &str = "3.7.3";
/// Version of the cluster in metrics; etcd writes it without the patch level there.
pub const CLUSTER: &str = "3.7";
/// Version of the cluster and of its storage over HTTP and in `Status`; etcd writes it with a patch level there.
pub const STORAGE: &str = "3.7.0";
