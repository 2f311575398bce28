//! The surroundings that every harness shares: chance, time, network, disks, and what the environment asks of a run.
//! Owns what they do to members. Does not own what members do, or any invariant.

pub mod agenda;
pub mod clock;
pub mod disk;
pub mod network;
pub mod seed;
pub mod settings;
pub mod trace_hash;
