//! The thesis, statement by statement. Owns one test for each statement of Ongaro's thesis ("Consensus: Bridging Theory
//! and Practice", 2014) about the behaviour of a server. Each test quotes its statement.

#[path = "network/cluster.rs"]
mod network;

#[path = "paper/clocks.rs"]
mod clocks;
#[path = "paper/election.rs"]
mod election;
#[path = "paper/membership.rs"]
mod membership;
#[path = "paper/preference.rs"]
mod preference;
#[path = "paper/reads.rs"]
mod reads;
#[path = "paper/replication.rs"]
mod replication;
#[path = "paper/snapshots.rs"]
mod snapshots;
#[path = "paper/terms.rs"]
mod terms;
