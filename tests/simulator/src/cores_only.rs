//! The simulator without whole members: the root of a second build, which uses a core with planted bugs
//! (`tests/planted`). Members are left out because they depend on the shipped storage and driver, which are built
//! around the real core.

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
