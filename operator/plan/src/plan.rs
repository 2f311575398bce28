//! The planner's entry point: takes one observation and returns one plan. Owns which phase a cluster is in, and which
//! modules decide in that phase. Does not own any of their decisions.
//!
//! ```text
//!            pointer written         first voters chosen         leader answers
//!  +-------+ -------------> +---------+ ------------> +------------+ ------------> +-----+
//!  | Empty |                | Forming |               | Leaderless |               | Led |
//!  +-------+                +---------+               +------------+ <------------ +-----+
//!   bootstrap                bootstrap                 bootstrap, outage            membership, rollout
//!                                                              no leader answers
//! ```
//!
//! The phase follows from each observation and is never stored. No arrow leads back to `Empty` or `Forming`, because the
//! identity and the first voters are chosen once. If the identity is missing although the cluster existed, no action is
//! decided (`outage.rs`). While `spec.stopped` is true, no phase decides (`stop.rs`).

use std::time::Duration;

use crds::Reason;
use crds::raft_cluster::RaftClusterStatus;

use crate::action::Action;
use crate::bootstrap;
use crate::decision::{Decision, Note};
use crate::growth;
use crate::identity::ClusterIdentity;
use crate::invariant::Finished;
use crate::labels;
use crate::membership::step;
use crate::names::Ordinal;
use crate::objects;
use crate::observed::{Linearizable, Observed};
use crate::outage;
use crate::pace::{self, Pace};
use crate::pointer::{self, Found};
use crate::restore;
use crate::rollout::Rollout;
use crate::roster::Roster;
use crate::secret;
use crate::status::{self, Facts};
use crate::stop;
use crate::validated::ValidatedCluster;

/// Actions, report and requeue interval of one pass.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Actions, in order.
    pub actions: Vec<Action>,
    /// Status to publish.
    pub status: RaftClusterStatus,
    /// Delay before the next pass. A change of a watched object triggers a pass earlier.
    pub requeue_after: Duration,
    /// Maximum delay between passes while each observation equals the previous one.
    pub requeue_at_most: Duration,
}

/// Phase in the life of a cluster, according to the observation.
#[derive(Clone, Copy, Debug)]
enum Phase<'p> {
    /// The cluster has no identity yet, and no members.
    Empty,
    /// The cluster has an identity, and its first voters are not chosen yet: its first members start and report their
    /// IDs.
    Forming {
        /// The identity.
        identity: &'p ClusterIdentity,
    },
    /// The cluster has an identity, but no leader confirmed its configuration.
    Leaderless {
        /// The identity.
        identity: &'p ClusterIdentity,
    },
    /// A leader confirmed the configuration by a linearizable read.
    Led {
        /// The identity.
        identity: &'p ClusterIdentity,
        /// The confirmed configuration and the leader.
        read: &'p Linearizable,
    },
}

/// The decision of one phase. It does not contain the writes of objects that every phase keeps up to date.
struct PhaseDecision {
    decision: Decision,
    /// Number of voters for the disruption budget. It is raised before a change that adds voters and lowered after a
    /// change that removes voters. `None` leaves the budget unchanged, because no leader confirms the voters.
    voters: Option<usize>,
    /// New members that are not needed.
    surplus: Vec<Ordinal>,
    /// The member whose turn it is to restart with new settings.
    turn: Option<Ordinal>,
}

/// Plans one pass for a cluster.
///
/// # Panics
/// Panics if the plan violates an invariant (`invariant.rs`), which is a defect of the planner. The shell catches the
/// panic.
#[must_use]
pub fn plan(observed: &Observed) -> Plan {
    if observed.cluster.metadata.deletion_timestamp.is_some() {
        return deleting(observed);
    }
    let valid = match ValidatedCluster::parse(observed) {
        Ok(valid) => valid,
        Err(error) => return invalid(observed, error.to_string()),
    };
    let found = match pointer::find(observed) {
        Ok(found) => found,
        Err(error) => return invalid(observed, error.to_string()),
    };
    let identity = found.identity();
    let roster = Roster::of(&valid, observed, identity);
    let mut decision = decide(&valid, observed, &roster, &found);
    if valid.spec.paused {
        decision.actions.clear();
    }
    let actions = &decision.actions;
    Finished { valid: &valid, observed, roster: &roster, identity, actions }.check();
    let status = status::of(&Facts { observed, roster: Some(&roster), identity, decision: &decision });
    let Pace { next, slowest } = pace::of(&valid, &decision);
    Plan { actions: decision.actions, status, requeue_after: next, requeue_at_most: slowest }
}

