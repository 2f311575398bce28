//! Owns the list of internal events that metrics and traces record. Does not own the recording: the program's metrics and the
//! simulator's trace implement [`Observer`].

use std::fmt;
use std::time::Duration;

use mvcc::Outcome;
use raft::Output;

/// Receives each event on the thread on which the event happens. An implementation must therefore not block. By default every
/// method does nothing.
pub trait Observer: fmt::Debug + Send + Sync {
    /// This member has learned who leads: the leader changed, or was unknown before.
    fn leader_changed(&self) {}

    /// This member has become a candidate.
    fn election_started(&self) {}

    /// This member proposed an entry with this number of commands.
    fn entry_built(&self, commands: usize) {
        let _ = commands;
    }

    /// A group of entries became durable with one sync.
    fn log_written(&self, entries: usize, took: Duration) {
        let _ = (entries, took);
    }

    /// The log has grown. Both counts begin with the process: the bytes of its batches, and the bytes by which its files were
    /// extended ahead of batches.
    fn log_bytes(&self, written: u64, preallocated: u64) {
        let _ = (written, preallocated);
    }

    /// A batch was applied, and its view was published.
    fn batch_applied(&self, took: Duration) {
        let _ = took;
    }

    /// A command was applied and succeeded. If no caller of this member waited for the outcome, the outcome lacks what
    /// [`mvcc::Store::apply_unanswered`] does not read.
    fn applied(&self, outcome: &Outcome) {
        let _ = outcome;
    }

    /// A snapshot of this member's state became durable.
    fn snapshot_taken(&self, took: Duration) {
        let _ = took;
    }

    /// The core returned this output. The driver executes it next.
    fn output(&self, output: &Output) {
        let _ = output;
    }
}

/// An observer that ignores every event.
#[derive(Clone, Copy, Debug, Default)]
#[cfg(test)]
pub(crate) struct Unobserved;

#[cfg(test)]
impl Observer for Unobserved {}
