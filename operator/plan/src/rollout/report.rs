//! The report about a rollout, for `status.rollout` and the conditions. Owns its contents. Does not own the decisions.

use crds::raft_cluster::RolloutStatus;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{Rollout, failure};
use crate::decision::{Decision, shortened};
use crate::observed::settings_of_pod;
use crate::roster::Seat;

/// Maximum number of listed members; the schema sets the limit.
const FAILED_MAX: usize = 64;

impl Rollout<'_> {
    /// The report about the rollout after the phase has decided. Empty if every member runs the settings of the spec.
    pub(crate) fn report(&self, decided: &Decision) -> Decision {
        let failed = failure::note(&self.failures);
        // With a leader, `next` has decided already, unless a membership change goes first.
        let leaderless = self.observed.configuration.is_none();
        let stalled = self.refused.clone().or_else(|| failed.clone().filter(|_| failure::is_final(&self.failures)));
        let rollout = self.status(decided);
        Decision { stalled: stalled.filter(|_| leaderless), rollout, rollout_failed: failed, ..Decision::default() }
    }

    fn status(&self, decided: &Decision) -> Option<RolloutStatus> {
        let members: Vec<&Seat<'_>> = self.members().collect();
        let runs = |seat: &&&Seat<'_>| seat.pod.and_then(settings_of_pod) == Some(self.wanted.as_str());
        let updated = members.iter().filter(runs).count();
        let completed = self.valid.completed.as_ref();
        let recorded = completed.is_none_or(|completed| completed.digest == self.wanted);
        debug_assert!(updated <= members.len(), "an updated member exists");
        if updated == members.len() && recorded {
            return None;
        }
        let created = |seat: &&Seat<'_>| seat.pod?.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let since = members.iter().filter(runs).filter(|_| !recorded).filter_map(created).max();
        let notes = [failure::note(&self.failures), self.refused.clone(), decided.blocked.clone()];
        let note = notes.into_iter().flatten().next().or_else(|| decided.activity.clone());
        // Without a leader no member restarts that serves, or that may serve.
        let note = note.or_else(|| decided.stalled.clone()).or_else(|| decided.outage.clone());
        let unknown = completed.is_some_and(|completed| !recorded && completed.settings.is_none());
        let warning = unknown.then(|| {
            "the settings of the last completed rollout are not recorded, so that new members get those of the spec"
                .to_owned()
        });
        let message: Vec<String> = note.map(|note| note.message).into_iter().chain(warning).collect();
        Some(RolloutStatus {
            updated: i32::try_from(updated).ok(),
            total: i32::try_from(members.len()).ok(),
            failed: self.failures.iter().take(FAILED_MAX).map(|failure| failure.name.clone()).collect(),
            since: since.map(Time),
            message: (!message.is_empty()).then(|| shortened(&message.join("; "))),
        })
    }
}
