//! The numbers of the protocol, each with a type of its own. Owns no arithmetic beyond "next".

use std::fmt;
use std::time::Duration;

/// Upper bound of indexes and terms in messages. A message beyond it is invalid and ignored; below it no sum overflows.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number! {
    /// An election period; 0 before the first (Raft thesis §3.3).
    Term
}
number! {
    /// A position in the log. The first entry has index 1; 0 means "before the first entry" (Raft thesis §3.5).
    Index
}
number! {
    /// Number of one write: a [`crate::Persist`] or an install. Each write gets the next number, and an acknowledgement
    /// covers all writes up to its number.
    IoId
}
number! {
    /// The proposer's ID of a proposal. A proposer never reuses one, not even after a restart: a leader ignores IDs
    /// that it has seen, so that a forwarded proposal that the network duplicates is applied once. IDs that mostly grow
    /// by one keep that memory small.
    ProposalId
}
number! {
    /// The requester's ID of a batch of linearizable reads; never reused (etcd#20418).
    ReadContext
}

/// Permanent ID of a member: 64 random bits, generated with the member's empty disk; never zero and never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Identifies an entry by the term that created it and its index. Ordered as the vote rule compares logs: by term first
/// (Raft thesis §3.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Term of the leader that created the entry.
    pub term: Term,
    /// Position in the log.
    pub index: Index,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.index)
    }
}

/// Reading of the driver's clocks at an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic time since an origin of the driver's choice; never goes back. All timeouts follow it.
    pub monotonic: Duration,
    /// Wall clock in milliseconds since the Unix epoch; may jump. Used only to stamp entries; the core keeps the stamps
    /// rising even when this clock goes back.
    pub wall_ms: u64,
}
