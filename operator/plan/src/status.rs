//! The reported `status`, from the observation and the decision, with one condition per file. Owns which conditions
//! there are, and the time since which each holds; it reads these times from the former status. Does not own any
//! decision. No decision reads the status.

pub(crate) mod backup_ready;
pub(crate) mod degraded;
pub(crate) mod ready;
pub(crate) mod reconciling;
pub(crate) mod refused;
pub(crate) mod secured;
pub(crate) mod stalled;
mod unreadable;

mod members;

use std::collections::BTreeSet;

use crds::raft_cluster::RaftClusterStatus;
use crds::{ConditionType, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::completed::CompletedRollout;
use crate::decision::{Decision, Note, shortened};
use crate::identity::ClusterIdentity;
use crate::names;
use crate::observed::Observed;
use crate::roster::{Health, Roster, Seat};
use crate::stop;
use crate::troubles;

pub use ready::is_obstacle;
pub use refused::with_refusals;
pub use unreadable::unreadable;

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    Yes,
    No,
    Unknown,
}

/// A condition, without the time since which it holds.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) kind: ConditionType,
    pub(crate) holds: Holds,
    pub(crate) note: Note,
}

/// Everything on which a condition may depend.
pub(crate) struct Facts<'f> {
    pub(crate) observed: &'f Observed,
    pub(crate) roster: Option<&'f Roster<'f>>,
    pub(crate) identity: Option<&'f ClusterIdentity>,
    pub(crate) decision: &'f Decision,
}

impl Facts<'_> {
    /// Returns whether the cluster is stopped, or is being stopped.
    fn is_stopped(&self) -> bool {
        self.roster.is_some() && stop::applies(self.observed)
    }
}

/// The whole status.
pub(crate) fn of(facts: &Facts<'_>) -> RaftClusterStatus {
    let findings = [
        Some(ready::find(facts)),
        Some(reconciling::find(facts)),
        Some(stalled::find(facts)),
        Some(degraded::find(facts)),
        backup_ready::find(facts),
        Some(secured::find(facts)),
    ];
    let cluster = &facts.observed.cluster;
    let former = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let conditions =
        conditions(findings.into_iter().flatten(), former, facts.observed.now, cluster.metadata.generation);
    let completed = CompletedRollout::read(facts.observed);
    let mut status = RaftClusterStatus {
        observed_generation: cluster.metadata.generation,
        cluster_id: facts.identity.map(|identity| identity.cluster.to_string()),
        plan: facts.decision.membership.clone(),
        rollout: facts.decision.rollout.clone(),
        image: completed.as_ref().map(|completed| completed.image.clone()),
        feature_level: feature_level(facts.observed, completed.as_ref()),
        conditions,
        ..RaftClusterStatus::default()
    };
    if let Some(name) = cluster.metadata.name.as_deref() {
        status.selector = Some(format!("{}={name}", names::LABEL_CLUSTER));
    }
    debug_assert!(facts.roster.is_some() || facts.decision.actions.is_empty(), "only known members are acted on");
    if let Some(roster) = facts.roster {
        members::fill(&mut status, facts.observed, roster);
    }
    status
}

/// The feature level that the leader reports; without a leader, the highest one that was ever reported. `None` if no
/// member said anything of levels yet.
fn feature_level(observed: &Observed, completed: Option<&CompletedRollout>) -> Option<i32> {
    let reported = observed.leader_report().map(|leader| leader.level);
    let level = reported.max(completed.and_then(|completed| completed.level))?;
    i32::try_from(level).ok()
}

/// The problem of a member. If the member is lost or unreachable and the spec forbids its replacement, the note also
/// says this.
pub(crate) fn trouble(facts: &Facts<'_>, seat: &Seat<'_>) -> Option<Note> {
    let trouble = troubles::of(seat)?;
    let configuration = facts.observed.configuration.as_ref().map(|read| &read.configuration);
    let given_up = matches!(seat.health, Health::Lost(_) | Health::Unreachable { .. })
        && seat.id.is_some_and(|id| configuration.is_some_and(|known| known.contains(id)));
    if !given_up || facts.observed.cluster.spec.replacement.enabled {
        return Some(trouble);
    }
    let message = format!("{}; it is not replaced, as spec.replacement.enabled is false", trouble.message);
    Some(Note::new(Reason::ReplacementDisabled, message))
}

/// Adds a failure of the last pass to the condition Reconciling, because the next pass tries again.
#[must_use]
pub fn with_failure(mut status: RaftClusterStatus, failure: &str, now: Timestamp) -> RaftClusterStatus {
    let kind = ConditionType::Reconciling.as_str();
    let Some(condition) = status.conditions.iter_mut().find(|condition| condition.type_ == kind) else { return status };
    if condition.status != "True" {
        condition.status = "True".to_owned();
        condition.last_transition_time = Time(now);
        condition.reason = Reason::Waiting.as_str().to_owned();
        condition.message = String::new();
    }
    let separator = if condition.message.is_empty() { "" } else { "; " };
    condition.message = shortened(&format!("{}{separator}to be tried again: {failure}", condition.message));
    status
}

/// Adds to each finding the time since which it holds.
pub(crate) fn conditions(
    findings: impl Iterator<Item = Finding>,
    former: &[Condition],
    now: Timestamp,
    generation: Option<i64>,
) -> Vec<Condition> {
    let conditions: Vec<Condition> = findings
        .map(|finding| {
            let status = match finding.holds {
                Holds::Yes => "True",
                Holds::No => "False",
                Holds::Unknown => "Unknown",
            };
            let kind = finding.kind.as_str();
            let since = former
                .iter()
                .find(|condition| condition.type_ == kind && condition.status == status)
                .map_or(Time(now), |condition| condition.last_transition_time.clone());
            Condition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason: finding.note.reason.as_str().to_owned(),
                message: shortened(&finding.note.message),
                last_transition_time: since,
                observed_generation: generation,
            }
        })
        .collect();
    let kinds: BTreeSet<&str> = conditions.iter().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(kinds.len(), conditions.len(), "each condition is reported once: the API server refuses a second one");
    conditions
}