fn decide(valid: &ValidatedCluster<'_>, observed: &Observed, roster: &Roster<'_>, found: &Found) -> Decision {
    let name_taken = objects::name_taken(valid, observed);
    let stops = stop::applies(observed);
    let known = match found {
        Found::Known(known) => Some(known.as_ref()),
        Found::Nothing => None,
        Found::Lost(what) => {
            let lost = outage::identity_lost(observed, roster, what);
            return match name_taken {
                _ if stops => stop::decide_without_identity(observed, roster).and(lost),
                Some(name_taken) => name_taken,
                // Clients still need the Services, because members may still serve.
                None => Decision { actions: objects::services(valid, observed), ..lost },
            };
        }
    };
    let identity = found.identity();
    let phase = Phase::of(observed, identity);
    let origin = identity.map(|identity| identity.origin.clone()).or_else(|| restore::origin(valid, observed).ok());
    let store = origin.as_ref().and_then(|origin| origin.store());
    if stops {
        return stop::decide(valid, observed, roster, known, store).and(name_taken.unwrap_or_default());
    }
    if let Some(name_taken) = name_taken {
        return name_taken;
    }
    let rollout = Rollout::of(valid, observed, roster, store);
    let PhaseDecision { decision, voters, surplus, turn } = phase.decide(valid, observed, roster, &rollout);
    let forms = matches!(phase, Phase::Empty | Phase::Forming { .. });
    let taken = rollout.taken(turn, forms);
    let mut actions = objects::services(valid, observed);
    actions.extend(known.into_iter().flat_map(|known| secret::keep(valid, observed, known)));
    actions.extend(voters.and_then(|voters| objects::budget(valid, observed, voters)));
    actions.extend(objects::sets(valid, roster, identity, phase.read(), store, &surplus, &taken));
    if let Phase::Led { identity, read } = phase {
        actions.extend(labels::formed(observed, identity));
        actions.extend(labels::pods(roster, &read.configuration));
        actions.extend(labels::volumes(roster, identity));
        actions.extend(rollout.served());
    }
    actions.extend(labels::claims(valid, roster, identity));
    actions.extend(rollout.unstick());
    let report = rollout.report(&decision);
    let settled = phase.read().filter(|_| decision.activity.is_none());
    let raise = settled.and_then(|read| rollout.raise(read));
    let record = phase.read().and_then(|read| rollout.record(read));
    // The record is the last action: another operator's write of the same Service ends the pass.
    let last = Decision { actions: raise.into_iter().chain(record).collect(), ..report };
    Decision { actions, ..Decision::default() }.and(decision).and(growth::decide(valid, roster, identity)).and(last)
}

impl<'p> Phase<'p> {
    fn of(observed: &'p Observed, identity: Option<&'p ClusterIdentity>) -> Self {
        match (identity, &observed.configuration) {
            (None, _) => Self::Empty,
            (Some(identity), Some(read)) => Self::Led { identity, read },
            (Some(identity), None) if identity.voters.is_none() => Self::Forming { identity },
            (Some(identity), None) => Self::Leaderless { identity },
        }
    }

    fn read(self) -> Option<&'p Linearizable> {
        match self {
            Self::Empty | Self::Forming { .. } | Self::Leaderless { .. } => None,
            Self::Led { read, .. } => Some(read),
        }
    }

    /// Calls the modules that decide in this phase. Only this function chooses modules by the phase.
    fn decide(
        self,
        valid: &ValidatedCluster<'_>,
        observed: &Observed,
        roster: &Roster<'_>,
        rollout: &Rollout<'_>,
    ) -> PhaseDecision {
        match self {
            Self::Empty => {
                let decision = bootstrap::begin(valid, observed);
                PhaseDecision { decision, voters: Some(valid.voters), surplus: Vec::new(), turn: None }
            }
            Self::Forming { identity } => {
                let decision = bootstrap::form(valid, observed, roster, identity);
                PhaseDecision { decision, voters: Some(valid.voters), surplus: Vec::new(), turn: None }
            }
            Self::Leaderless { identity } => {
                let decision = bootstrap::await_leader(valid, observed, roster, identity);
                // A member whose vote is not known counts as a voter until a leader says otherwise.
                let members = roster.seats.values().filter(|seat| seat.id.is_some()).count();
                let voters = identity.first_voters().len();
                let voters = observed.budget.is_none().then_some(if voters == 0 { members } else { voters });
                PhaseDecision { decision, voters, surplus: Vec::new(), turn: None }
            }
            Self::Led { identity, read } => {
                let stepped = step::next(valid, observed, roster, identity, read);
                let mut decision = bootstrap::carry_out(valid, roster, identity).and(stepped.decision);
                let mut turn = None;
                if decision.activity.is_none() {
                    let (next, member) = rollout.next(read);
                    (decision, turn) = (decision.and(next), member);
                }
                if decision.activity.is_none() {
                    decision = decision.and(stepped.waiting);
                }
                let present = read.configuration.voters.len().max(read.configuration.outgoing.len());
                PhaseDecision {
                    decision,
                    voters: Some(present.max(stepped.voters_next)),
                    surplus: stepped.surplus,
                    turn,
                }
            }
        }
    }
}

/// The plan while the cluster is being deleted: Kubernetes collects what the cluster owns, and nothing is created or
/// changed.
fn deleting(observed: &Observed) -> Plan {
    let decision = Decision {
        activity: Some(Note::new(Reason::Deleting, "Kubernetes collects what belongs to this cluster")),
        ..Decision::default()
    };
    refused(observed, decision)
}

/// The plan of a pass in which the planner panicked: it has no actions, and its report asks a person to report the
/// defect. It depends on nothing except the RaftCluster, so that it cannot fail for the same cause.
#[must_use]
pub fn internal_error(observed: &Observed, message: &str) -> Plan {
    let message = format!(
        "the operator found a contradiction in its own plan and does nothing for this cluster, whose members continue to serve: {message}. Report this defect with the operator's log"
    );
    refused(observed, Decision::stall(Reason::InternalError, message))
}

/// The plan for a spec or an identity that cannot be used: the members are stopped if the spec says so, because that needs
/// neither, and nothing else is done.
fn invalid(observed: &Observed, message: String) -> Plan {
    Plan { actions: stop::halt(observed), ..refused(observed, Decision::stall(Reason::InvalidSpec, message)) }
}

/// A plan that contains no actions and only reports the decision.
fn refused(observed: &Observed, decision: Decision) -> Plan {
    let status = status::of(&Facts { observed, roster: None, identity: None, decision: &decision });
    Plan { actions: Vec::new(), status, requeue_after: pace::IDLE, requeue_at_most: pace::IDLE }
}
