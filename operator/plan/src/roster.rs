//! All members of a cluster and the state of each. For each ordinal, a seat holds what is known of the member: its
//! StatefulSet, its volume, its answer, and its place in the configuration. Owns the judgement of a member's state.
//! Does not own since when a member is silent (`roster/silence.rs`), nor what follows from the state (`bootstrap.rs`,
//! `membership`, `status`).

mod silence;

mod trial;

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;

use crate::identity::ClusterIdentity;
use crate::ids::{ClusterId, MemberId};
use crate::names::{self, Ordinal};
use crate::observed::member::{Answer, Configuration, MemberPhase, Report};
use crate::observed::{Observed, ObservedMember, Warning, annotation, label, settings_of_pod, settings_of_set};
use crate::validated::ValidatedCluster;
use crate::volume;

/// Largest lag, in entries, with which a learner counts as caught up. The leader judges the lag again when it receives
/// the change.
pub const CATCH_UP_ENTRIES: u64 = 256;

/// All members of a cluster.
#[derive(Clone, Debug)]
pub struct Roster<'a> {
    /// One seat for each member that has a StatefulSet, a volume, or a place in the identity or the configuration.
    pub seats: BTreeMap<Ordinal, Seat<'a>>,
    /// IDs in the configuration whose member has no name, or a name that is not one of this cluster's member names.
    pub strangers: BTreeSet<MemberId>,
}

/// Everything that is known of one member. The member may exist, be expected, or be lost.
#[derive(Clone, Debug)]
pub struct Seat<'a> {
    /// The member's ordinal.
    pub ordinal: Ordinal,
    /// The member's name.
    pub name: String,
    /// The ID under which the member is in the configuration, or may enter it. It comes from the configuration, the
    /// identity, the StatefulSet's annotation or the volume's label, in this order.
    pub id: Option<MemberId>,
    /// The member's StatefulSet, if this cluster owns it.
    pub set: Option<&'a StatefulSet>,
    /// The member's pod.
    pub pod: Option<&'a Pod>,
    /// The member's volume claim.
    pub volume: Option<&'a PersistentVolumeClaim>,
    /// Whether the volume is of another StorageClass than the spec asks for.
    pub misplaced: bool,
    /// The member's report, if the member answered.
    pub report: Option<&'a Report>,
    /// Warnings about the member's objects.
    pub warnings: &'a [Warning],
    /// The member's state.
    pub health: Health,
    /// Whether the member was restarted with other settings than the last completed rollout's and has not served since,
    /// although its volume holds its data and its machine is there. It may serve again with the former settings.
    pub on_trial: bool,
    /// Whether the pod is on a machine that is lost.
    pub machine_lost: bool,
}

/// State of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// The member leads, or the leader receives the member's answers.
    Serving {
        /// Whether the member leads.
        leads: bool,
        /// Whether the member's log lags the leader's so little that the member may become a voter or the leader.
        caught_up: bool,
    },
    /// The member belongs to the cluster and answers the operator, but no leader receives its answers.
    Alone,
    /// The member has the cluster's identity and waits to be added to the configuration. Until then no leader contacts
    /// it.
    Joined,
    /// The member's volume is empty. If an ID was announced, the volume has this ID.
    Blank,
    /// The member fills its volume from a backup.
    Restoring,
    /// The member answers neither the operator nor the leader, or repairs its disk.
    Silent {
        /// Time at which the silence began, or at which the repair made progress last.
        since: Timestamp,
    },
    /// The member has been silent for at least the replacement delay.
    Unreachable {
        /// Time at which the silence began.
        since: Timestamp,
    },
    /// The member's program is too old for the data on its volume. Nothing is lost: a newer program serves again.
    TooNew,
    /// The member will never serve again under its ID.
    Lost(Loss),
    /// The member was removed, according to a linearizable read of the configuration.
    Removed,
}

