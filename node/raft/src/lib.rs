//! The Raft protocol as a deterministic, synchronous state machine.
//!
//! Owns every consensus decision: elections, replication, commit, membership, reads. Does not own a clock, a disk, a
//! socket, a thread or a source of randomness: the driver passes time as an argument and randomness as a seed, and the
//! core returns every effect as an [`Output`]. A driver uses four kinds of methods: inputs, acknowledgements
//! ([`Raft::persisted`], [`Raft::applied`], …), one output ([`Raft::next_output`]) and queries.
//!
//! Modules are listed in reading order, and each imports only modules above it.
//!
//! The feature `fingerprint` adds a digest of a core's state, for tests that search through histories. Only this
//! crate's tests enable the feature. No shipped program contains its code.

// Plain data.
mod ids;

mod config;

mod quorum;

mod configuration;

mod standing;

mod message;

mod restored;

mod output;

// The state of one member.
#[cfg(feature = "fingerprint")]
mod present;

mod state;

mod outbox;

mod raft;

// The rules.
mod role;

mod election;

mod replication;

mod membership;

mod read;

mod snapshot;

// Admission of messages, and the methods that a driver calls.
mod dispatch;

mod invariants;

mod flush;

mod inputs;

mod queries;

pub use config::{Config, ConfigError, Limits};
pub use configuration::{Configuration, MemberInfo};
pub use election::transfer::TransferRefusal;
pub use ids::{EntryId, Index, IoId, MemberId, Now, ProposalId, ReadContext, Term};
pub use membership::removal::RemovalVerdict;
pub use membership::request::{Change, ChangeRefusal};
pub use message::{Append, AppendReply, Body, DropReason, Entry, HardState, Message, Payload, SnapshotMeta};
pub use output::{Output, Persist, Role, SoftState, Unreadable};
pub use queries::ProgressReport;
pub use raft::Raft;
pub use replication::proposal::ProposeRefusal;
pub use restored::{Restored, RestoredLog};
pub use standing::Standing;

/// Compiles and runs the driver example in the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
