//! Drives the core: events in, outputs carried out. Owns the core's thread and the log's; decides nothing.

pub mod event;
pub(crate) mod inbox;

pub(crate) mod run;

mod control;
mod perform;

pub(crate) mod log_thread;

pub(crate) mod snapshots;

mod status;

pub(crate) mod clock;
pub(crate) mod mailbox;

pub(crate) use status::Reporter;
