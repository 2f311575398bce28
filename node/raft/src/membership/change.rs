//! Which changes are legal from here. Owns the request and its refusals; entering and leaving joint configurations is
//! the leader's.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Index, MemberId};
use crate::membership::configuration::{Configuration, MemberInfo};
use crate::membership::joint;
use crate::message::Payload;
use crate::raft::Raft;
use crate::role::Standing;

/// A wanted configuration, compare-and-swapped on the index of the one that it was computed from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Index of the committed configuration that the asker saw; another one in force refuses the change. An uncommitted one
    /// would not do: another may come to stand at its index.
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

/// Most voters of a group: each more costs every write another acknowledgement.
const VOTERS_MAX: usize = 9;

impl Raft {
    /// Carries out a change, or refuses it with nothing in the log.
    pub(crate) fn start_change(&mut self, change: Change) -> Result<Index, ChangeError> {
        let Standing::Leader(leader) = &self.standing else {
            return Err(ChangeError::NotLeader { leader: self.leader });
        };
        if let Some(target) = self.transferring_to() {
            return Err(ChangeError::Transferring { target });
        }
        let (index, current) = self.history.latest();
        let index = *index;
        check_shape(current, &change)?;
        if leads_to(current, &change) {
            return Ok(index);
        }
        self.check_free(index, current.is_joint(), change.expected)?;
        self.check_caught_up(leader, current, &change)?;
        self.check_reachable(leader, &change)?;
        let next = joint::enter(current, change);
        assert!(next.voters.len() <= VOTERS_MAX, "no more voters than a group can have");
        assert!(next.is_joint() || next.voters == current.voters, "voters change through a joint configuration only");
        assert!(next.removed.is_superset(&current.removed), "nobody who was removed comes back");
        Ok(self.append(Payload::Configuration(next.into())))
    }

    /// One change at a time, computed from the configuration in force, and none before the term's first commit.
    fn check_free(&self, index: Index, is_joint: bool, expected: Index) -> Result<(), ChangeError> {
        if !self.term_is_committed() {
            return Err(ChangeError::TermNotCommitted);
        }
        if is_joint || index > self.log.commit() {
            return Err(ChangeError::InFlight { pending: index });
        }
        if expected != index {
            return Err(ChangeError::Stale { expected, actual: index });
        }
        Ok(())
    }
}

/// Whether the wish makes sense by itself.
fn check_shape(current: &Configuration, change: &Change) -> Result<(), ChangeError> {
    if change.voters.is_empty() {
        return Err(ChangeError::NoVoters);
    }
    if change.voters.len() > VOTERS_MAX {
        return Err(ChangeError::TooManyVoters { voters: change.voters.len(), limit: VOTERS_MAX });
    }
    if let Some(member) = change.voters.intersection(&change.learners).next() {
        return Err(ChangeError::Overlap { member: *member });
    }
    for member in change.voters.union(&change.learners) {
        if current.removed.contains(member) {
            return Err(ChangeError::WasRemoved { member: *member });
        }
        if !change.members.contains_key(member) {
            return Err(ChangeError::Unknown { member: *member });
        }
    }
    Ok(())
}

/// Whether the configuration in force is what is wanted, or a joint one on the way there.
fn leads_to(current: &Configuration, change: &Change) -> bool {
    let end = if current.is_joint() { joint::leave(current) } else { current.clone() };
    let info_agrees = |id: &MemberId| end.members.get(id) == change.members.get(id);
    end.voters == change.voters
        && end.learners == change.learners
        && change.voters.union(&change.learners).all(info_agrees)
}
