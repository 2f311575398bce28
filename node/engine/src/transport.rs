//! Owns what the driver demands of the way to other members. Does not own connections or the form of messages: the program
//! and the simulator each bring their own [`Transport`].

use std::sync::Arc;

use raft::{Configuration, Index, MemberId, Message, Term};

/// The way to other members. The driver calls it on its own thread, so no method may block.
pub trait Transport: Send {
    /// Another configuration is in force: it names the members and their addresses.
    fn configure(&self, configuration: Arc<Configuration>);

    /// Sends messages, best effort, and leaves `messages` empty.
    fn send(&self, messages: &mut Vec<(MemberId, Message)>);

    /// Sends the newest snapshot, which must reach `at_least`, and gives up any earlier transfer to the same member. Every
    /// transfer ends with one call of [`crate::shared::Shared::snapshot_sent`] with its number.
    fn send_snapshot(&self, to: MemberId, number: u64, term: Term, at_least: Index);
}
