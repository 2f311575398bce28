//! The operator's planner in a world of its own: an API server, members that are real Raft cores, Kubernetes' controllers,
//! and operators that may lag, run twice, die after any action and lose replies. One thread, one
//! seed.
//!
//! Owns the world and what must hold in it; the planner under test is the one that ships, and so is the Raft core.

pub mod api_server;

pub mod controllers;

pub mod members;

pub mod executor;

pub mod faults;

pub mod invariants;

pub mod world;

pub use world::World;
