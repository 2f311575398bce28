//! Who takes part, and how that changes. Owns configurations and the legality of changes; replication carries them.

pub(crate) mod catch_up;
pub mod change;
pub mod configuration;
pub(crate) mod history;
pub(crate) mod joint;
pub(crate) mod removal;
