//! The Raft core with known bugs that can be switched on, copied from `node/raft` when this crate is built. With all
//! bugs switched off, it behaves like the shipped core. Owns the switch and the list of bugs. Only tests depend on it,
//! so that no shipped program contains it.

pub mod bugs;
pub mod switch;

include!(concat!(env!("OUT_DIR"), "/lib.rs"));
