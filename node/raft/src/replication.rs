//! Replication of the log. Owns appends and the answers to them, heartbeats, the rule for commits, reads of
//! entries that are not in memory, and how proposals enter the log. Does not own what a leader knows about a member (`state/progress.rs`).

mod read_back;

pub(crate) mod append;
pub(crate) mod commit;
pub(crate) mod heartbeat;
pub(crate) mod proposal;
