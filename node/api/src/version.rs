//! Owns the versions that the client port reports. Does not own what they promise: etcd's API as of this version of etcd.

/// The version of etcd whose API is served. Clients parse it: the API server of Kubernetes turns features off below 3.5.13.
pub const API: &str = "3.7.3";
/// What etcd calls the cluster's version: without the patch, in metrics.
pub const CLUSTER: &str = "3.7";
/// What etcd calls the version of the cluster and of its storage in full, over HTTP and in `Status`.
pub const STORAGE: &str = "3.7.0";
