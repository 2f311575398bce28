//! The Raft protocol as a pure state machine: no IO, clock, thread or randomness.
