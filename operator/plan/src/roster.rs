//! Who there is and how each fares: StatefulSets, volumes, answers and the configuration brought together, one seat a
//! member. Judges members; what follows from the judgement is decided in `bootstrap`, `membership` and `status`.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::identity::Record;
use crate::ids::{ClusterId, MemberId};
use crate::names::{self, Ordinal};
use crate::observed::member::{Answer, Configuration, Phase, Report};
use crate::observed::{Observed, ObservedMember, Warning, annotation, label};
use crate::validated::ValidatedCluster;

/// A learner this many entries behind is worth a try; the leader itself judges, by the log at that very moment.
pub const CATCH_UP_ENTRIES: u64 = 256;

/// Everyone there is.
#[derive(Clone, Debug)]
pub struct Roster<'a> {
    /// By ordinal: everyone with a StatefulSet of this cluster, a volume, or a place in record or configuration.
    pub seats: BTreeMap<Ordinal, Seat<'a>>,
    /// IDs in the configuration whose name is none that this cluster gives.
    pub strangers: BTreeSet<MemberId>,
}

/// One member, existing, to come, or lost.
#[derive(Clone, Debug)]
pub struct Seat<'a> {
    /// Its number.
    pub ordinal: Ordinal,
    /// Its name.
    pub name: String,
    /// The ID under which it is, or may enter, the configuration: as recorded, announced or replicated.
    pub id: Option<MemberId>,
    /// Its StatefulSet, if this very cluster owns it.
    pub set: Option<&'a StatefulSet>,
    /// Its pod.
    pub pod: Option<&'a Pod>,
    /// Its volume claim.
    pub volume: Option<&'a PersistentVolumeClaim>,
    /// What it said, if it did.
    pub report: Option<&'a Report>,
    /// Warnings about its objects.
    pub warnings: &'a [Warning],
    /// How it fares.
    pub standing: Standing,
}

/// How a member fares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The leader, or heard by the leader.
    Serving {
        /// Orders all writes.
        leads: bool,
        /// Close enough to the leader to be given a vote.
        caught_up: bool,
    },
    /// Part of the cluster and answering, but no leader hears it.
    Alone,
    /// Told which cluster to wait for, and not in its configuration yet: nobody speaks to it.
    Joined,
    /// Empty volume of the ID it may enter under, if one was announced.
    Blank,
    /// Fills its volume from a backup.
    Restoring,
    /// Neither answers nor is heard.
    Silent {
        /// Since when.
        since: Timestamp,
    },
    /// Silent for longer than the replacement delay.
    Unreachable {
        /// Since when.
        since: Timestamp,
    },
    /// Will never serve again under its ID.
    Lost(Loss),
    /// Was removed, by a linearizable read of the configuration.
    Removed,
}

/// Why a member will never serve again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Its volume is empty, or was replaced by an empty one.
    Wiped,
    /// Its volume holds damage that it cannot mend.
    Damaged,
    /// It has neither StatefulSet nor volume.
    Vanished,
    /// Its volume holds somebody else's data.
    Foreign,
    /// It says that it was removed, and the configuration does not contradict.
    Tombstoned,
}

impl Standing {
    /// Counts as a healthy vote.
    #[must_use]
    pub fn serves(self) -> bool {
        matches!(self, Self::Serving { .. })
    }

    /// Orders all writes.
    #[must_use]
    pub fn leads(self) -> bool {
        matches!(self, Self::Serving { leads: true, .. })
    }

    /// Close enough to the leader to be given a vote.
    #[must_use]
    pub fn caught_up(self) -> bool {
        matches!(self, Self::Serving { caught_up: true, .. })
    }
}

impl Seat<'_> {
    /// Whether its pod passes its readiness probe.
    #[must_use]
    pub fn is_pod_ready(&self) -> bool {
        self.pod.is_some_and(|pod| condition_of(pod, "Ready").is_some_and(|condition| condition.status == "True"))
    }

    /// Whether its volume says, by its label or through its member, that it holds the data of another cluster. Such a volume
    /// is never started again, and never deleted.
    #[must_use]
    pub fn holds_data_of_another(&self, cluster: ClusterId) -> bool {
        let whose = self.volume.and_then(|volume| label(&volume.metadata, names::LABEL_CLUSTER_ID));
        let labelled = whose.is_some_and(|whose| whose != cluster.to_string());
        // Damage may hide whose data it was; a blank member has none.
        let told = self.report.is_some_and(|report| {
            !matches!(report.phase, Phase::Blank | Phase::Damaged) && report.cluster != Some(cluster)
        });
        labelled || told
    }

    /// Whether a member without an ID can have written nothing: it says so, or it is new and never said anything.
    #[must_use]
    pub fn never_held_data(&self) -> bool {
        match (self.report, self.set) {
            (Some(report), _) => report.phase == Phase::Blank,
            (None, Some(set)) => {
                let brought_back = annotation(&set.metadata, names::ANNOTATION_VOLUME).is_some();
                let labelled = self.volume.is_some_and(|it| label(&it.metadata, names::LABEL_MEMBER_ID).is_some());
                !brought_back && !labelled
            }
            (None, None) => false,
        }
    }

    /// A newcomer that cannot have been admitted, as no ID was announced, and that holds no data.
    #[must_use]
    pub fn is_needless(&self) -> bool {
        self.id.is_none() && self.never_held_data()
    }

    /// Whether its volume is deleted with it when it is removed: never if it holds another cluster's data.
    #[must_use]
    pub fn removed_volume_goes(&self, valid: &ValidatedCluster<'_>, cluster: ClusterId) -> bool {
        valid.removed_volumes_go() && !self.holds_data_of_another(cluster)
    }

    /// The ID its disk reports while it is blank.
    #[must_use]
    pub fn blank_id(&self) -> Option<MemberId> {
        self.report.filter(|report| report.phase == Phase::Blank).and_then(|report| report.id)
    }
}

