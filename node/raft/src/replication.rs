//! Replication of the log. Owns building and answering appends, heartbeats, commit, and adding proposals to the log.
//! Does not own what a leader knows about a member (`state/progress.rs`).

pub(crate) mod append;
pub(crate) mod commit;
pub(crate) mod heartbeat;
pub(crate) mod proposal;
