//! Rollouts: members restart one at a time with the settings of the spec, and a member that fails stops the rollout.
//! Owns which members get the settings of the spec ([`Rollout::taken`]), which member restarts next, and which pods are
//! deleted because their member serves nothing. Does not own the settings (`desired/stateful_set.rs`), who is on trial
//! (`roster/trial.rs`), who fails (`rollout/failure.rs`), what is recorded (`rollout/record.rs`), or when the feature
//! level rises (`rollout/raise.rs`). The reasons are in `operator/docs/decisions/rollouts.md`.

mod failure;

mod downgrade;

mod raise;

pub(crate) mod record;

mod report;

use std::collections::BTreeSet;

use crds::{ObjectStore, Reason};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::action::{Action, MemberAction, ObjectAction};
use crate::decision::{Decision, Note};
use crate::desired::stateful_set::settings;
use crate::names::{self, Ordinal};
use crate::observed::{Linearizable, Observed, Seen, annotation, settings_of_pod, settings_of_set};
use crate::roster::{Health, Roster, Seat, condition_of, is_scheduled};
use crate::troubles;
use crate::validated::ValidatedCluster;

use failure::Failure;

/// The rollout of the settings that the spec asks for.
pub(crate) struct Rollout<'r> {
    valid: &'r ValidatedCluster<'r>,
    observed: &'r Observed,
    roster: &'r Roster<'r>,
    store: Option<&'r ObjectStore>,
    /// Digest of the settings of the spec.
    wanted: String,
    /// The reason why the settings of the spec must not be rolled out.
    refused: Option<Note>,
    failures: Vec<Failure>,
}

/// The members whose StatefulSets get the settings of the spec in this pass. All others keep their settings, so that a
/// pod that is recreated for another reason does not get new ones.
pub(crate) struct Taken {
    pub(crate) members: BTreeSet<Ordinal>,
    now: Timestamp,
}

impl Taken {
    pub(crate) fn none(now: Timestamp) -> Self {
        Self { members: BTreeSet::new(), now }
    }

    /// Notes on the StatefulSet when its settings changed, with which settings the member has served, and which it got
    /// while its machine was lost or its pod fitted none. Without these notes a member whose machine is lost would be on
    /// trial for good, and would not be replaced: the pod that is lost with a machine is followed by one that fits none. A
    /// change of settings begins a new trial, also with settings with which the member has served
    /// before. Returns whether a note changed.
    pub(crate) fn note_trial(&self, wanted: &mut StatefulSet, live: &StatefulSet, seat: &Seat<'_>) -> bool {
        let Some(settings) = settings_of_set(wanted).map(str::to_owned) else { return false };
        let changes = settings_of_set(live) != Some(&settings);
        let noted = |key| annotation(&live.metadata, key) == Some(settings.as_str());
        let has_served = |pod: &Pod| {
            settings_of_pod(pod) == Some(&settings) && annotation(&pod.metadata, names::ANNOTATION_SERVED).is_some()
        };
        let served = !changes && (noted(names::ANNOTATION_TRIAL_ENDED) || seat.pod.is_some_and(has_served));
        let tries = annotation(&live.metadata, names::ANNOTATION_SETTINGS_SINCE).is_some() && !served;
        let before = settings_of_set(live).filter(|_| tries);
        let was_noted = before.is_some() && annotation(&live.metadata, names::ANNOTATION_WITHOUT_MACHINE) == before;
        let scheduled = seat.pod.and_then(is_scheduled);
        let remains = (tries && seat.machine_lost) || (was_noted && scheduled != Some(true));
        let homeless = if changes { !seat.on_trial && (remains || scheduled == Some(false)) } else { remains };
        let notes = wanted.metadata.annotations.get_or_insert_default();
        if changes {
            notes.insert(names::ANNOTATION_SETTINGS_SINCE.to_owned(), self.now.to_string());
        }
        for (key, holds) in [(names::ANNOTATION_TRIAL_ENDED, served), (names::ANNOTATION_WITHOUT_MACHINE, homeless)] {
            if holds {
                notes.insert(key.to_owned(), settings.clone());
            } else {
                notes.remove(key);
            }
        }
        let is_kept = |key| annotation(&live.metadata, key) == notes.get(key).map(String::as_str);
        changes || !is_kept(names::ANNOTATION_TRIAL_ENDED) || !is_kept(names::ANNOTATION_WITHOUT_MACHINE)
    }
}

