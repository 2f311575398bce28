//! Tests of members that run as processes on loopback addresses with their own disks. The tests only use the interfaces
//! for clients and for the operator, and no internal interface of a member. `cluster.rs` and `until.rs` are also part of the tests
//! of two programs side by side (`tests/rings/versions`).

mod cluster;
mod until;
mod volume;
mod writer;

mod addresses;
mod descriptors;
mod disk_space;
mod failover;
mod hashes;
mod heavy;
mod lifecycle;
mod loads;
mod local;
mod membership;
mod memory;
mod panics;
mod repair;
mod repair_sources;
mod strangers;
mod streams;

/// Path of the program that members run.
fn program() -> std::path::PathBuf {
    env!("CARGO_BIN_EXE_raft-node").into()
}
