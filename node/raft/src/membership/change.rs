//! Which changes are legal from here. Owns the request and its refusals; entering and leaving joint configurations is
//! the leader's.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Index, MemberId};
use crate::membership::configuration::MemberInfo;

/// A wanted configuration, compare-and-swapped on the index of the one that it was computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Index of the configuration that the asker saw; another one in force refuses the change.
    pub expected: Index,
    /// The wanted electorate.
    pub voters: BTreeSet<MemberId>,
    /// The wanted learners.
    pub learners: BTreeSet<MemberId>,
    /// Name and addresses of everyone wanted.
    pub members: BTreeMap<MemberId, MemberInfo>,
}

/// Why a membership change was refused. Nothing entered the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Ask the leader.
    #[error("this member does not lead; ask {leader:?}")]
    NotLeader {
        /// Who leads, if known.
        leader: Option<MemberId>,
    },
    /// The configuration moved on since the asker looked.
    #[error("the configuration in force is the one at index {actual}, not {expected}: look again")]
    Stale {
        /// What the asker saw.
        expected: Index,
        /// What is in force.
        actual: Index,
    },
    /// One change at a time.
    #[error("the change at index {pending} is not finished yet")]
    InFlight {
        /// Where the unfinished change stands.
        pending: Index,
    },
    /// No configuration entry before the term's first commit (Ongaro 2015).
    #[error("the leader has committed nothing in its own term yet: try again in a moment")]
    TermNotCommitted,
    /// Leadership is being handed over.
    #[error("leadership is being handed over to {target}")]
    Transferring {
        /// To whom.
        target: MemberId,
    },
    /// A cluster keeps at least one voter.
    #[error("a configuration without voters was asked for")]
    NoVoters,
    /// More voters than a group can have.
    #[error("{voters} voters were asked for, at most {limit} are possible")]
    TooManyVoters {
        /// Asked for.
        voters: usize,
        /// Possible.
        limit: usize,
    },
    /// A member is both voter and learner.
    #[error("{member} was asked for both as voter and as learner")]
    Overlap {
        /// Which one.
        member: MemberId,
    },
    /// A member without name and addresses.
    #[error("{member} was asked for without its name and addresses")]
    Unknown {
        /// Which one.
        member: MemberId,
    },
    /// IDs are never reused.
    #[error("{member} was removed before and cannot come back: give it an empty volume, so that it gets a new ID")]
    WasRemoved {
        /// Which one.
        member: MemberId,
    },
    /// New voters must be learners that caught up.
    #[error("{member} is not a learner yet: add it as a learner first")]
    NotLearner {
        /// Which one.
        member: MemberId,
    },
    /// The catch-up gate.
    #[error("learner {learner} is {behind} entries behind, limit {limit}")]
    LearnerBehind {
        /// Which one.
        learner: MemberId,
        /// By how many entries.
        behind: u64,
        /// How many would do.
        limit: u64,
    },
    /// The change could not commit: too few of the wanted voters answer.
    #[error("only {reachable} of the {voters} wanted voters answered lately: a majority is needed")]
    QuorumAtRisk {
        /// Wanted voters heard from within an election timeout.
        reachable: usize,
        /// Wanted voters.
        voters: usize,
    },
}
