//! Linearizable reads without an entry in the log (Raft thesis §6.4). Owns what waits for a proof of leadership.

pub(crate) mod leader_lease;
pub(crate) mod read_index;
