//! Owns commands from their admission to their answer: bounded, batched and awaited. Does not own consensus (`raft`).

pub(crate) mod admission;

pub(crate) mod batch;

pub(crate) mod pending;
