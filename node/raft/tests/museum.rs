//! Bugs of other implementations that the core could have too, each with the history that shows it. Owns one test per bug;
//! where a sentence of the paper says the same, `paper.rs` has the plain case and this file the ugly one.

#[path = "network/cluster.rs"]
mod network;

#[path = "museum/crashes.rs"]
mod crashes;
#[path = "museum/partitions.rs"]
mod partitions;
#[path = "museum/staleness.rs"]
mod staleness;
#[path = "museum/stalls.rs"]
mod stalls;
