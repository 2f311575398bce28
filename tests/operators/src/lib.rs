//! Simulator of operators: a simulated API server, members that are real Raft cores, Kubernetes' controllers, and
//! operators that read stale objects, run twice, crash after any action and lose replies. One thread and one seed
//! determine a run.
//!
//! Owns the world and its invariants. Does not own the planner or the Raft core: both are the ones that ship.

pub mod api_server;

pub mod controllers;

pub mod members;

pub mod executor;

pub mod faults;

pub mod invariants;

pub mod world;

pub use world::World;
