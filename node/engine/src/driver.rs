//! Owns the core's thread: events in, outputs carried out. Does not own any decision of the protocol: those are the core's.
//!
//! `run.rs` owns the state and the loop; `perform.rs`, `control.rs` and `snapshots.rs` are what the loop does. The state that each
//! of them needs stands in a file of its own, below the loop.

mod calls;
mod report;
mod snapshotting;

mod run;

mod control;
mod perform;
mod snapshots;

pub(crate) use report::Reporter;
pub(crate) use run::Parts;
pub use run::{Driver, Ended};
pub(crate) use snapshotting::{SnapshotJob, Snapshotting};
