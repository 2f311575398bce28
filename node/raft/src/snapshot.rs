//! Snapshots. Owns when a snapshot is due, offered or installed. Does not own the bytes: the driver writes and streams
//! them.

pub(crate) mod install;
pub(crate) mod offer;
pub(crate) mod taken;
