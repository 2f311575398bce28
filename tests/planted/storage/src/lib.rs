//! Storage with known bugs that can be switched on. It is copied from `node/storage/src` when this crate is built, and
//! behaves like the shipped one while all bugs are switched off. Does not own the bugs or their switch (`../switch`).
//! Only tests depend on this crate, so that no shipped program contains these bugs.

#![allow(
    unfulfilled_lint_expectations,
    reason = "the original has a list of banned methods, and says where it needs one"
)]

include!(concat!(env!("OUT_DIR"), "/lib.rs"));
