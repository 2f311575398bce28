//! The record of the last completed rollout, and the mark on pods that have served. Owns when they are written. Does not
//! own the form of the record (`completed.rs`).

use std::collections::BTreeSet;

use super::{Rollout, downgrade};
use crate::action::{Action, ObjectAction};
use crate::completed::CompletedRollout;
use crate::desired::stateful_set::settings_json;
use crate::ids::MemberId;
use crate::names;
use crate::observed::{Linearizable, Seen, annotation, image_of_pod, image_pull_policy_of};
use crate::quorum::majority;
use crate::roster::Seat;

impl Rollout<'_> {
    /// Records on the members' Service what all members run, if all of them run the same settings and serve, and the
    /// versions that members report.
    pub(crate) fn record(&self, read: &Linearizable) -> Option<Action> {
        let service = self.observed.services.members.as_ref();
        let service = service.filter(|service| self.observed.owns(&service.metadata))?;
        let former = self.valid.completed.as_ref();
        let mut record = self.completed(read).or_else(|| former.cloned())?;
        if let Some(former) = former {
            record.versions.clone_from(&former.versions);
            record.level = former.level;
        }
        record.note_level(downgrade::level(self.roster));
        for (image, reported) in downgrade::reported(self.roster) {
            if reported.version.is_some() || reported.supports > 1 {
                record.note_version(image, reported.text, reported.supports);
            }
        }
        let record = record.to_annotation();
        let written = annotation(&service.metadata, names::ANNOTATION_COMPLETED_ROLLOUT) == Some(record.as_str());
        (!written).then(|| ObjectAction::NoteRollout { service: Seen::of(&service.metadata), record }.into())
    }

    /// What all members run; `None` if they run different settings, if one of them does not serve, or if the spec asks for
    /// other settings and the record names those that run. Without any record it is enough that a majority serves: the
    /// member that does not serve comes first in a rollout, and would have nothing to return to.
    pub(super) fn completed(&self, read: &Linearizable) -> Option<CompletedRollout> {
        let configuration = &read.configuration;
        let serves = |id: &MemberId| self.roster.by_id(*id).is_some_and(|seat| self.has_served(seat));
        let is_recorded = self.valid.completed.is_some();
        let enough_serve = if is_recorded {
            configuration.everyone().iter().all(serves) && self.members().all(|seat| seat.pod.is_some())
        } else {
            configuration.voters.iter().filter(|id| serves(id)).count() >= majority(configuration.voters.len())
        };
        if !enough_serve || self.refused.is_some() {
            return None;
        }
        let settings: BTreeSet<Option<&str>> = self.members().map(Seat::settings).collect();
        let digest = settings.first().copied().flatten().filter(|_| settings.len() == 1)?.to_owned();
        debug_assert!(!digest.is_empty(), "members run some settings");
        let (versions, level) = (Vec::new(), None);
        if digest == self.wanted {
            let (image, image_pull_policy) = (self.valid.image.clone(), self.valid.image_pull_policy.clone());
            let settings = Some(settings_json(self.valid, self.store));
            return Some(CompletedRollout { image, image_pull_policy, digest, settings, versions, level });
        }
        // The spec asks for other settings already, therefore those that run are not known.
        if self.valid.completed.as_ref().is_some_and(|completed| completed.digest == digest) {
            return None;
        }
        let image = self.members().find_map(|seat| seat.pod.and_then(image_of_pod))?.to_owned();
        let set = self.roster.seats.values().find_map(|seat| seat.set);
        let image_pull_policy = set.and_then(image_pull_policy_of).map(str::to_owned);
        Some(CompletedRollout { image, image_pull_policy, digest, settings: None, versions, level })
    }

    /// Annotates the pods of members that were restarted with other settings than the last completed rollout's and have
    /// served since.
    pub(crate) fn served(&self) -> Vec<Action> {
        let trials = self.roster.seats.values().filter(|seat| seat.on_trial && self.has_served(seat));
        let pods = trials.filter_map(|seat| seat.pod.filter(|pod| pod.metadata.deletion_timestamp.is_none()));
        let note = |pod: &k8s_openapi::api::core::v1::Pod| {
            ObjectAction::NoteServed { pod: Seen::of(&pod.metadata), at: self.observed.now }.into()
        };
        pods.map(note).collect()
    }
}
