//! The Raft core with known bugs that can be switched on. It is copied from `node/raft` when this crate is built, and
//! behaves like the shipped core while all bugs are switched off. Owns the list of bugs. Only tests
//! depend on this crate, so that no shipped program contains these bugs.

pub mod bugs;
#[path = "../../switch.rs"]
pub mod switch;

include!(concat!(env!("OUT_DIR"), "/lib.rs"));
