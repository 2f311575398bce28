//! Simulated clusters, each in one thread under one seed and checked after every step: clusters of Raft cores behind
//! the simulator's driver (`cores`), and clusters of whole members that run the shipped code (`members`). Owns the
//! clusters, their faults, invariants and checks. Does not own disk, network, clock and random numbers (the crate
//! `world`).

pub mod command;

pub mod coverage;

pub mod fault;

pub mod invariant;

pub mod check;

pub mod trace;

pub mod version;

pub mod profile;

pub mod churn;

pub mod sweep;

pub mod cores;

pub mod cases;

pub mod members;
