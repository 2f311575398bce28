//! Drives the core: events in, outputs carried out. Owns the core's thread and the log's; decides nothing.

pub mod event;
pub(crate) mod inbox;
