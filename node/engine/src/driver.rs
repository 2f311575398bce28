//! Owns the core's thread, which feeds events to the core and executes the core's outputs. Does not own any decision of the
//! protocol (`raft`).
//!
//! `run.rs` owns the driver's state and loop, and calls `outputs.rs`, `control.rs`, `level.rs`, `snapshots.rs`
//! and `space.rs`.
//! State that only one of these files needs has a file of its own: `calls.rs`, `report.rs` and `snapshot_schedule.rs`.

mod calls;
mod report;
mod snapshot_schedule;

mod run;

mod control;
mod level;
mod outputs;
mod snapshots;
mod space;
mod space_watch;

pub(crate) use report::Reporter;
pub(crate) use run::Parts;
pub use run::{Driver, Ended};
pub use snapshot_schedule::SnapshotTrigger;
pub(crate) use snapshot_schedule::{SnapshotJob, SnapshotSchedule};