/// The reason why a member will never serve again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The volume is empty, or was replaced by an empty one.
    Wiped,
    /// The volume is damaged, and the member cannot repair the damage.
    Damaged,
    /// The member has neither a StatefulSet nor a volume.
    Vanished,
    /// The volume holds data of another cluster or member.
    Foreign,
    /// The member reports that it was removed, and no confirmed configuration contradicts the report.
    Tombstoned,
}

impl Health {
    /// Returns whether the member leads, or the leader receives the member's answers. Only a voter for which this holds
    /// counts as healthy.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Serving { .. })
    }

    /// Returns whether the member leads.
    #[must_use]
    pub fn leads(self) -> bool {
        matches!(self, Self::Serving { leads: true, .. })
    }

    /// Returns whether the member's log lags the leader's so little that the member may become a voter or the leader.
    #[must_use]
    pub fn caught_up(self) -> bool {
        matches!(self, Self::Serving { caught_up: true, .. })
    }
}

impl<'o> Seat<'o> {
    /// Digest of the settings with which the member's pod was created, or will be created if there is none.
    pub(crate) fn settings(&self) -> Option<&'o str> {
        match self.pod {
            Some(pod) => settings_of_pod(pod),
            None => self.set.and_then(settings_of_set),
        }
    }

    /// Returns whether the member's pod passes its readiness probe.
    #[must_use]
    pub fn is_pod_ready(&self) -> bool {
        self.pod.is_some_and(|pod| condition_of(pod, "Ready").is_some_and(|condition| condition.status == "True"))
    }

    /// Returns whether the volume holds the data of another cluster, according to its label or to the member's report.
    /// The operator never starts a member on such a volume again, and never deletes the volume.
    #[must_use]
    pub fn holds_data_of_another(&self, cluster: ClusterId) -> bool {
        let whose = self.volume.and_then(|volume| label(&volume.metadata, names::LABEL_CLUSTER_ID));
        let labelled = whose.is_some_and(|whose| whose != cluster.to_string());
        let reported = self.report.is_some_and(|report| match report.phase {
            // A damaged member may not know to which cluster its data belonged, and a blank member has no data.
            MemberPhase::Blank | MemberPhase::Damaged => false,
            // These may not have read it yet.
            MemberPhase::TooNew | MemberPhase::Repairing => report.cluster.is_some_and(|whose| whose != cluster),
            MemberPhase::Restoring | MemberPhase::Member | MemberPhase::Removed => report.cluster != Some(cluster),
        });
        labelled || reported
    }

    /// Returns whether the volume is that of a removed member, so that no member may be started on it again. It is not if it
    /// holds the data of another cluster.
    #[must_use]
    pub fn gives_up_volume(&self, cluster: ClusterId) -> bool {
        self.health == Health::Removed && !self.holds_data_of_another(cluster)
    }

    /// Returns whether the member cannot have written data. Either the member reports that it is blank, or it is new
    /// and never reported anything.
    #[must_use]
    pub fn never_held_data(&self) -> bool {
        match (self.report, self.set) {
            (Some(report), _) => report.phase == MemberPhase::Blank,
            (None, Some(set)) => {
                let brought_back = annotation(&set.metadata, names::ANNOTATION_VOLUME).is_some();
                let labelled = self.volume.is_some_and(|it| label(&it.metadata, names::LABEL_MEMBER_ID).is_some());
                !brought_back && !labelled
            }
            (None, None) => false,
        }
    }

    /// Returns whether the member is new, cannot have been admitted because it has no ID, and holds no data.
    #[must_use]
    pub fn is_discardable(&self) -> bool {
        self.id.is_none() && self.never_held_data()
    }

    /// Returns whether removing this member also deletes its volume. It does if the spec says so, but never if the
    /// volume holds another cluster's data, and never while the member is on trial.
    #[must_use]
    pub fn removed_volume_goes(&self, valid: &ValidatedCluster<'_>, cluster: ClusterId) -> bool {
        valid.removed_volumes_go() && !self.holds_data_of_another(cluster) && !self.on_trial
    }

    /// Returns whether the member's data is lost. The data of a member on trial is not.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        matches!(self.health, Health::Lost(_)) && !self.on_trial
    }

    /// Returns whether the volume claim has the owner that it needs: the StatefulSet if the volume `goes` with it, and
    /// otherwise not. Kubernetes adds and removes this owner, but only while the member's pod exists.
    #[must_use]
    pub fn is_volume_owned_for(&self, goes: bool) -> bool {
        let (Some(set), Some(volume)) = (self.set, self.volume) else { return true };
        let mut owners = volume.metadata.owner_references.iter().flatten();
        owners.any(|owner| Some(&owner.uid) == set.metadata.uid.as_ref()) == goes
    }

    /// The ID that the member's disk reports while the member is blank.
    #[must_use]
    pub fn blank_id(&self) -> Option<MemberId> {
        self.report.filter(|report| report.phase == MemberPhase::Blank).and_then(|report| report.id)
    }
}

