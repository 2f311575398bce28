//! Owns the apply thread, which applies committed entries to the store and returns their outcomes to the waiting callers. Does
//! not own the meaning of a command (`mvcc`).

mod queue;
mod run;

pub(crate) use queue::{ApplyJob, ApplyQueue};
pub(crate) use run::decode;
pub use run::{Applier, ApplyError};
