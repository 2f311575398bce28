//! The tasks of a user of raft-operator, as calls on a real Kubernetes: install, create, write, scale, fail, back up and
//! restore.
//!
//! Owns the commands and the conditions that they wait for. The demo shows them, and the end-to-end tests assert on
//! them. All calls go through `kubectl`, `helm` and real clients in pods, as those of a user do. Does not own a
//! cluster.

pub mod kubernetes;

pub mod operator;

pub mod raft_cluster;

pub mod client;

pub mod backup;

pub use kubernetes::Kubernetes;
