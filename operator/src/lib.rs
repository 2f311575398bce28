//! Watches RaftClusters and makes the cluster match them.
//!
//! The shell around the planner: it reads the world, carries out what the planner decides, and publishes what the planner
//! reports. Owns every client, clock and source of randomness; refuses to own a decision about a cluster.

pub mod settings;

pub mod leadership;

pub mod context;

pub mod raft_cluster;

pub mod raft_backup;

pub mod member;

pub mod memory;
pub mod retry;

pub mod health;
pub mod metrics;

pub mod run;
