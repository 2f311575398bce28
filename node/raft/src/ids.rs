//! The numbers of the protocol. Each kind of number has its own type. Owns no arithmetic except "next".

use std::fmt;
use std::time::Duration;

/// Upper bound of indexes and terms in messages. A message with a larger number is invalid and ignored. No sum of
/// numbers up to this bound overflows.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the next number.
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
    /// Number of an election period; 0 before the first election (Raft thesis §3.3).
    Term
}
number! {
    /// A position in the log. The first entry has index 1; 0 means "before the first entry" (Raft thesis §3.5).
    Index
}
number! {
    /// Number of one write: a [`crate::Persist`] or an install. Each write gets the next number. The acknowledgement of
    /// a write also acknowledges all earlier writes.
    IoId
}
number! {
    /// ID of a proposal, chosen by its proposer. A proposer never reuses an ID, not even after a restart. A leader
    /// ignores IDs that it has seen, so that a forwarded proposal that the network duplicates is applied once. The
    /// leader needs little memory for seen IDs if IDs mostly increase by one.
    ProposalId
}
number! {
    /// ID of a batch of linearizable reads, chosen by the requester; never reused (etcd#20418).
    ReadContext
}

/// Permanent ID of a member: 64 random bits that are generated when the member starts with an empty disk. Never zero,
/// never reused.
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

/// Identifies an entry by its index and the term that created it. Entries are ordered by term first, then by index,
/// because the vote rule compares logs in this order (Raft thesis §3.6.1).
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

/// Readings of the driver's two clocks at the time of an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic time since an origin of the driver's choice; never decreases. All timeouts are measured with it.
    pub monotonic: Duration,
    /// Wall clock in milliseconds since the Unix epoch; may jump. Gives entries their time stamps, which increase even
    /// when this clock is set back. Also used to detect clock jumps.
    pub wall_ms: u64,
}
