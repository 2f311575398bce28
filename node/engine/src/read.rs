//! Owns the wait until a view may answer a linearizable read. Does not own the views that are read (`published.rs`).

pub(crate) mod barrier;