impl<'r> Rollout<'r> {
    pub(crate) fn of(
        valid: &'r ValidatedCluster<'r>,
        observed: &'r Observed,
        roster: &'r Roster<'r>,
        store: Option<&'r ObjectStore>,
    ) -> Self {
        let wanted = settings(valid, store);
        let failures = failure::find(valid, observed, roster, &wanted);
        let completed = valid.completed.as_ref();
        assert!(
            failures.is_empty() || completed.is_some_and(|completed| completed.digest != wanted),
            "no member fails with the settings that every member ran"
        );
        let refused = downgrade::refused(valid, observed, roster);
        Self { valid, observed, roster, store, wanted, refused, failures }
    }

    /// The members that get the settings of the spec: the one whose turn it is, those that serve nothing, and those
    /// whose pods have them already. All members do before the cluster has an identity, because none has data.
    pub(crate) fn taken(&self, turn: Option<Ordinal>, forms: bool) -> Taken {
        let read = self.observed.configuration.as_ref();
        let is_recorded_first = self.valid.completed.is_none() && read.is_some_and(|it| self.completed(it).is_some());
        let is_held = self.refused.is_some() || is_recorded_first;
        let seats = self.roster.seats.values().filter(|seat| {
            let Some(settings) = seat.set.map(settings_of_set) else { return false };
            let runs_them = seat.pod.and_then(settings_of_pod) == Some(self.wanted.as_str());
            let may_change = || turn == Some(seat.ordinal) || self.is_idle(seat);
            let has_none = settings.is_none();
            forms || has_none || runs_them || settings == Some(&self.wanted) || (!is_held && may_change())
        });
        debug_assert!(turn.is_none() || self.refused.is_none(), "no member restarts with settings that are refused");
        Taken { members: seats.map(|seat| seat.ordinal).collect(), now: self.observed.now }
    }

    /// Deletes pods with other settings than the spec asks for whose members serve nothing, because Kubernetes does not
    /// apply new settings to an existing pod. This needs no leader, and the state of other members does not matter.
    pub(crate) fn unstick(&self) -> Vec<Action> {
        if self.refused.is_some() {
            return Vec::new();
        }
        let outdated = self.roster.seats.values().filter_map(|seat| self.outdated(seat));
        outdated
            .filter(|(seat, _)| self.restart_helps(seat) && self.is_idle(seat))
            .map(|(_, pod)| ObjectAction::DeletePod { pod: Seen::of(&pod.metadata) }.into())
            .collect()
    }

