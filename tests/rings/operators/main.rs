//! The operator's planner against real Raft cores: old reads, lost replies, two operators, a crash after every action.
//!
//! `SEED=n` runs one seed of the random runs alone, `SEEDS=n` that number of them, and `TRACE=1` prints the history of
//! a failing one.

mod bootstrap;
mod identity;
mod random;
mod steps;
