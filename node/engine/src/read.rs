//! Owns the wait until a view may answer a linearizable read. Does not own the views themselves (`published.rs`).

pub(crate) mod barrier;
