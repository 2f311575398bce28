//! Owns the objects that users write: types, defaults and admission rules, the only contract between user and operator.
//! Does not own decisions (`operator/plan`) or clients (`operator`).
//!
//! The meaning of a field is written once, on the field; `kubectl explain`, the charts and the reference page are all
//! generated from it.
//!
//! Rules are CEL expressions inside the schema, so that the API server refuses bad input without a webhook. Install
//! [`definitions`], not `RaftCluster::crd()`. The documentation of `definitions` lists the differences.

#![allow(unreachable_pub, reason = "the schema derive copies each type, with its visibility, into a function")]
#![allow(clippy::duplicated_attributes, reason = "printer columns and rules repeat their own keys")]

pub mod condition;

pub mod raft_cluster;

pub mod raft_backup;

pub mod object_store;

pub mod definition;

mod embedded;

mod affinity;

mod pod_rules;

pub use condition::{ConditionType, Reason};
pub use definition::definitions;
pub use kube_core::Duration;
pub use object_store::{ObjectStore, SecretReference};
pub use raft_backup::{BackupProgress, BackupType, RaftBackup, RaftBackupSpec, RaftBackupStatus};
pub use raft_cluster::{RaftCluster, RaftClusterSpec, RaftClusterStatus};

/// API group of every kind here.
pub const GROUP: &str = "raftoperator.io";

/// The only version that is served and stored.
pub const VERSION: &str = "v1alpha1";

/// Longest name of a RaftCluster in bytes, so that names with `-identity`, an ordinal and the suffixes that Kubernetes
/// appends to pod names stay within Kubernetes' limit of 63.
pub const CLUSTER_NAME_MAX: usize = 40;
