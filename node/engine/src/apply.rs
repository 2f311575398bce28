//! Owns the apply thread: committed entries become state, and outcomes go back to who waits for them. Does not own what a command
//! does (`mvcc`).

mod queue;
mod run;

pub(crate) use queue::{ApplyJob, ApplyQueue};
pub use run::{Applier, ApplyError};
