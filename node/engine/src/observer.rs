//! Owns the list of what happens inside a member that the world outside may count or trace. Does not own counting: the
//! program's metrics implement [`Observer`], and so does the simulator's trace.

use std::fmt;
use std::time::Duration;

use mvcc::Outcome;
use raft::Output;

/// Is notified as things happen, on the thread on which they happen, so an implementation must not block. Every method
/// does nothing unless it is implemented.
pub trait Observer: fmt::Debug + Send + Sync {
    /// This member sees another leader than before, or a leader for the first time.
    fn leader_changed(&self) {}

    /// This member asks for votes.
    fn election_started(&self) {}

    /// An entry with this number of commands was proposed.
    fn entry_built(&self, commands: usize) {
        let _ = commands;
    }

    /// A group of entries became durable with one sync.
    fn log_written(&self, entries: usize, took: Duration) {
        let _ = (entries, took);
    }

    /// A batch was applied and its view published.
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

    /// The core returned this output. The driver is about to carry it out.
    fn output(&self, output: &Output) {
        let _ = output;
    }
}

/// Ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {}