impl<'a> Roster<'a> {
    /// Brings together what was observed.
    #[must_use]
    pub fn of(valid: &ValidatedCluster<'_>, observed: &'a Observed, record: Option<&Record>) -> Self {
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
        for voter in record.iter().flat_map(|record| &record.voters) {
            if let Some(ordinal) = names::ordinal_of_member(valid.name, &voter.name) {
                ids.entry(ordinal).or_insert(voter.id);
            }
        }
        let mut ordinals: BTreeSet<Ordinal> = observed.members.keys().copied().collect();
        ordinals.extend(ids.keys());
        let nobody = &NOBODY;
        let judge = Judge { valid, observed, cluster: record.map(|record| record.cluster) };
        let seats = ordinals
            .into_iter()
            .map(|ordinal| {
                let member = observed.members.get(&ordinal).unwrap_or(nobody);
                (ordinal, judge.seat(ordinal, member, ids.get(&ordinal).copied()))
            })
            .collect();
        Self { seats, strangers }
    }

    /// The seat of an ID.
    #[must_use]
    pub fn by_id(&self, id: MemberId) -> Option<&Seat<'a>> {
        self.seats.values().find(|seat| seat.id == Some(id))
    }

    /// How the member with this ID fares; a stranger counts as vanished.
    #[must_use]
    pub fn standing(&self, id: MemberId) -> Standing {
        self.by_id(id).map_or(Standing::Lost(Loss::Vanished), |seat| seat.standing)
    }

    /// Its name, or its ID if it has no name here.
    #[must_use]
    pub fn name(&self, id: MemberId) -> String {
        self.by_id(id).map_or_else(|| id.to_string(), |seat| seat.name.clone())
    }

    /// The member that leads.
    #[must_use]
    pub fn leader(&self) -> Option<&Seat<'a>> {
        self.seats.values().find(|seat| seat.standing.leads())
    }
}

static NOBODY: ObservedMember =
    ObservedMember { set: None, pod: None, volume: None, answer: None, warnings: Vec::new() };

struct Judge<'j> {
    valid: &'j ValidatedCluster<'j>,
    observed: &'j Observed,
    cluster: Option<ClusterId>,
}

