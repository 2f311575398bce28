//! Silent members: those that answer neither the operator nor the leader, and those that repair their disks. Owns since
//! when a member is silent. Does not own what this process remembers of earlier observations (the shell's `memory.rs`).

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Health, Judge, condition_of, trial};
use crate::observed::ObservedMember;
use crate::observed::member::Answer;

impl Judge<'_> {
    /// The state of a member that answers neither the operator nor the leader, or repairs its disk.
    pub(super) fn silence(&self, set: Option<&StatefulSet>, member: &ObservedMember) -> Health {
        let since = self.progressed_at(member).unwrap_or_else(|| self.unanswered_since(member));
        debug_assert!(
            member.heard.is_none_or(|heard| heard <= self.observed.now),
            "a member was heard in an earlier pass"
        );
        // A member may serve although its pod is not ready.
        let since = member.heard.map_or(since, |heard| heard.max(since));
        // With other settings than those with which it was silent, the member has the whole delay to start.
        let since = trial::settings_since(set).map_or(since, |changed| changed.max(since));
        let delay = SignedDuration::try_from(self.valid.replacement_delay).unwrap_or(SignedDuration::MAX);
        if self.observed.now.duration_since(since) >= delay {
            Health::Unreachable { since }
        } else {
            Health::Silent { since }
        }
    }

    /// Time at which a repair made progress last; `None` if the member repairs nothing. A repair that goes on is not
    /// silence, however long it takes.
    fn progressed_at(&self, member: &ObservedMember) -> Option<Timestamp> {
        match member.answer.as_ref()? {
            Answer::Report(report) => report.repair.as_ref().map(|repair| self.observed.before(repair.stalled)),
            Answer::Silent { .. } => None,
        }
    }

    /// Time since which the member does not answer. An operator that has just started reads it from the pod. A pod that
    /// is being deleted may be left from before the cluster was stopped.
    fn unanswered_since(&self, member: &ObservedMember) -> Timestamp {
        let seen = match &member.answer {
            Some(Answer::Silent { since, .. }) => *since,
            _ => self.observed.now,
        };
        let pod = member.pod.as_ref().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        pod.and_then(unready_since).map_or(seen, |unready| unready.min(seen))
    }
}

fn unready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition_of(pod, "Ready")?;
    if ready.status == "True" { None } else { ready.last_transition_time.as_ref().map(|time| time.0) }
}
