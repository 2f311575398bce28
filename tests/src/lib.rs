//! What needs more than one crate: simulation, processes, Kubernetes.

pub mod world;

pub mod cluster;

pub mod fault;

pub mod invariant;

pub mod check;

pub mod drill;

pub mod shipped;

pub mod operator_world;
