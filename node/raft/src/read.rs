//! Linearizable reads that need no entry in the log (Raft thesis §6.4). Owns the proofs of leadership that confirm a
//! read. Does not own the queues of waiting reads (`state/waiting_reads.rs`).

pub(crate) mod leader_lease;
pub(crate) mod read_index;
