//! The engine with known bugs that can be switched on. It is copied from `node/engine/src` when this crate is built,
//! and behaves like the shipped one while all bugs are switched off. Does not own the bugs or their switch
//! (`../switch`). Only tests depend on this crate, so that no shipped program contains these bugs.

include!(concat!(env!("OUT_DIR"), "/lib.rs"));
