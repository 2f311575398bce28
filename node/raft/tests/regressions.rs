//! Bugs of other implementations that the core could have too, each with the history that shows it. Owns one test per bug;
//! where a sentence of the paper says the same, `paper.rs` has the plain case and this file the ugly one.

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
