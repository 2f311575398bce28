//! The planner's entry point: one observation in, one plan out. Owns which phase a cluster is in and which modules decide
//! in that phase. Does not own any of their decisions.
//!
//! ```text
//!             identity created              first leader answers
//!  ┌─────────┐ ─────────────▶ ┌────────────┐ ─────────────▶ ┌─────┐
//!  │ Forming │                │ Leaderless │                │ Led │
//!  └─────────┘                └────────────┘ ◀───────────── └─────┘
//!   bootstrap                  bootstrap, outage             membership, rollout
//!                                           no leader answers
//! ```
//!
//! The phase is read from each observation anew and never stored. No arrow leads back to `Forming`: an identity is created
//! once, and where it is missing although the cluster existed, nothing is decided at all (`outage.rs`).

use std::time::Duration;

use crds::raft_cluster::RaftClusterStatus;
use crds::{ObjectStore, Reason};

use crate::bootstrap;
use crate::decision::{Decision, Note};
use crate::identity::{Record, RecordError};
use crate::labels;
use crate::membership::step;
use crate::names::Ordinal;
use crate::objects;
use crate::observed::{Linearizable, Observed};
use crate::outage;
use crate::pace::{self, Pace};
use crate::restore;
use crate::rollout;
use crate::roster::Roster;
use crate::status::{self, Facts};
use crate::validated::ValidatedCluster;

/// What to do, what to report and when to look again.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What to do, in order.
    pub actions: Vec<crate::action::Action>,
    /// What to report.
    pub status: RaftClusterStatus,
    /// When to look again, if nothing is heard before.
    pub next_look: Duration,
    /// How far apart looks may grow while each is like the one before.
    pub slowest_look: Duration,
}

/// How far a cluster has come, by what was observed.
#[derive(Clone, Copy, Debug)]
enum Phase<'p> {
    /// It has no identity yet: its first members start and report their IDs.
    Forming,
    /// It has an identity, and no leader confirmed its configuration.
    Leaderless {
        /// The identity.
        record: &'p Record,
    },
    /// A leader confirmed the configuration by a linearizable read.
    Led {
        /// The identity.
        record: &'p Record,
        /// The configuration, and who confirmed it.
        read: &'p Linearizable,
    },
}

/// What a phase decides besides the objects that every phase keeps up to date.
struct PhaseDecision {
    decision: Decision,
    /// Voters that the disruption budget counts with: raised before a change that adds voters, lowered after one that removes
    /// them, and left alone while no leader confirms who votes.
    voters: Option<usize>,
    /// Newcomers that are not needed.
    surplus: Vec<Ordinal>,
}

/// Decides.
#[must_use]
pub fn plan(observed: &Observed) -> Plan {
    if observed.cluster.metadata.deletion_timestamp.is_some() {
        return deleting(observed);
    }
    let valid = match ValidatedCluster::parse(observed) {
        Ok(valid) => valid,
        Err(error) => return refused(observed, Decision::stall(Reason::InvalidSpec, error.to_string())),
    };
    let record = match read_record(observed) {
        Ok(record) => record,
        Err(error) => return refused(observed, Decision::stall(Reason::InvalidSpec, error.to_string())),
    };
    let record = record.as_ref();
    let roster = Roster::of(&valid, observed, record);
    let mut decision = decide(&valid, observed, &roster, record);
    if valid.spec.paused {
        decision.actions.clear();
    }
    let status = status::of(&Facts { observed, roster: Some(&roster), record, decision: &decision });
    let Pace { next, slowest } = pace::of(&valid, &decision);
    Plan { actions: decision.actions, status, next_look: next, slowest_look: slowest }
}

fn decide(valid: &ValidatedCluster<'_>, observed: &Observed, roster: &Roster<'_>, record: Option<&Record>) -> Decision {
    if let Some(taken) = objects::name_taken(valid, observed) {
        return taken;
    }
    if record.is_none()
        && let Some(lost) = outage::identity_lost(valid, observed, roster)
    {
        // Clients still need the Services of members that serve.
        return Decision { actions: objects::services(valid, observed), ..lost };
    }
    let phase = Phase::of(observed, record);
    let origin = record.map(|record| record.origin.clone()).or_else(|| restore::origin(valid, observed).ok());
    let store = origin.as_ref().and_then(|origin| origin.store());
    let PhaseDecision { decision, voters, surplus } = phase.decide(valid, observed, roster, store);
    let mut actions = objects::services(valid, observed);
    actions.extend(voters.and_then(|voters| objects::budget(valid, observed, voters)));
    actions.extend(objects::sets(valid, roster, record, phase.read(), store, &surplus));
    if let Phase::Led { record, read } = phase {
        actions.extend(labels::formed(observed, record));
        actions.extend(labels::pods(roster, &read.configuration));
        actions.extend(labels::volumes(roster, record));
    }
    actions.extend(rollout::unstick(valid, roster, store));
    Decision { actions, ..Decision::default() }.and(decision)
}

impl<'p> Phase<'p> {
    fn of(observed: &'p Observed, record: Option<&'p Record>) -> Self {
        match (record, &observed.configuration) {
            (None, _) => Self::Forming,
            (Some(record), None) => Self::Leaderless { record },
            (Some(record), Some(read)) => Self::Led { record, read },
        }
    }

    fn read(self) -> Option<&'p Linearizable> {
        match self {
            Self::Forming | Self::Leaderless { .. } => None,
            Self::Led { read, .. } => Some(read),
        }
    }

    /// The one dispatch on the phase.
    fn decide(
        self,
        valid: &ValidatedCluster<'_>,
        observed: &Observed,
        roster: &Roster<'_>,
        store: Option<&ObjectStore>,
    ) -> PhaseDecision {
        match self {
            Self::Forming => {
                let decision = bootstrap::before_record(valid, observed, roster);
                PhaseDecision { decision, voters: Some(valid.voters), surplus: Vec::new() }
            }
            Self::Leaderless { record } => {
                let decision = bootstrap::after_record(valid, observed, roster, record);
                let voters = observed.budget.is_none().then_some(record.voters.len());
                PhaseDecision { decision, voters, surplus: Vec::new() }
            }
            Self::Led { record, read } => {
                let stepped = step::next(valid, observed, roster, record, read);
                let mut decision = bootstrap::carry_out(valid, roster, record).and(stepped.decision);
                if decision.activity.is_none() {
                    decision = decision.and(rollout::next(valid, roster, read, store));
                }
                let present = read.configuration.voters.len().max(read.configuration.outgoing.len());
                PhaseDecision { decision, voters: Some(present.max(stepped.voters_next)), surplus: stepped.surplus }
            }
        }
    }
}

/// Reads the identity, if this very cluster has one.
fn read_record(observed: &Observed) -> Result<Option<Record>, RecordError> {
    let secret = observed.record.as_ref().filter(|secret| observed.owns(&secret.metadata));
    secret.map(Record::from_secret).transpose()
}

/// Kubernetes collects what the cluster owns; nothing is created or changed meanwhile.
fn deleting(observed: &Observed) -> Plan {
    let decision = Decision {
        activity: Some(Note::new(Reason::Deleting, "Kubernetes collects what belongs to this cluster")),
        ..Decision::default()
    };
    refused(observed, decision)
}

/// No action, and a report of why.
fn refused(observed: &Observed, decision: Decision) -> Plan {
    let status = status::of(&Facts { observed, roster: None, record: None, decision: &decision });
    Plan { actions: Vec::new(), status, next_look: pace::CALM, slowest_look: pace::CALM }
}
