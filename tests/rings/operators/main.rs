//! Tests of the operator's planner with real Raft cores: stale reads, lost replies, two operators at once, a crash after
//! every action. Does not own the simulated world (`tests/operators`).
//!
//! `SEED=n` tries one seed of the random runs, `SEEDS=n` tries n seeds, and `TRACE=1` prints the trace of a failing one.

mod bootstrap;
mod identity;
mod random;
mod steps;
