//! Owns the outcome of a committed command, as the caller receives it. Does not own the reasons why a command was not
//! committed (`error.rs`).

use mvcc::{CommandError, Outcome, Revision};
use raft::EntryId;

/// The outcome of a committed command.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Result of the command, or the reason why the store refused the command. Every member has the same result.
    pub result: Result<Outcome, CommandError>,
    /// Revision of the store after the command.
    pub revision: Revision,
    /// Log entry that carried the command.
    pub entry: EntryId,
}
