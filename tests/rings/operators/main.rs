//! Tests of the operator's planner with real Raft cores: stale reads, lost replies, two operators that run
//! simultaneously, a crash after every action. Does not own the simulated world (`tests/operators`).
//!
//! `SEED=n` runs one seed of the random runs, `SEEDS=n` runs n seeds, and `TRACE=1` prints the trace of a failed run.

mod api_server;
mod bootstrap;
mod identity;
mod leadership;
mod random;
mod steps;
mod stop;
