//! Bugs of other implementations, each with a history that shows it. Owns one test per bug. Where a statement of the
//! thesis says the same, `paper.rs` has the simple case and this file the complicated one.

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
