//! The operator's shell with known bugs that can be switched on. It is copied from `operator/src` when this crate is
//! built. Does not own the bugs, nor their switch (`plan-with-bugs`). Only tests depend on this crate.

include!(concat!(env!("OUT_DIR"), "/lib.rs"));
