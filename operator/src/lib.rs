//! Watches RaftClusters, and changes their Kubernetes objects and members until these match the specs.
//!
//! The shell around the planner. It observes, carries out the planner's actions, and publishes the planner's report.
//! Owns every client, clock and source of randomness. Does not own any decision about a cluster (`plan`).

pub mod settings;

pub mod leadership;

pub mod cluster_object;

pub mod context;
pub mod machine;

pub mod readable;

pub mod raft_cluster;

pub mod raft_backup;

pub mod member;

mod planning;

pub mod memory;
pub mod refusals;
pub mod retry;

pub mod health;
pub mod metrics;

pub mod run;

#[cfg(test)]
mod answering;
