//! Who takes part, and how that changes. Owns configurations and the legality of changes; replication carries them.

pub mod change;
pub mod configuration;
