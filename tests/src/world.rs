//! The simulated surroundings of a cluster: chance, time, network and disks. Owns what they do to members, not what members
//! do.

pub mod agenda;
pub mod clock;
pub mod disk;
pub mod network;
pub mod seed;
pub mod trace_hash;
