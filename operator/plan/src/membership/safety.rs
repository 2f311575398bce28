//! Typed reasons to wait instead of changing membership. Decides whether, never what.

use crds::Reason;

use crate::decision::Note;
use crate::ids::MemberId;
use crate::membership::plan::Target;
use crate::observed::member::Configuration;
use crate::quorum::majority;
use crate::roster::Roster;

/// Why a change must wait. Nothing was asked of the leader.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Hazard {
    /// One change at a time.
    #[error("the change at index {index} is not finished: both halves of the configuration must agree first")]
    InFlight {
        /// Of the joint configuration.
        index: u64,
    },
    /// The present electorate could not commit the change.
    #[error("only {serving} of {voters} voters serve and {needed} are needed to agree to a change")]
    PresentQuorum {
        /// Voters that the leader hears.
        serving: usize,
        /// Voters.
        voters: usize,
        /// A majority of them.
        needed: usize,
    },
    /// The wanted electorate could not go on afterwards.
    #[error("only {serving} of the {voters} voters to be serve and {needed} are needed to go on afterwards")]
    FutureQuorum {
        /// Voters to be that the leader hears.
        serving: usize,
        /// Voters to be.
        voters: usize,
        /// A majority of them.
        needed: usize,
    },
    /// The leader must hand over before it loses its vote.
    #[error("the leader {leader} is to lose its vote and hands over to {heir} first")]
    LeaderLeaves {
        /// Who leads.
        leader: String,
        /// Who shall lead.
        heir: String,
        /// Its ID.
        heir_id: MemberId,
    },
    /// Nobody can take over from a leader that is to lose its vote.
    #[error("the leader {leader} is to lose its vote, but nobody who stays is fit to take over")]
    NoHeir {
        /// Who leads.
        leader: String,
    },
}

impl Hazard {
    /// As conditions and `status.plan.blockedBy` tell it.
    #[must_use]
    pub fn note(&self) -> Note {
        let reason = match self {
            Self::InFlight { .. } | Self::LeaderLeaves { .. } => Reason::ChangeInFlight,
            Self::PresentQuorum { .. } | Self::FutureQuorum { .. } | Self::NoHeir { .. } => Reason::UnsafeChange,
        };
        Note::new(reason, self.to_string())
    }
}

/// Whether the leader may be asked for `target` now. The leader judges again, by what it knows at that moment.
///
/// # Errors
/// Why to wait.
pub fn check(configuration: &Configuration, target: &Target, roster: &Roster<'_>) -> Result<(), Hazard> {
    if configuration.is_joint() {
        return Err(Hazard::InFlight { index: configuration.index });
    }
    let serving = |voters: &std::collections::BTreeSet<MemberId>| {
        voters.iter().filter(|id| roster.standing(**id).serves()).count()
    };
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
    match roster.leader().and_then(|leader| leader.id) {
        Some(leader) if !target.voters.contains(&leader) => Err(hand_over(configuration, target, roster, leader)),
        _ => Ok(()),
    }
}

/// Leadership goes to a voter that stays one.
fn hand_over(configuration: &Configuration, target: &Target, roster: &Roster<'_>, leader: MemberId) -> Hazard {
    let leader = roster.name(leader);
    let heir = configuration.voters.intersection(&target.voters).copied().find(|id| roster.standing(*id).caught_up());
    match heir {
        Some(heir_id) => Hazard::LeaderLeaves { leader, heir: roster.name(heir_id), heir_id },
        None => Hazard::NoHeir { leader },
    }
}
