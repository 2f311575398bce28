//! The Raft core with known bugs that can be switched on, made from `node/raft` when this crate is built; with none switched on
//! it behaves as what ships. Owns the switch and the list of bugs. Refuses to be a dependency of anything but tests: what ships
//! has no trace of it.

pub mod bugs;
pub mod switch;

include!(concat!(env!("OUT_DIR"), "/lib.rs"));
