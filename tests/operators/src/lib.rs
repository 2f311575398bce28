//! Simulator of operators: a simulated API server, members that are real Raft cores, Kubernetes' controllers, and
//! operators that run `operator/src`. Operators read stale objects, crash after any request, and lose replies; two of
//! them may run at the same time. Every run has one thread and is determined by its seed.
//!
//! Owns the world and its invariants. Does not own the planner, its shell and the Raft core, which are the real ones.

pub mod api_server;

pub mod controllers;

pub mod members;

pub mod operator;

pub mod faults;

pub mod invariants;

pub mod world;

pub mod life;

pub mod levels;

pub use world::World;
