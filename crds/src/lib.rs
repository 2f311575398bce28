//! The objects users write: the only contract between user and operator.
//!
//! Types, defaults and admission rules live here; no decision and no client does. What a field means is said once, on
//! the field, and `kubectl explain`, the charts and the reference page are all made from that sentence.
//!
//! A rule is CEL inside the schema, so the API server refuses bad input by itself and no webhook is needed. The
//! definitions to install are [`definitions`], not `RaftCluster::crd()`: see there for what they add.

#![allow(unreachable_pub, reason = "the schema derive copies each type, with its visibility, into a function")]
#![allow(clippy::duplicated_attributes, reason = "printer columns and rules repeat their own keys")]

pub mod condition;

pub mod raft_cluster;

pub mod raft_backup;

pub mod object_store;

pub mod definition;

mod embedded;

pub use condition::{ConditionType, Reason};
pub use definition::definitions;
pub use kube_core::Duration;
pub use object_store::{ObjectStore, SecretReference};
pub use raft_backup::{BackupProgress, BackupType, RaftBackup, RaftBackupSpec, RaftBackupStatus};
pub use raft_cluster::{RaftCluster, RaftClusterSpec, RaftClusterStatus};

/// API group of every kind here.
pub const GROUP: &str = "raftoperator.io";

/// The one version served and stored.
pub const VERSION: &str = "v1alpha1";

/// Longest name of a RaftCluster, in bytes: room for `-identity`, member ordinals and what Kubernetes appends to pod
/// names.
pub const CLUSTER_NAME_MAX: usize = 40;
