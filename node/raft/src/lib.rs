//! The Raft protocol as a deterministic, synchronous state machine.
//!
//! Owns every consensus decision: elections, replication, commit, membership, reads. Refuses to own a clock, a disk, a
//! socket, a thread or a source of randomness: time is an argument, chance is a seed, and what must happen outside
//! leaves as an [`Output`]. Four kinds of method: queries, inputs, one output ([`Raft::next_output`]) and
//! acknowledgements ([`Raft::persisted`], [`Raft::applied`], …).

pub mod config;
pub mod ids;
pub mod message;
pub mod output;

mod dispatch;
mod flush;
mod raft;

mod election;
mod role;

mod log;
mod quorum;
mod replication;

pub mod membership;

mod read;
mod snapshot;

mod fingerprint;
mod invariants;
mod outbox;

pub use config::{Config, ConfigError};
pub use ids::{EntryId, Index, IoId, MemberId, Now, ProposalId, ReadContext, Term};
pub use membership::change::{Change, ChangeError};
pub use membership::configuration::{Configuration, MemberInfo};
pub use message::{Append, AppendReply, Body, Entry, HardState, Message, Payload, SnapshotMeta};
pub use output::{DropReason, Output, Persist, Role, SoftState};
pub use raft::{ProgressReport, ProposeError, Raft, Restored, TransferError};

/// The README's driver compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
