//! What people do with raft-operator, as calls on a real Kubernetes: install, create, write, scale, hurt, back up and
//! restore.
//!
//! Owns the commands and the conditions that they wait on; the demo shows them to a person, the end-to-end tests assert
//! on them. Everything goes through `kubectl`, `helm` and real clients in pods, as a person's would. Owns no cluster.

pub mod kubernetes;

pub mod operator;

pub mod raft_cluster;

pub mod client;

pub mod backup;

pub use kubernetes::Kubernetes;
