//! The operator's planner against real Raft cores: old reads, lost replies, two operators, a crash after every action.
//!
//! `OPERATOR_SEED` replays one seed of the random runs, `OPERATOR_SEEDS` sets how many are run.

mod bootstrap;
mod identity;
mod random;
mod steps;
