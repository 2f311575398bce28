//! Owns the wait until a view may answer a linearizable read, and the threads of heavy reads. Does not own the views
//! themselves (`published.rs`).

pub(crate) mod barrier;
pub mod executor;
