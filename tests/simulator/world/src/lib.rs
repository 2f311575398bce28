//! Parts that every test harness shares: random numbers, time, network, disks and settings from environment variables.
//! Owns what they do to members. Does not own what members do, or any invariant.

pub mod agenda;
pub mod clock;
pub mod disk;
pub mod network;
pub mod seed;
pub mod settings;
pub mod trace_hash;
