//! The tasks of a user of raft-operator, as calls on a real Kubernetes cluster: install, create, write, scale, fail,
//! back up and restore.
//!
//! Owns the commands, and the conditions for which the commands wait. The demo shows the commands, and the end-to-end
//! tests assert on their results. Like a user, every call uses `kubectl`, `helm`, or a real client in a pod. Does not
//! own a cluster.

pub mod kubernetes;

pub mod operator;

pub mod raft_cluster;

pub mod client;

pub mod backup;

pub use kubernetes::Kubernetes;
