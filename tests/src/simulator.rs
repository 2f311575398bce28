//! The simulator alone: the root of a second build of it, around a core with planted bugs (`planted/`).

pub mod world;

pub mod cluster;

pub mod fault;

pub mod invariant;

pub mod check;

pub mod drill;