    /// Restarts the next member with outdated settings, unless a member failed or another member's state forbids it.
    /// Returns that member, too, if it is its turn.
    pub(crate) fn next(&self, read: &Linearizable) -> (Decision, Option<Ordinal>) {
        if let Some(note) = &self.refused {
            return (Decision { stalled: Some(note.clone()), ..Decision::default() }, None);
        }
        let mut waiting: Vec<_> = self.members().filter_map(|seat| self.outdated(seat)).collect();
        if let Some(note) = failure::note(&self.failures) {
            let message = format!("{} members are to restart with new settings", waiting.len());
            let decision = Decision {
                activity: Some(Note::new(Reason::RollingOut, message)),
                stalled: failure::is_final(&self.failures).then(|| note.clone()),
                blocked: Some(note),
                ..Decision::default()
            };
            return (decision, None);
        }
        let is_configured = |seat: &Seat<'_>| seat.id.is_some_and(|id| read.configuration.contains(id));
        debug_assert!(
            waiting.iter().all(|(seat, _)| is_configured(seat)),
            "only members in the configuration get a turn"
        );
        // A member that does not serve comes first: its restart interrupts no service, and may help the member.
        waiting.sort_by_key(|(seat, _)| (seat.health.leads(), troubles::of(seat).is_none(), seat.ordinal));
        let Some((seat, pod)) = waiting.first() else { return (self.await_last(), None) };
        let message = format!("{} members are to restart with new settings, {} first", waiting.len(), seat.name);
        let mut decision = Decision { activity: Some(Note::new(Reason::RollingOut, message)), ..Decision::default() };
        // Once a member runs other settings, nothing would say any more what all of them ran before.
        if self.completed(read).is_some() {
            decision.blocked = Some(Note::new(Reason::Waiting, "what the members run now is recorded first"));
            return (decision, None);
        }
        let unfit = self
            .roster
            .seats
            .values()
            .filter(|other| other.id.is_some_and(|id| read.configuration.contains(id)) && other.ordinal != seat.ordinal)
            .find_map(|other| self.unfit(other).map(|trouble| (other, trouble)));
        if let Some((other, trouble)) = unfit {
            decision.blocked = Some(Note::new(trouble.reason, format!("{}: {}", other.name, trouble.message)));
            return (decision, None);
        }
        // The StatefulSet is written in this pass, and the member restarts in a later one. `unstick` restarts idle members.
        if self.restart_helps(seat) && !self.is_idle(seat) {
            decision.actions.push(self.restart(seat, pod, read));
        }
        debug_assert!(decision.actions.len() <= 1, "one member restarts at a time");
        (decision, Some(seat.ordinal))
    }

    fn restart(&self, seat: &Seat<'_>, pod: &Pod, read: &Linearizable) -> Action {
        let others = read.configuration.voters.iter().copied().filter(|id| Some(*id) != seat.id);
        let fit = others.filter(|id| seat.health.leads() && self.roster.health(*id).caught_up());
        // A leader with little free space would transfer leadership again.
        let successor = fit.min_by_key(|id| self.roster.is_low_on_space(*id));
        debug_assert!(successor.is_none() || successor != seat.id, "a member does not succeed itself");
        match successor {
            Some(target) => MemberAction::TransferLeadership { leader: read.leader, target }.into(),
            None => ObjectAction::EvictPod { pod: Seen::of(&pod.metadata) }.into(),
        }
    }

    /// The wait for members that restarted last, when no other member has to restart.
    fn await_last(&self) -> Decision {
        let mut seats = self.roster.seats.values();
        let activity = seats.find(|seat| seat.on_trial || self.is_ending(seat)).map(|seat| {
            let seconds = self.valid.min_ready.as_secs();
            Note::new(Reason::RollingOut, format!("waits until {} has served for {seconds} s", seat.name))
        });
        Decision { activity, ..Decision::default() }
    }

    /// Returns whether a pod with former settings ends. It may serve to its end.
    fn is_ending(&self, seat: &Seat<'_>) -> bool {
        let pod = seat.pod.filter(|pod| pod.metadata.deletion_timestamp.is_some());
        let has_former_settings = pod.is_some_and(|pod| settings_of_pod(pod) != Some(self.wanted.as_str()));
        has_former_settings && seat.health != Health::Removed
    }

