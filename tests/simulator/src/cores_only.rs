//! The simulator without members: the root of a second build, around a core with planted bugs (`tests/planted`). Owns
//! nothing of its own; members are left out because they bring the storage and the driver that ship, which are built
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
