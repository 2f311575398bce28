//! A client that writes without pause, and checks at the end that the store holds every acknowledged write.
//!
//! Owns the ledger of outcomes (acknowledged, unknown, not sent), the longest time without an acknowledgement, and the
//! comparison with the store. Does not own a cluster or any fault. Every write is a Put of a new key and is never
//! repeated, so every key in the store must have version 1.

pub mod ledger;

pub mod writer;

pub mod verify;

pub mod control;
