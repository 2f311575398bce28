//! Two programs side by side, as real processes on loopback addresses: the former one, from before feature levels, and the present
//! one. Clients write all the time, and at the end every acknowledged write is there.
//!
//! `cargo xtask test --only versions` builds both programs and passes their paths in [`PRESENT`] and [`FORMER`]. Therefore these
//! tests run only when they are selected by name. They start members as the tests of the present program do
//! (`node/tests/processes`).

use std::path::PathBuf;

#[path = "../../../node/tests/processes/cluster.rs"]
#[allow(dead_code, reason = "the tests of the present program use the rest")]
mod cluster;
#[path = "../../../node/tests/processes/until.rs"]
#[allow(dead_code, reason = "the tests of the present program use the rest")]
mod until;
#[path = "../../../node/tests/processes/volume.rs"]
#[allow(dead_code, reason = "the tests of the present program use it")]
mod volume;

mod pair;
mod writes;

mod level;
mod mixed;
mod taken_back;

/// Variable with the path of the present program.
const PRESENT: &str = "PRESENT_RAFT_NODE";
/// Variable with the path of the former program.
const FORMER: &str = "FORMER_RAFT_NODE";

/// Path of the present program, which members run unless a test says otherwise.
fn program() -> PathBuf {
    named_by(PRESENT)
}

/// Path of the former program.
fn former() -> PathBuf {
    named_by(FORMER)
}

fn named_by(variable: &str) -> PathBuf {
    let path = std::env::var_os(variable);
    path.unwrap_or_else(|| panic!("{variable} names no program: cargo xtask test --only versions")).into()
}
