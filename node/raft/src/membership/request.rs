//! The request for a membership change, and the reasons to refuse it. Owns these types. Does not own the rules
//! (`change.rs`, `catch_up.rs`).

use std::collections::{BTreeMap, BTreeSet};

use crate::configuration::MemberInfo;
use crate::ids::{Index, MemberId};

/// A requested configuration. The request is granted only if the configuration from which it was computed is still in
/// force (compare-and-swap).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Index of the committed configuration that the requester read. The change is refused if another configuration is
    /// in force. The index of an uncommitted configuration would not identify it, because another configuration may
    /// replace it at the same index.
    pub expected: Index,
    /// Requested voters.
    pub voters: BTreeSet<MemberId>,
    /// Requested learners.
    pub learners: BTreeSet<MemberId>,
    /// Name and addresses of every requested member.
    pub members: BTreeMap<MemberId, MemberInfo>,
}

/// Reason why a membership change was refused; nothing entered the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefusal {
    /// This member does not lead.
    #[error("this member does not lead; ask {leader:?}")]
    NotLeader {
        /// Leader of the term, if this member knows it.
        leader: Option<MemberId>,
    },
    /// The configuration in force is not the configuration that the requester read.
    #[error("the configuration in force is the one at index {actual}, not {expected}: read it again")]
    Stale {
        /// Index of the configuration that the requester read.
        expected: Index,
        /// Index of the configuration in force.
        actual: Index,
    },
    /// Another change is in progress.
    #[error("the change at index {pending} is not finished yet")]
    InFlight {
        /// Index of the configuration that is not committed yet, or is joint.
        pending: Index,
    },
    /// This leader has not committed an entry of its term yet, which it must do before it changes the configuration
    /// (Ongaro 2015).
    #[error("the leader has committed nothing in its own term yet: try again in a moment")]
    TermNotCommitted,
    /// A leadership transfer is in progress.
    #[error("leadership is being transferred to {target}")]
    Transferring {
        /// Target of the transfer.
        target: MemberId,
    },
    /// No quorum of voters has space for the entry.
    #[error("no quorum of voters has enough disk space: free space on their volumes")]
    NoSpace,
    /// The request has no voters.
    #[error("a configuration without voters was requested")]
    NoVoters,
    /// The request exceeds the maximum number of voters.
    #[error("{voters} voters were requested; at most {limit} are possible")]
    TooManyVoters {
        /// Number of requested voters.
        voters: usize,
        /// Maximum number of voters.
        limit: usize,
    },
    /// A member is requested as voter and also as learner.
    #[error("{member} was requested both as voter and as learner")]
    Overlap {
        /// ID of a member that is requested in both roles.
        member: MemberId,
    },
    /// The request contains no name and addresses for one of its members.
    #[error("{member} was requested without its name and addresses")]
    Unknown {
        /// ID of a member without name or addresses.
        member: MemberId,
    },
    /// A member in the request was removed from the cluster earlier; IDs are never reused.
    #[error("{member} was removed before and cannot come back: give it an empty volume, so that it gets a new ID")]
    WasRemoved {
        /// ID of a requested member that was removed from the cluster earlier.
        member: MemberId,
    },
    /// A new voter is not a learner yet.
    #[error("{member} is not a learner yet: add it as a learner first")]
    NotLearner {
        /// ID of a requested voter that is at present neither a voter nor a learner.
        member: MemberId,
    },
    /// A new voter lags the leader too far.
    #[error("learner {learner} lags the leader by {lag} entries; at most {limit} are allowed")]
    LearnerBehind {
        /// ID of a new voter that lags too far.
        learner: MemberId,
        /// Number of entries by which the learner lags the leader.
        lag: u64,
        /// Maximum lag of a new voter, in entries.
        limit: u64,
    },
    /// Too few of the requested voters answer: the change might never be committed.
    #[error("only {reachable} of the {voters} requested voters answered recently: a majority is needed")]
    QuorumAtRisk {
        /// Number of requested voters that answered within an election timeout.
        reachable: usize,
        /// Number of requested voters.
        voters: usize,
    },
}