impl<'a> Roster<'a> {
    /// Creates one seat per ordinal from everything that was observed.
    #[must_use]
    pub fn of(valid: &ValidatedCluster<'_>, observed: &'a Observed, identity: Option<&ClusterIdentity>) -> Self {
        let configuration = observed.configuration.as_ref().map(|read| &read.configuration);
        let mut ids = BTreeMap::new();
        let mut strangers = BTreeSet::new();
        for (id, info) in configuration.iter().flat_map(|configuration| &configuration.members) {
            match names::ordinal_of_member(valid.name, &info.name) {
                Some(ordinal) => {
                    ids.insert(ordinal, *id);
                }
                None => {
                    strangers.insert(*id);
                }
            }
        }
        if let Some(configuration) = configuration {
            strangers.extend(configuration.everyone().iter().filter(|id| !configuration.members.contains_key(id)));
        }
        for voter in identity.iter().flat_map(|identity| identity.first_voters()) {
            if let Some(ordinal) = names::ordinal_of_member(valid.name, &voter.name) {
                ids.entry(ordinal).or_insert(voter.id);
            }
        }
        let mut ordinals: BTreeSet<Ordinal> = observed.members.keys().copied().collect();
        ordinals.extend(ids.keys());
        let absent = &ABSENT;
        let judge = Judge { valid, observed, cluster: identity.map(|identity| identity.cluster) };
        let seats: BTreeMap<Ordinal, Seat<'a>> = ordinals
            .into_iter()
            .map(|ordinal| {
                let member = observed.members.get(&ordinal).unwrap_or(absent);
                (ordinal, judge.seat(ordinal, member, ids.get(&ordinal).copied()))
            })
            .collect();
        debug_assert!(ids.keys().all(|ordinal| seats.contains_key(ordinal)), "each known member has a seat");
        let leaders = seats.values().filter(|seat| seat.health.leads()).count();
        debug_assert!(leaders == 0 || configuration.is_some(), "without a confirmed configuration no member leads");
        Self { seats, strangers }
    }

    /// The seat of the member with this ID.
    #[must_use]
    pub fn by_id(&self, id: MemberId) -> Option<&Seat<'a>> {
        self.seats.values().find(|seat| seat.id == Some(id))
    }

    /// State of the member with this ID. A member without a seat counts as vanished.
    #[must_use]
    pub fn health(&self, id: MemberId) -> Health {
        self.by_id(id).map_or(Health::Lost(Loss::Vanished), |seat| seat.health)
    }

    /// Returns whether the data of the member with this ID is lost. The data of a member on trial is not, whatever the
    /// member reports about its disk.
    #[must_use]
    pub fn is_lost(&self, id: MemberId) -> bool {
        self.by_id(id).is_none_or(Seat::is_lost)
    }

    /// Returns whether the member with this ID has less free space than its reserve. Such a voter does not campaign.
    #[must_use]
    pub fn is_low_on_space(&self, id: MemberId) -> bool {
        let space = self.by_id(id).and_then(|seat| seat.report?.space);
        space.is_some_and(|space| space.below)
    }

    /// The member's name, or its ID if the member has no seat.
    #[must_use]
    pub fn name(&self, id: MemberId) -> String {
        self.by_id(id).map_or_else(|| id.to_string(), |seat| seat.name.clone())
    }

    /// The member that leads.
    #[must_use]
    pub fn leader(&self) -> Option<&Seat<'a>> {
        self.seats.values().find(|seat| seat.health.leads())
    }
}