    /// The reason why no other member may be stopped while this member is in its present state.
    fn unfit(&self, seat: &Seat<'_>) -> Option<Note> {
        if let Some(trouble) = troubles::of(seat) {
            return Some(trouble);
        }
        if seat.pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some()) {
            return Some(Note::new(Reason::MembersNotReady, "its pod is being stopped"));
        }
        if !seat.health.caught_up() {
            return Some(Note::new(Reason::LearnerBehind, "it catches up with the leader"));
        }
        let message = || format!("its pod has been ready for less than {} s", self.valid.min_ready.as_secs());
        (!self.has_served(seat)).then(|| Note::new(Reason::MembersNotReady, message()))
    }

    /// Returns whether the member serves, and its pod has been ready for the time that the spec asks for. The condition's
    /// time is compared with the time of the observation, as Kubernetes does for `minReadySeconds` of a Deployment.
    fn has_served(&self, seat: &Seat<'_>) -> bool {
        let Some(ready) = seat.pod.and_then(|pod| condition_of(pod, "Ready")) else { return false };
        let since = ready.last_transition_time.as_ref().map(|time| time.0);
        seat.health.serves() && ready.status == "True" && since.is_none_or(|since| self.is_min_ready_ago(since))
    }

    fn is_min_ready_ago(&self, time: Timestamp) -> bool {
        let least = SignedDuration::try_from(self.valid.min_ready).unwrap_or(SignedDuration::MAX);
        self.observed.now.duration_since(time) >= least
    }

    /// The members that the rollout restarts and waits for. A member outside of the configuration restarts only if it
    /// serves nothing ([`Rollout::unstick`]): it is about to be added, and gets its turn then, or it is not needed.
    fn members(&self) -> impl Iterator<Item = &'r Seat<'r>> {
        let configuration = self.observed.configuration.as_ref().map(|read| &read.configuration);
        let roster = self.roster;
        roster.seats.values().filter(move |seat| {
            let is_configured = configuration.is_none_or(|known| seat.id.is_some_and(|id| known.contains(id)));
            seat.set.is_some() && seat.health != Health::Removed && is_configured
        })
    }

    /// The member and its pod, if the pod has other settings than the spec asks for. A removed member is about to go.
    fn outdated(&self, seat: &'r Seat<'r>) -> Option<(&'r Seat<'r>, &'r Pod)> {
        let stays = seat.set.is_some() && seat.health != Health::Removed;
        let pod = seat.pod.filter(|pod| stays && pod.metadata.deletion_timestamp.is_none())?;
        (settings_of_pod(pod) != Some(self.wanted.as_str())).then_some((seat, pod))
    }

    /// Returns whether the StatefulSet was written with the wanted settings. Before that, a new pod would get the former
    /// settings again, and would be stopped again.
    fn restart_helps(&self, seat: &Seat<'_>) -> bool {
        seat.set.and_then(settings_of_set) == Some(self.wanted.as_str())
    }

    /// Returns whether a restart of the member interrupts nothing, and may help.
    fn is_idle(&self, seat: &Seat<'_>) -> bool {
        if seat.health.serves() || seat.health == Health::Removed {
            return false;
        }
        if seat.on_trial || seat.health == Health::TooNew {
            return true;
        }
        let stuck = match seat.pod {
            Some(pod) => seat.report.is_none() && has_not_started(pod),
            None => troubles::of(seat).is_some_and(|trouble| trouble.reason == Reason::PodRejected),
        };
        stuck && !(self.has_recorded_settings(seat) && self.must_keep_settings(seat))
    }

    fn has_recorded_settings(&self, seat: &Seat<'_>) -> bool {
        let completed = self.valid.completed.as_ref();
        completed.is_some_and(|completed| seat.settings() == Some(completed.digest.as_str()))
    }

    /// Returns whether a member that does not start must keep the settings of the last completed rollout: unless it needs
    /// others to start, and no other member tries those of the spec. Without a leader only a failed member forbids it,
    /// because one member alone cannot serve.
    fn must_keep_settings(&self, seat: &Seat<'_>) -> bool {
        let needs_others = troubles::of(seat).is_some_and(|trouble| {
            matches!(
                trouble.reason,
                Reason::Unschedulable
                    | Reason::VolumePending
                    | Reason::ImagePullFailed
                    | Reason::PodRejected
                    | Reason::MemberCrashing
            )
        });
        let created = seat.pod.and_then(|pod| pod.metadata.creation_timestamp.as_ref());
        let just_created = created.is_some_and(|time| !self.is_min_ready_ago(time.0));
        let tried = match self.observed.configuration {
            Some(_) => self.roster.seats.values().any(|other| other.on_trial),
            None => !self.failures.is_empty(),
        };
        !needs_others || just_created || tried
    }
}

/// Returns whether the pod is not scheduled, or none of its containers runs.
fn has_not_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    let running =
        containers.iter().any(|container| container.state.as_ref().is_some_and(|state| state.running.is_some()));
    !running && (status.phase.as_deref() == Some("Pending") || !containers.is_empty())
}
