//! Owns what a proposer learns of its committed command. Does not own why a command was not committed (`error.rs`).

use mvcc::{CommandError, Outcome, Revision};
use raft::EntryId;

/// The outcome of a committed command.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// What the command did, or why the store refused it. The same on every member.
    pub result: Result<Outcome, CommandError>,
    /// Revision of the store after the command.
    pub revision: Revision,
    /// Log entry that carried the command.
    pub entry: EntryId,
}
