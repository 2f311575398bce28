//! Reasons to wait before a membership change. Owns whether a change may be requested now. Does not own which change
//! (`plan.rs`).

use crds::Reason;

use crate::decision::Note;
use crate::ids::MemberId;
use crate::membership::plan::Target;
use crate::observed::member::Configuration;
use crate::quorum::majority;
use crate::roster::Roster;

/// The reason why a change must wait. The change is not requested.
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
        /// Number of voters whose answers the leader receives.
        serving: usize,
        /// Number of voters.
        voters: usize,
        /// Number of voters that form a majority.
        needed: usize,
    },
    /// The future voters could not commit anything.
    #[error("only {serving} of {voters} future voters are serving; {needed} are needed to keep a quorum")]
    FutureQuorum {
        /// Number of future voters whose answers the leader receives.
        serving: usize,
        /// Number of future voters.
        voters: usize,
        /// Number of future voters that form a majority.
        needed: usize,
    },
    /// The leader must transfer leadership before the change takes its vote away.
    #[error("the leader {leader} loses its vote and transfers leadership to {successor} first")]
    LeaderLeaves {
        /// Name of the leader.
        leader: String,
        /// Name of the next leader.
        successor: String,
        /// ID of the next leader.
        successor_id: MemberId,
    },
    /// The change takes the leader's vote away, and no other voter can become the leader.
    #[error("the leader {leader} loses its vote, and no voter that stays has caught up to take over")]
    NoSuccessor {
        /// Name of the leader.
        leader: String,
    },
}

impl Hazard {
    /// The reason and message for conditions and `status.plan.blockedBy`.
    #[must_use]
    pub fn note(&self) -> Note {
        let reason = match self {
            Self::InFlight { .. } | Self::LeaderLeaves { .. } => Reason::ChangeInFlight,
            Self::PresentQuorum { .. } | Self::FutureQuorum { .. } | Self::NoSuccessor { .. } => Reason::UnsafeChange,
        };
        Note::new(reason, self.to_string())
    }
}

/// Checks whether it is safe to request `target` from the leader now. The leader repeats the check when it receives
/// the request.
///
/// # Errors
/// Returns the reason to wait if the change would be unsafe now. The change is not requested.
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

/// The transfer that must precede the change: leadership moves to a voter that remains a voter.
fn succession(configuration: &Configuration, target: &Target, roster: &Roster<'_>, leader: MemberId) -> Hazard {
    let staying = configuration.voters.intersection(&target.voters).copied();
    let fit = staying.filter(|id| roster.health(*id).caught_up());
    // A leader with little free space would transfer leadership again.
    let successor = fit.min_by_key(|id| roster.is_low_on_space(*id));
    assert_ne!(successor, Some(leader), "a leader that loses its vote does not succeed itself");
    let leader = roster.name(leader);
    match successor {
        Some(successor_id) => Hazard::LeaderLeaves { leader, successor: roster.name(successor_id), successor_id },
        None => Hazard::NoSuccessor { leader },
    }
}
