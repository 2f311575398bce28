//! Owns the list of internal events that metrics and traces record. Does not own the recording: the program's metrics and the
//! simulator's trace implement [`Observer`].

use std::fmt;
use std::time::Duration;

use mvcc::Outcome;
use raft::Output;

/// Is notified of each event on the thread on which it happens, so that an implementation must not block. Every method does
/// nothing by default.
pub trait Observer: fmt::Debug + Send + Sync {
    /// This member has a new leader, or its first one.
    fn leader_changed(&self) {}

    /// This member has become a candidate.
    fn election_started(&self) {}

    /// An entry with this number of commands was proposed.
    fn entry_built(&self, commands: usize) {
        let _ = commands;
    }

    /// A group of entries became durable with one sync.
    fn log_written(&self, entries: usize, took: Duration) {
        let _ = (entries, took);
    }

    /// A batch was applied, and its view was published.
    fn batch_applied(&self, took: Duration) {
        let _ = took;
    }

    /// A command was applied and succeeded.
    fn applied(&self, outcome: &Outcome) {
        let _ = outcome;
    }

    /// A snapshot of this member's state became durable.
    fn snapshot_taken(&self, took: Duration) {
        let _ = took;
    }

    /// The core returned this output, which the driver is about to execute.
    fn output(&self, output: &Output) {
        let _ = output;
    }
}

/// An observer that ignores every event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
