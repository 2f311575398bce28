//! A client that writes without pause and remembers every acknowledgement.
//!
//! Owns the evidence that a cluster kept its word: what was acknowledged, what has an unknown outcome, how long nothing
//! was served, and whether the store agrees at the end. Owns no cluster and injects no fault. Every write is a Put of a
//! fresh key and is never repeated, so each key may exist at most once, with version 1.

pub mod record;

pub mod writer;

pub mod verify;

pub mod control;
