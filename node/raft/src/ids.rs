//! The numbers of the protocol, each a type of its own. Owns no arithmetic beyond "next".

use std::fmt;
use std::time::Duration;

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
    /// A position in the log; the first entry has 1, 0 means "before the log" (Raft thesis §3.5).
    Index
}
number! {
    /// One [`crate::Persist`] or install; grows by one with each, and acknowledgements are cumulative.
    IoId
}
number! {
    /// A proposal as its proposer knows it. Never reused by a proposer, not across restarts either: a leader ignores a name
    /// that it has seen, so that a forwarded proposal that the network doubles happens once. Names that mostly grow by one
    /// keep that memory small.
    ProposalId
}
number! {
    /// A batch of linearizable reads as its asker knows it; never reused (etcd#20418).
    ReadContext
}

/// A member, for ever: 64 random bits minted by its disk, never zero and never reused.
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

/// Which entry: the term that created it and where it stands. Ordered as the vote rule compares logs: term first
/// (Raft thesis §3.6.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// Term of the leader that created the entry.
    pub term: Term,
    /// Its position.
    pub index: Index,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.term, self.index)
    }
}

/// What the driver's clocks say at an input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic time since an origin of the driver's choice; never goes back. All timeouts follow it.
    pub monotonic: Duration,
    /// Wall clock, milliseconds since the Unix epoch; may jump. Only stamps entries (and the core never lets a stamp go
    /// back).
    pub wall_ms: u64,
}
