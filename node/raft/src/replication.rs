//! Carrying the log to everyone. Owns what a leader knows of a member, building and answering appends, heartbeats and commit.

pub(crate) mod append;
pub(crate) mod commit;
pub(crate) mod heartbeat;
pub(crate) mod inflight;
pub(crate) mod progress;
pub(crate) mod proposal;