/// A member that has no objects and was not called.
static ABSENT: ObservedMember =
    ObservedMember { set: None, pod: None, volume: None, answer: None, heard: None, warnings: Vec::new() };

struct Judge<'j> {
    valid: &'j ValidatedCluster<'j>,
    observed: &'j Observed,
    cluster: Option<ClusterId>,
}

impl Judge<'_> {
    fn seat<'a>(&self, ordinal: Ordinal, member: &'a ObservedMember, replicated: Option<MemberId>) -> Seat<'a> {
        assert!(ordinal.0 > 0, "ordinals begin at 1");
        let set = member.set.as_ref().filter(|set| self.observed.owns(&set.metadata));
        let announced = set
            .and_then(|set| annotation(&set.metadata, names::ANNOTATION_MEMBER_ID))
            .or_else(|| self.label_of_volume(member.volume.as_ref()))
            .and_then(|text| text.parse().ok());
        // The configuration and the identity take precedence over annotations and labels, which a person may have
        // edited.
        let id = replicated.or(announced);
        let report = match &member.answer {
            Some(Answer::Report(report)) if set.is_some() => Some(&**report),
            _ => None,
        };
        let health = self.health(id, set, member, report);
        let on_trial = self.is_on_trial(set, member, id, health);
        let can_vote = health.serves() || health == Health::Removed;
        assert!(!can_vote || id.is_some(), "only a member with an ID serves or was removed");
        assert!(report.is_none() || set.is_some(), "only a member with a StatefulSet is asked");
        debug_assert!(!on_trial || (set.is_some() && id.is_some()), "only a member that has data is on trial");
        Seat {
            ordinal,
            name: names::member(self.valid.name, ordinal),
            id,
            set,
            pod: member.pod.as_ref(),
            volume: member.volume.as_ref(),
            misplaced: volume::is_misplaced(self.valid, set, member.volume.as_ref()),
            report,
            warnings: &member.warnings,
            health,
            on_trial,
            machine_lost: member.pod.as_ref().is_some_and(|pod| !self.has_a_machine(pod)),
        }
    }

    /// The member's ID from the label of its volume. The operator labels a volume only with what the member reported,
    /// therefore a volume that a person replaced has no label.
    fn label_of_volume<'a>(&self, volume: Option<&'a PersistentVolumeClaim>) -> Option<&'a str> {
        let metadata = &volume?.metadata;
        let whose = label(metadata, names::LABEL_CLUSTER_ID)?;
        let ours = self.cluster.is_some_and(|cluster| cluster.to_string() == whose);
        ours.then(|| label(metadata, names::LABEL_MEMBER_ID)).flatten()
    }

    fn health(
        &self,
        id: Option<MemberId>,
        set: Option<&StatefulSet>,
        member: &ObservedMember,
        report: Option<&Report>,
    ) -> Health {
        if let (Some(id), Some(configuration)) = (id, self.configuration())
            && configuration.is_gone_for_good(id)
        {
            return Health::Removed;
        }
        match report {
            _ if id.is_none() && is_on_another_volume(set, member) => Health::Lost(Loss::Foreign),
            // It serves nothing, and comes back by itself, like a member that does not answer.
            Some(report) if report.phase == MemberPhase::Repairing => self.silence(set, member),
            Some(report) => self.health_of_report(id, report),
            None if id.is_some_and(|id| self.answers_leader(id)) => {
                Health::Serving { leads: false, caught_up: id.is_some_and(|id| self.is_caught_up(id)) }
            }
            None if set.is_none() && member.volume.is_none() => Health::Lost(Loss::Vanished),
            None => self.silence(set, member),
        }
    }

    fn health_of_report(&self, id: Option<MemberId>, report: &Report) -> Health {
        match (report.phase, id) {
            // Its program may not be able to read the identity, so that no ID is compared.
            (MemberPhase::TooNew, _) => Health::TooNew,
            (MemberPhase::Damaged, _) => Health::Lost(Loss::Damaged),
            (MemberPhase::Blank, None) => Health::Blank,
            (MemberPhase::Blank, Some(id)) if report.id != Some(id) => Health::Lost(Loss::Wiped),
            (MemberPhase::Blank, Some(_)) => Health::Blank,
            (_, Some(id)) if report.id == Some(id) && report.cluster == self.cluster => match report.phase {
                MemberPhase::Restoring => Health::Restoring,
                MemberPhase::Removed => Health::Lost(Loss::Tombstoned),
                _ if self.leader_id() == Some(id) => Health::Serving { leads: true, caught_up: true },
                _ if self.answers_leader(id) => Health::Serving { leads: false, caught_up: self.is_caught_up(id) },
                _ if self.configuration().is_some_and(|known| !known.contains(id)) => Health::Joined,
                _ => Health::Alone,
            },
            _ => Health::Lost(Loss::Foreign),
        }
    }

    fn configuration(&self) -> Option<&Configuration> {
        self.observed.configuration.as_ref().map(|read| &read.configuration)
    }

    fn leader_id(&self) -> Option<MemberId> {
        self.observed.leader_report()?.id
    }

    fn answers_leader(&self, id: MemberId) -> bool {
        self.observed
            .leader_report()
            .and_then(|leader| leader.progress.get(&id))
            .is_some_and(|progress| progress.active)
    }

    fn is_caught_up(&self, id: MemberId) -> bool {
        let Some(leader) = self.observed.leader_report() else { return false };
        leader.progress.get(&id).is_some_and(|progress| {
            progress.active && !progress.snapshotting && progress.matched + CATCH_UP_ENTRIES >= leader.last
        })
    }
}

