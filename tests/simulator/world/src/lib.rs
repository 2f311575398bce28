//! Simulated surroundings that every test harness shares (random numbers, time, network and disks), and the settings
//! that a run takes from environment variables. Does not own the behaviour of members, or any invariant.

pub mod agenda;
pub mod clock;
pub mod disk;
pub mod network;
pub mod parallel;
pub mod seed;
pub mod settings;
pub mod trace_hash;
