//! The simulator without clusters of cores: the root of another build, which uses a storage and an engine with planted
//! bugs (`tests/planted/members`). The cores are left out because they use neither.

pub mod command;

pub mod coverage;

pub mod fault;

pub mod invariant;

pub mod check;

pub mod trace;

pub mod version;

pub mod profile;

#[allow(dead_code, reason = "clusters of cores use the rest of it")]
pub mod churn;

pub mod sweep;

pub mod members;
