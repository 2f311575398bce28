//! Members on trial: those that were restarted with other settings than the last completed rollout's and have not
//! served since. Owns who is on trial. Does not own what follows: such a member is not replaced, and keeps its volume.
//! The reasons are in `operator/docs/decisions/rollouts.md`.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::{Health, Judge, Loss, is_going, is_scheduled};
use crate::ids::MemberId;
use crate::names;
use crate::observed::{ObservedMember, annotation, settings_of_pod, settings_of_set};

impl Judge<'_> {
    /// Returns whether the member is on trial.
    pub(super) fn is_on_trial(
        &self,
        set: Option<&StatefulSet>,
        member: &ObservedMember,
        id: Option<MemberId>,
        health: Health,
    ) -> bool {
        let (Some(completed), Some(set), Some(id)) = (&self.valid.completed, set, id) else { return false };
        let (settings, served) = match &member.pod {
            Some(pod) => (settings_of_pod(pod), annotation(&pod.metadata, names::ANNOTATION_SERVED).is_some()),
            // The pod is being created with the settings of its StatefulSet.
            None => (settings_of_set(set), false),
        };
        let noted = |key| settings.is_some() && annotation(&set.metadata, key) == settings;
        let served = served || noted(names::ANNOTATION_TRIAL_ENDED);
        // Once a pod with the new settings is on a machine, the trial begins.
        let is_homeless =
            noted(names::ANNOTATION_WITHOUT_MACHINE) && member.pod.as_ref().and_then(is_scheduled) != Some(true);
        // A newcomer with other settings was not restarted: it has nothing to return to.
        let is_changed = settings_since(Some(set)).is_some();
        is_changed
            && settings.is_some_and(|settings| settings != completed.digest)
            && !served
            && !is_homeless
            && has_data(health)
            && member.volume.as_ref().is_some_and(|volume| self.is_own(volume, id))
            && member.pod.as_ref().is_none_or(|pod| self.has_a_machine(pod))
    }

    /// Returns whether the member's volume holds the member's own data, according to the labels that followed from its
    /// report.
    fn is_own(&self, volume: &PersistentVolumeClaim, id: MemberId) -> bool {
        let labelled = self.label_of_volume(Some(volume)).and_then(|member| member.parse().ok());
        labelled == Some(id) && !is_going(volume)
    }

    /// Returns whether the machine of a pod is not known to be lost. A machine that restarts is not lost: it is only if it
    /// was away for the whole replacement delay, or was given up. A pod whose deletion does not end is on a lost machine.
    pub(super) fn has_a_machine(&self, pod: &Pod) -> bool {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref());
        let delay = SignedDuration::try_from(self.valid.replacement_delay).unwrap_or(SignedDuration::MAX);
        let is_long_ago = |time: Timestamp| self.observed.now.duration_since(time) >= delay;
        let away = node.and_then(|node| self.observed.unready_nodes.get(node));
        let is_lost = away.is_some_and(|since| since.is_none_or(is_long_ago));
        let ends = pod.metadata.deletion_timestamp.as_ref();
        !is_lost && !ends.is_some_and(|end| is_long_ago(end.0))
    }
}

/// Returns whether the member's report does not contradict that its volume has data. A member that finds its disk
/// damaged has data, which the program with the former settings may be able to read.
fn has_data(health: Health) -> bool {
    match health {
        Health::Serving { .. }
        | Health::Alone
        | Health::Joined
        | Health::Restoring
        | Health::Silent { .. }
        | Health::Unreachable { .. }
        | Health::TooNew
        | Health::Lost(Loss::Damaged)
        | Health::Removed => true,
        Health::Blank | Health::Lost(Loss::Wiped | Loss::Vanished | Loss::Foreign | Loss::Tombstoned) => false,
    }
}

/// Time of the last change of a member's settings; `None` if they never changed.
pub(super) fn settings_since(set: Option<&StatefulSet>) -> Option<Timestamp> {
    annotation(&set?.metadata, names::ANNOTATION_SETTINGS_SINCE)?.parse().ok()
}
