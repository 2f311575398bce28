//! Owns the interface through which the driver sends to other members. Does not own connections or the encoding of messages:
//! the program and the simulator each implement [`Transport`].

use std::sync::Arc;

use raft::{Configuration, Index, MemberId, Message, ProposalId, Term};

/// Carries messages and snapshots to other members. The driver calls every method on the driver's thread. No method may block.
pub trait Transport: Send {
    /// Receives a new configuration in force, which contains the members and their addresses.
    fn configure(&self, configuration: Arc<Configuration>);

    /// Sends messages and leaves `messages` empty. Messages may be lost. Adds to `unsent` the proposals in messages that certainly
    /// do not leave this member, so that their callers need not wait for an outcome.
    fn send(&self, messages: &mut Vec<(MemberId, Message)>, unsent: &mut Vec<ProposalId>);

    /// Sends the newest snapshot, which must reach `at_least`, and aborts any earlier transfer to the same member. When a
    /// transfer ends, the transport calls [`crate::shared::Shared::snapshot_sent`] once with the transfer's number.
    fn send_snapshot(&self, to: MemberId, number: u64, term: Term, at_least: Index);

    /// Asks the other voters of the configuration in force whether this member was removed, and calls
    /// [`crate::shared::Shared::removal_verified`] once. The core asks again as long as nothing is decided, so each
    /// verification waits longer than the one before.
    fn verify_removal(&self);
}
