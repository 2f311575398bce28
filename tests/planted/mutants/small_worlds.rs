//! The small worlds of `node/raft/tests/small_worlds`, around the core with planted bugs. Owns nothing but their place
//! here.
#![allow(dead_code, reason = "the hunts use a part of them")]

#[path = "../../../node/raft/tests/network/shapes.rs"]
#[allow(unreachable_pub, reason = "test programs share it")]
mod network;

#[path = "../../../node/raft/tests/small_worlds/bounds.rs"]
pub(crate) mod bounds;
#[path = "../../../node/raft/tests/small_worlds/clocks.rs"]
mod clocks;
#[path = "../../../node/raft/tests/small_worlds/digest.rs"]
mod digest;
#[path = "../../../node/raft/tests/small_worlds/disk.rs"]
mod disk;
#[path = "../../../node/raft/tests/small_worlds/history.rs"]
mod history;
#[path = "../../../node/raft/tests/small_worlds/in_flight.rs"]
mod in_flight;
#[path = "../../../node/raft/tests/small_worlds/member.rs"]
mod member;
#[path = "../../../node/raft/tests/small_worlds/opening.rs"]
mod opening;
#[path = "../../../node/raft/tests/small_worlds/read_back.rs"]
mod read_back;
#[path = "../../../node/raft/tests/small_worlds/removal.rs"]
mod removal;
#[path = "../../../node/raft/tests/small_worlds/search.rs"]
pub(crate) mod search;
#[path = "../../../node/raft/tests/small_worlds/snapshots.rs"]
mod snapshots;
#[path = "../../../node/raft/tests/small_worlds/state.rs"]
mod state;
#[path = "../../../node/raft/tests/small_worlds/worlds.rs"]
pub(crate) mod worlds;