impl Judge<'_> {
    fn seat<'a>(&self, ordinal: Ordinal, member: &'a ObservedMember, replicated: Option<MemberId>) -> Seat<'a> {
        let set = member.set.as_ref().filter(|set| self.observed.owns(&set.metadata));
        let announced = set
            .and_then(|set| annotation(&set.metadata, names::ANNOTATION_MEMBER_ID))
            .or_else(|| self.label_of_volume(member.volume.as_ref()))
            .and_then(|text| text.parse().ok());
        // Configuration and record outrank what anybody may have edited since.
        let id = replicated.or(announced);
        let report = match &member.answer {
            Some(Answer::Said(report)) if set.is_some() => Some(&**report),
            _ => None,
        };
        Seat {
            ordinal,
            name: names::member(self.valid.name, ordinal),
            id,
            set,
            pod: member.pod.as_ref(),
            volume: member.volume.as_ref(),
            report,
            warnings: &member.warnings,
            standing: self.standing(id, set, member, report),
        }
    }

    /// A volume is labelled only with what its member itself said; one that was replaced by hand carries no label.
    fn label_of_volume<'a>(&self, volume: Option<&'a PersistentVolumeClaim>) -> Option<&'a str> {
        let metadata = &volume?.metadata;
        let whose = label(metadata, names::LABEL_CLUSTER_ID)?;
        let ours = self.cluster.is_some_and(|cluster| cluster.to_string() == whose);
        ours.then(|| label(metadata, names::LABEL_MEMBER_ID)).flatten()
    }

    fn standing(
        &self,
        id: Option<MemberId>,
        set: Option<&StatefulSet>,
        member: &ObservedMember,
        report: Option<&Report>,
    ) -> Standing {
        if let (Some(id), Some(configuration)) = (id, self.configuration())
            && configuration.is_gone_for_good(id)
        {
            return Standing::Removed;
        }
        match report {
            _ if id.is_none() && is_on_another_volume(set, member) => Standing::Lost(Loss::Foreign),
            Some(report) => self.standing_of_report(id, report),
            None if id.is_some_and(|id| self.is_heard(id)) => {
                Standing::Serving { leads: false, caught_up: id.is_some_and(|id| self.is_caught_up(id)) }
            }
            None if set.is_none() && member.volume.is_none() => Standing::Lost(Loss::Vanished),
            None => self.silence(member),
        }
    }

    fn standing_of_report(&self, id: Option<MemberId>, report: &Report) -> Standing {
        match (report.phase, id) {
            (Phase::Damaged, _) => Standing::Lost(Loss::Damaged),
            (Phase::Blank, None) => Standing::Blank,
            (Phase::Blank, Some(id)) if report.id != Some(id) => Standing::Lost(Loss::Wiped),
            (Phase::Blank, Some(_)) => Standing::Blank,
            (_, Some(id)) if report.id == Some(id) && report.cluster == self.cluster => match report.phase {
                Phase::Restoring => Standing::Restoring,
                Phase::Removed => Standing::Lost(Loss::Tombstoned),
                _ if self.leader_id() == Some(id) => Standing::Serving { leads: true, caught_up: true },
                _ if self.is_heard(id) => Standing::Serving { leads: false, caught_up: self.is_caught_up(id) },
                _ if self.configuration().is_some_and(|known| !known.contains(id)) => Standing::Joined,
                _ => Standing::Alone,
            },
            _ => Standing::Lost(Loss::Foreign),
        }
    }

    fn silence(&self, member: &ObservedMember) -> Standing {
        let seen = match &member.answer {
            Some(Answer::Silent { since, .. }) => *since,
            _ => self.observed.now,
        };
        // An operator that has just started knows from the pod how long this lasts already.
        let since = member.pod.as_ref().and_then(unready_since).map_or(seen, |unready| unready.min(seen));
        let delay = SignedDuration::try_from(self.valid.replacement_delay).unwrap_or(SignedDuration::MAX);
        if self.observed.now.duration_since(since) >= delay {
            Standing::Unreachable { since }
        } else {
            Standing::Silent { since }
        }
    }

    fn configuration(&self) -> Option<&Configuration> {
        self.observed.configuration.as_ref().map(|read| &read.configuration)
    }

    fn leader_report(&self) -> Option<&Report> {
        let leader = self.observed.configuration.as_ref()?.leader;
        match self.observed.members.get(&leader)?.answer.as_ref()? {
            Answer::Said(report) => Some(report),
            Answer::Silent { .. } => None,
        }
    }

    fn leader_id(&self) -> Option<MemberId> {
        self.leader_report()?.id
    }

    fn is_heard(&self, id: MemberId) -> bool {
        self.leader_report().and_then(|leader| leader.progress.get(&id)).is_some_and(|progress| progress.active)
    }

    fn is_caught_up(&self, id: MemberId) -> bool {
        let Some(leader) = self.leader_report() else { return false };
        leader.progress.get(&id).is_some_and(|progress| {
            progress.active && !progress.snapshotting && progress.matched + CATCH_UP_ENTRIES >= leader.last
        })
    }
}

/// Brought back for a volume that is not the one it has.
fn is_on_another_volume(set: Option<&StatefulSet>, member: &ObservedMember) -> bool {
    let meant = set.and_then(|set| annotation(&set.metadata, names::ANNOTATION_VOLUME));
    meant.is_some_and(|meant| member.volume.as_ref().and_then(|volume| volume.metadata.uid.as_deref()) != Some(meant))
}

fn unready_since(pod: &Pod) -> Option<Timestamp> {
    let ready = condition_of(pod, "Ready")?;
    if ready.status == "True" { None } else { ready.last_transition_time.as_ref().map(|time| time.0) }
}

/// A condition of a pod.
pub(crate) fn condition_of<'a>(pod: &'a Pod, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    pod.status.as_ref()?.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

/// Labelled with the member whose data it holds.
pub(crate) fn is_used(volume: &PersistentVolumeClaim) -> bool {
    label(&volume.metadata, names::LABEL_MEMBER_ID).is_some()
}

pub(crate) fn is_going(volume: &PersistentVolumeClaim) -> bool {
    volume.metadata.deletion_timestamp.is_some()
}

pub(crate) fn has_volume(seat: &Seat<'_>) -> bool {
    seat.volume.is_some_and(|volume| !is_going(volume))
}

/// Why a member is lost, in a few words.
#[must_use]
pub fn describe(loss: Loss) -> &'static str {
    match loss {
        Loss::Wiped => "its volume is empty",
        Loss::Damaged => "its volume is damaged",
        Loss::Vanished => "its StatefulSet and volume are gone",
        Loss::Foreign => "its volume holds data of somebody else",
        Loss::Tombstoned => "it says that it was removed",
    }
}
