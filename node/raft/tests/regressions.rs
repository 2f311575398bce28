//! Bugs of other implementations, each with a sequence of events that triggers the bug. Owns one test per bug. If the
//! bug violates a statement of the thesis, `paper.rs` tests the simple case and this file the complicated one.

#[path = "network/cluster.rs"]
mod network;

#[path = "regressions/crashes.rs"]
mod crashes;
#[path = "regressions/partitions.rs"]
mod partitions;
#[path = "regressions/staleness.rs"]
mod staleness;
#[path = "regressions/stalls.rs"]
mod stalls;
