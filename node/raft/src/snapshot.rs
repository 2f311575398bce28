//! When the log is too long, or not long enough. Owns when a snapshot is due, offered or installed; its bytes are the driver's.

pub(crate) mod install;
pub(crate) mod offer;
pub(crate) mod taken;
