//! Owns commands from their admission to their answer: limits, batches, and the callers that wait. Does not own
//! consensus (`raft`).

pub(crate) mod admission;

pub(crate) mod batch;

pub(crate) mod pending;
