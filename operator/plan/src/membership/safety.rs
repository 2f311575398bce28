//! Reasons to wait instead of changing membership. Owns whether a change may be asked for. Does not own which change (`plan.rs`).

use crds::Reason;

use crate::decision::Note;
use crate::ids::MemberId;
use crate::membership::plan::Target;
use crate::observed::member::Configuration;
use crate::quorum::majority;
use crate::roster::Roster;

/// Why a change must wait. The leader is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hazard {
    /// An earlier change is not finished.
    #[error("the change at index {index} is not finished: both halves of the configuration must agree first")]
    InFlight {
        /// Index of the joint configuration.
        index: u64,
    },
    /// The present voters could not commit the change.
    #[error("only {serving} of {voters} voters are serving; {needed} are needed to agree to a change")]
    PresentQuorum {
        /// Voters that the leader receives answers of.
        serving: usize,
        /// All voters.
        voters: usize,
        /// A majority of them.
        needed: usize,
    },
    /// The future voters could not commit anything.
    #[error("only {serving} of {voters} future voters are serving; {needed} are needed to keep a quorum")]
    FutureQuorum {
        /// Future voters that the leader receives answers of.
        serving: usize,
        /// All future voters.
        voters: usize,
        /// A majority of them.
        needed: usize,
    },
    /// The leader must transfer leadership before it loses its vote.
    #[error("the leader {leader} loses its vote and transfers leadership to {successor} first")]
    LeaderLeaves {
        /// Name of the leader.
        leader: String,
        /// Name of the next leader.
        successor: String,
        /// ID of the next leader.
        successor_id: MemberId,
    },
    /// No member can take over from a leader that loses its vote.
    #[error("the leader {leader} loses its vote, and no voter that stays has caught up to take over")]
    NoSuccessor {
        /// Name of the leader.
        leader: String,
    },
}

impl Hazard {
    /// As conditions and `status.plan.blockedBy` report it.
    #[must_use]
    pub fn note(&self) -> Note {
        let reason = match self {
            Self::InFlight { .. } | Self::LeaderLeaves { .. } => Reason::ChangeInFlight,
            Self::PresentQuorum { .. } | Self::FutureQuorum { .. } | Self::NoSuccessor { .. } => Reason::UnsafeChange,
        };
        Note::new(reason, self.to_string())
    }
}

/// Checks that the leader may be asked for `target` now. The leader checks again when it is asked.
///
/// # Errors
/// Returns why to wait if the change would be unsafe now. The leader is not asked.
pub fn check(configuration: &Configuration, target: &Target, roster: &Roster<'_>) -> Result<(), Hazard> {
    if configuration.is_joint() {
        return Err(Hazard::InFlight { index: configuration.index });
    }
    let serving =
        |voters: &std::collections::BTreeSet<MemberId>| voters.iter().filter(|id| roster.health(**id).serves()).count();
    let (present, voters) = (serving(&configuration.voters), configuration.voters.len());
    if present < majority(voters) {
        return Err(Hazard::PresentQuorum { serving: present, voters, needed: majority(voters) });
    }
    if target.voters == configuration.voters {
        return Ok(());
    }
    let (future, voters) = (serving(&target.voters), target.voters.len());
    if future < majority(voters) {
        return Err(Hazard::FutureQuorum { serving: future, voters, needed: majority(voters) });
    }
    assert!(!target.voters.is_empty(), "a majority of no voters does not serve");
    match roster.leader().and_then(|leader| leader.id) {
        Some(leader) if !target.voters.contains(&leader) => Err(succession(configuration, target, roster, leader)),
        _ => Ok(()),
    }
}

/// The transfer that a change needs first: leadership goes to a voter that stays one.
fn succession(configuration: &Configuration, target: &Target, roster: &Roster<'_>, leader: MemberId) -> Hazard {
    let successor =
        configuration.voters.intersection(&target.voters).copied().find(|id| roster.health(*id).caught_up());
    assert_ne!(successor, Some(leader), "a leader that loses its vote does not succeed itself");
    let leader = roster.name(leader);
    match successor {
        Some(successor_id) => Hazard::LeaderLeaves { leader, successor: roster.name(successor_id), successor_id },
        None => Hazard::NoSuccessor { leader },
    }
}
