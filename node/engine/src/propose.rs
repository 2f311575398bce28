//! Commands on their way into the log: bounded, batched, awaited. Owns no consensus.

pub(crate) mod admission;

pub(crate) mod batch;

pub(crate) mod pending;