/// Returns whether the member was brought back for another volume than the one it has.
fn is_on_another_volume(set: Option<&StatefulSet>, member: &ObservedMember) -> bool {
    let meant = set.and_then(|set| annotation(&set.metadata, names::ANNOTATION_VOLUME));
    meant.is_some_and(|meant| member.volume.as_ref().and_then(|volume| volume.metadata.uid.as_deref()) != Some(meant))
}

/// The condition of this kind in a pod's status.
pub(crate) fn condition_of<'a>(pod: &'a Pod, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Returns whether a pod is on a machine; `None` while the scheduler has not tried to find one.
pub(crate) fn is_scheduled(pod: &Pod) -> Option<bool> {
    condition_of(pod, "PodScheduled").map(|condition| condition.status == "True")
}

/// Returns whether a label of the volume names the member whose data it holds.
pub(crate) fn is_used(volume: &PersistentVolumeClaim) -> bool {
    label(&volume.metadata, names::LABEL_MEMBER_ID).is_some()
}

/// Returns whether a label of the volume says that its member was removed. No member is started on the volume again.
pub(crate) fn is_of_removed(volume: &PersistentVolumeClaim) -> bool {
    label(&volume.metadata, names::LABEL_REMOVED) == Some("true")
}

/// Returns whether a volume is being deleted.
pub(crate) fn is_going(volume: &PersistentVolumeClaim) -> bool {
    volume.metadata.deletion_timestamp.is_some()
}

/// Returns whether a volume without a StatefulSet is kept. A volume whose owner is a deleted StatefulSet is collected,
/// and a pod that used it would never start.
pub(crate) fn stays(volume: &PersistentVolumeClaim) -> bool {
    let mut owners = volume.metadata.owner_references.iter().flatten();
    !is_going(volume) && !owners.any(|owner| owner.kind == "StatefulSet")
}

/// Explains why a member is lost.
#[must_use]
pub fn describe(loss: Loss) -> &'static str {
    match loss {
        Loss::Wiped => "its volume is empty",
        Loss::Damaged => "its volume is damaged",
        Loss::Vanished => "its StatefulSet and volume are gone",
        Loss::Foreign => "its volume holds data of another cluster or member",
        Loss::Tombstoned => "it says that it was removed",
    }
}
