//! Owns the decision when a read is linearizable. Does not own the views that are read (`published.rs`).

pub(crate) mod barrier;
