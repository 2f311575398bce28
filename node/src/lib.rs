//! The program `raft-node`: one member with its ports, from flags to the end of the process. Owns flags, connections
//! between members, the admin service, health and metrics, and the order of start and stop. Does not own the replicated
//! store (`engine`), the client API (`api`) or backups (`archive`).
//!
//! A module uses only modules above it in this list; all of them use `config`.

pub mod descriptors;
pub mod memory_budget;

pub mod config;
mod guarded;
pub mod log;
pub mod memory_limit;
mod random;
pub mod version;
pub mod volume;

pub mod metrics;

pub(crate) mod peer;

pub mod admin;
pub mod health;

pub mod member;

pub mod local;
