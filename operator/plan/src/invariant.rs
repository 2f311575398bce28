//! The invariants of every plan, whatever was observed. Owns the assertions on a finished plan, each named after its
//! invariant. Does not own the decisions. The phases decide in such a way that no observation can make an assertion
//! fail.
//!
//! A failed assertion is a defect of the planner. The shell catches the panic: the cluster's pass then ends without an
//! action and with `Stalled=InternalError`, and other clusters are not affected. `operator/ARCHITECTURE.md` lists the
//! invariants.

use std::collections::BTreeSet;

use crds::raft_cluster::VolumeFate;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::action::{Action, Change, MemberAction, Object, ObjectAction, Replace};
use crate::desired::stateful_set::{fixed_pods, retains_when_scaled, runs};
use crate::identity::{ClusterIdentity, FirstVoter};
use crate::ids::MemberId;
use crate::membership::ordinals::is_orphan;
use crate::names::{self, Ordinal};
use crate::observed::member::Configuration;
use crate::observed::{Observed, Seen, annotation, volume_goes_with};
use crate::pointer;
use crate::quantity;
use crate::quorum::majority;
use crate::roster::{Health, Roster, Seat, is_of_removed};
use crate::secret;
use crate::stop;
use crate::validated::ValidatedCluster;
use crate::volume;

/// Largest size of all annotations of an object, in bytes; Kubernetes sets the limit.
const ANNOTATION_BYTES_MAX: usize = 256 << 10;

/// Checks a plan's actions against the observation from which they were decided.
///
/// # Panics
/// Panics if an invariant is violated. Such a plan must not be carried out.
pub fn check(observed: &Observed, actions: &[Action]) {
    let Ok(valid) = ValidatedCluster::parse(observed) else {
        assert_eq!(actions, stop::halt(observed), "nothing is done for a spec that is refused, except to stop");
        return;
    };
    let Ok(found) = pointer::find(observed) else {
        assert_eq!(actions, stop::halt(observed), "nothing is done without a readable identity, except to stop");
        return;
    };
    let identity = found.identity();
    let roster = Roster::of(&valid, observed, identity);
    Finished { valid: &valid, observed, roster: &roster, identity, actions }.check();
}

/// A finished plan, with everything on which its actions may depend.
pub(crate) struct Finished<'p> {
    pub(crate) valid: &'p ValidatedCluster<'p>,
    pub(crate) observed: &'p Observed,
    pub(crate) roster: &'p Roster<'p>,
    pub(crate) identity: Option<&'p ClusterIdentity>,
    pub(crate) actions: &'p [Action],
}

impl Finished<'_> {
    /// Checks every invariant.
    pub(crate) fn check(&self) {
        if self.valid.spec.paused {
            assert!(self.actions.is_empty(), "a paused cluster is left alone");
        }
        if stop::applies(self.observed) {
            let stops = |action: &Action| match action {
                Action::Write(ObjectAction::ReplaceSet(_)) => true,
                // The Secret with the known identity gets the fate of the volumes.
                Action::Write(ObjectAction::CreateIdentity(_) | ObjectAction::PointToIdentity { .. }) => {
                    self.identity.is_some()
                }
                Action::Write(_) | Action::Call(_) => false,
            };
            let only_stops = self.actions.iter().all(stops);
            assert!(only_stops, "a stopped cluster is only stopped: {:?}", self.actions);
        }
        self.one_disruption_at_a_time();
        self.ordinals_are_used_once();
        for action in self.actions {
            match action {
                Action::Write(write) => self.check_write(write),
                Action::Call(call) => self.check_call(call),
            }
        }
    }

    fn check_write(&self, write: &ObjectAction) {
        match write {
            ObjectAction::Apply(apply) => {
                self.belongs_to_this_cluster(&apply.object().body().metadata);
                self.budget_keeps_its_floor(apply.object());
            }
            ObjectAction::ReplaceSet(replace) => self.replaced_set_keeps_what_is_fixed(replace),
            ObjectAction::ReserveOrdinals { first, last, .. } => self.ordinals_only_grow(*first, *last),
            ObjectAction::CreateSet { ordinal, set } => self.new_set_has_a_free_ordinal(*ordinal, set),
            ObjectAction::CreateIdentity(secret) => self.created_identity_is_sound(secret),
            ObjectAction::PointToIdentity { secret, voters, .. } => {
                self.identity_is_chosen_once(secret, voters.as_deref());
            }
            ObjectAction::ChooseFirstVoters { voters, .. } => self.first_voters_are_chosen_once(voters),
            ObjectAction::NoteFormed { cluster, .. } | ObjectAction::LabelVolume { cluster, .. } => {
                let own = self.identity.map(|identity| identity.cluster);
                assert_eq!(Some(*cluster), own, "notes and labels name this very cluster");
            }
            ObjectAction::NoteRollout { record, .. } => {
                let confirmed = self.observed.configuration.is_some();
                assert!(confirmed, "members serve only under a configuration that a leader confirmed");
                assert!(record.len() < ANNOTATION_BYTES_MAX, "Kubernetes refuses an object with larger annotations");
            }
            ObjectAction::NoteServed { pod, .. } => {
                let served = names::ordinal_of_pod(self.valid.name, &pod.name)
                    .and_then(|ordinal| self.roster.seats.get(&ordinal))
                    .is_some_and(|seat| seat.health.serves() && seat.is_pod_ready());
                assert!(served, "only a member that serves has served: {}", pod.name);
            }
            ObjectAction::Announce { set, id } => {
                let seat = self.seat_of(&set.name);
                let announced = seat.and_then(|seat| annotation(&seat.set?.metadata, names::ANNOTATION_MEMBER_ID));
                let known = seat.and_then(|seat| seat.id);
                let once = seat.is_some() && announced.is_none() && known.is_none_or(|known| known == *id);
                assert!(once, "an ID is announced once: {}", set.name);
            }
            ObjectAction::RelabelVolume { volume, labels, .. } => {
                let known = names::ordinal_of_volume(self.valid.name, &volume.name);
                assert!(known.is_some(), "only claims of members are labelled: {}", volume.name);
                let kept =
                    [names::LABEL_CLUSTER_ID, names::LABEL_MEMBER_ID].iter().all(|key| !labels.contains_key(*key));
                assert!(kept, "the labels that say whose data {} holds follow from a report", volume.name);
                let seat = known.and_then(|ordinal| self.roster.seats.get(&ordinal));
                let is_removed =
                    seat.is_some_and(|seat| seat.health == Health::Removed || seat.volume.is_some_and(is_of_removed));
                let right = is_removed || !labels.contains_key(names::LABEL_REMOVED);
                assert!(right, "only the volume of a removed member is given up: {}", volume.name);
            }
            ObjectAction::GrowVolume { volume, size } => self.a_volume_only_grows(volume, size),
            ObjectAction::LabelPod { .. } => {
                assert!(
                    self.observed.configuration.is_some(),
                    "roles follow from a configuration that a leader confirmed"
                );
            }
            ObjectAction::DeleteSet { set } => self.deletion_is_final(&set.name),
            ObjectAction::EvictPod { pod } | ObjectAction::DeletePod { pod } => {
                let known = names::ordinal_of_pod(self.valid.name, &pod.name);
                assert!(known.is_some(), "only pods of members are stopped: {}", pod.name);
            }
        }
    }

    fn check_call(&self, call: &MemberAction) {
        match call {
            MemberAction::Bootstrap { .. } | MemberAction::Restore { .. } => self.only_recorded_voters_begin(call),
            MemberAction::RaiseFeatureLevel { to, .. } => self.level_is_supported(*to),
            MemberAction::Join { id, cluster, level, .. } => {
                let seat = self.roster.seats.get(&call.member());
                let blank = seat.and_then(Seat::blank_id);
                assert_eq!(blank, Some(*id), "a member joins under the ID that its disk generated");
                assert_eq!(seat.and_then(|seat| seat.id), Some(*id), "a member joins only after its ID is announced");
                let supports = seat.and_then(|seat| seat.report).map(|report| report.supports);
                assert!(supports >= Some(*level), "a member that joins supports level {level}: {supports:?}");
                let own = self.identity.map(|identity| identity.cluster);
                assert_eq!(Some(*cluster), own, "a member joins this very cluster");
            }
            MemberAction::ChangeMembership { change, .. } => {
                let read = self.observed.configuration.as_ref().map(|read| &read.configuration);
                let configuration = read.expect("a change is asked of a leader that confirmed the configuration");
                self.change_keeps_a_majority(change, configuration);
                self.too_old_members_stay(change, configuration);
                self.removed_ids_never_return(change, configuration);
            }
            MemberAction::TransferLeadership { target, .. } => {
                let fit = self.roster.health(*target).caught_up();
                assert!(fit, "leadership goes to a member that has what the leader has");
            }
        }
    }

    /// Invariant *change keeps a majority*: as far as was observed, the present voters can commit the change and the
    /// requested voters can commit afterwards.
    fn change_keeps_a_majority(&self, change: &Change, configuration: &Configuration) {
        assert!(!configuration.is_joint(), "one change at a time");
        assert_eq!(change.expected, configuration.index, "a change names the configuration that it was computed from");
        let wanted: BTreeSet<MemberId> = change.voters.iter().copied().collect();
        assert_eq!(wanted.len(), change.voters.len(), "each voter is asked for once");
        assert!(change.learners.iter().all(|id| !wanted.contains(id)), "a member is a voter or a learner");
        for voters in [&configuration.voters, &wanted] {
            let serving = voters.iter().filter(|id| self.roster.health(**id).serves()).count();
            let needed = majority(voters.len());
            assert!(
                serving >= needed,
                "a change keeps a majority: {serving} of {} voters serve, {needed} are needed",
                voters.len()
            );
        }
    }

    /// Invariant *a raise follows a rollout*: the feature level rises when a rollout is recorded that every member of
    /// the configuration has completed, and only to a level that all of them support. It never falls, so that nothing
    /// could be taken back afterwards.
    fn level_is_supported(&self, to: u32) {
        let read = self.observed.configuration.as_ref().expect("the level is raised by a leader that is confirmed");
        let completed = self.valid.completed.as_ref().expect("a raise follows a rollout, and none is recorded");
        for id in read.configuration.everyone() {
            let seat = self.roster.by_id(id).expect("a raise follows a rollout of members that are known");
            let runs = seat.settings() == Some(completed.digest.as_str());
            assert!(runs && seat.health.serves(), "a raise follows a rollout, and {} is not done", seat.name);
            let supports = seat.report.map(|report| report.supports);
            assert!(supports >= Some(to), "{} supports level {supports:?}, and {to} is requested", seat.name);
        }
    }

    /// Invariant *a member that is too old for its data stays*: it is not replaced, and leaves only because there are
    /// more members than the spec asks for.
    fn too_old_members_stay(&self, change: &Change, configuration: &Configuration) {
        let everyone = configuration.everyone();
        let stays = |id: &MemberId| change.voters.contains(id) || change.learners.contains(id);
        let leaving = everyone.iter().filter(|id| self.roster.health(**id) == Health::TooNew && !stays(id)).count();
        let excess = everyone.len().saturating_sub(self.valid.total());
        assert!(
            leaving <= excess,
            "a member that is too old for its data stays: {leaving} leave, and {excess} are not needed"
        );
    }

    /// Invariant *removed IDs never return*: no change asks for a removed ID. The disk of a removed member holds a
    /// tombstone, and if its ID returned, its vote could count twice.
    fn removed_ids_never_return(&self, change: &Change, configuration: &Configuration) {
        let returns = change.voters.iter().chain(&change.learners).find(|id| configuration.is_gone_for_good(**id));
        assert!(returns.is_none(), "a removed ID never returns: {returns:?}");
    }

    /// Invariant *ordinals only grow*: a reserved ordinal is above every ordinal that any observed object contains.
    fn ordinals_only_grow(&self, first: Ordinal, last: Ordinal) {
        assert!(first <= last, "a reservation is not empty");
        let noted = self.noted_ordinal();
        assert!(first.0 > noted, "ordinals only grow: {first} is reserved, and {noted} was reserved before");
        let used = self.roster.seats.keys().next_back();
        assert!(used.is_none_or(|used| *used < first), "ordinals only grow: {first} is reserved, and {used:?} is used");
    }

    fn noted_ordinal(&self) -> u32 {
        let service = self.observed.services.members.as_ref();
        let noted = service.and_then(|service| annotation(&service.metadata, names::ANNOTATION_LAST_ORDINAL));
        noted.and_then(|noted| noted.parse().ok()).unwrap_or(0)
    }

    /// Invariant *budget keeps its floor*: the disruption budget lets at most one voter be absent. If the incoming half
    /// of the configuration, the outgoing half and the change in this plan have different numbers of voters, the
    /// largest number counts.
    fn budget_keeps_its_floor(&self, object: &Object) {
        let Some(budget) = object.parse::<PodDisruptionBudget>() else { return };
        let least = match budget.spec.and_then(|spec| spec.min_available) {
            Some(IntOrString::Int(least)) => Some(least),
            Some(IntOrString::String(_)) | None => None,
        };
        assert!(least.is_some(), "the budget is a number, because a percentage counts only the pods that exist");
        let known = self.observed.configuration.iter().filter(|_| self.identity.is_some());
        let halves = known.flat_map(|read| {
            let configuration = &read.configuration;
            [configuration.voters.len(), configuration.outgoing.len()]
        });
        let wanted = self.changes().map(|change| change.voters.len());
        let voters = halves.chain(wanted).max().unwrap_or(0);
        let floor = i32::try_from(voters.saturating_sub(1)).unwrap_or(i32::MAX);
        assert!(
            least >= Some(floor),
            "the budget keeps its floor: {least:?} pods must stay, and {voters} members vote"
        );
    }

    /// Invariant *one disruption at a time*: a plan contains at most one action that evicts a pod, changes the
    /// membership, or transfers leadership.
    fn one_disruption_at_a_time(&self) {
        let disrupts = |action: &&Action| match action {
            Action::Write(ObjectAction::EvictPod { .. })
            | Action::Call(MemberAction::ChangeMembership { .. } | MemberAction::TransferLeadership { .. }) => true,
            Action::Write(_) | Action::Call(_) => false,
        };
        let count = self.actions.iter().filter(disrupts).count();
        assert!(count <= 1, "one disruption at a time: {count} are planned");
    }

    fn ordinals_are_used_once(&self) {
        let created = self.actions.iter().filter_map(|action| match action {
            Action::Write(ObjectAction::CreateSet { ordinal, .. }) => Some(*ordinal),
            Action::Write(_) | Action::Call(_) => None,
        });
        let created: Vec<Ordinal> = created.collect();
        let distinct: BTreeSet<Ordinal> = created.iter().copied().collect();
        assert_eq!(distinct.len(), created.len(), "an ordinal is used once");
    }

    fn new_set_has_a_free_ordinal(&self, ordinal: Ordinal, set: &StatefulSet) {
        self.belongs_to_this_cluster(&set.metadata);
        assert!(self.identity.is_some(), "no member exists before the identity: {ordinal} is created");
        assert_eq!(
            set.metadata.name.as_deref(),
            Some(names::member(self.valid.name, ordinal).as_str()),
            "a StatefulSet has the name of its ordinal"
        );
        assert!(set.metadata.uid.is_none(), "a create never names an incarnation");
        let pod = self.roster.seats.get(&ordinal).and_then(|seat| seat.pod);
        assert!(
            !runs(set) || pod.is_some_and(is_orphan),
            "a member starts only by a write under its StatefulSet's version: {ordinal}"
        );
        volume_outlives_its_pod(set, None);
        let live = self.roster.seats.get(&ordinal).and_then(|seat| seat.set);
        assert!(live.is_none(), "member {ordinal} has a StatefulSet already");
        let notes = [names::ANNOTATION_MEMBER_ID, names::ANNOTATION_VOLUME];
        let comes_back = notes.iter().any(|note| annotation(&set.metadata, note).is_some());
        let reserved = self.observed.reserved.contains(&ordinal) || self.reserves(ordinal);
        assert!(comes_back || reserved, "a new member has an ordinal that this operator reserved");
    }

    /// Invariant *a replacement keeps what is fixed*: only the observed StatefulSet is replaced, its claim template stays,
    /// and its pod template stays while the settings do.
    fn replaced_set_keeps_what_is_fixed(&self, replace: &Replace) {
        let set: StatefulSet = replace.object().parse().expect("only a StatefulSet is replaced");
        self.belongs_to_this_cluster(&set.metadata);
        let live = self.seat_of(&replace.seen().name).and_then(|seat| seat.set);
        let live = live.expect("only an observed StatefulSet is replaced");
        assert_eq!(*replace.seen(), Seen::of(&live.metadata), "a replacement follows no other change");
        volume_outlives_its_pod(&set, Some(live));
        let (Some(wanted), Some(live)) = (&set.spec, &live.spec) else { return };
        assert!(
            wanted.volume_claim_templates == live.volume_claim_templates,
            "a replacement keeps what is fixed: the claim template of {} would change",
            replace.seen().name
        );
        let settings = |spec: &StatefulSetSpec| {
            let metadata = spec.template.metadata.as_ref()?;
            annotation(metadata, names::ANNOTATION_SETTINGS).map(str::to_owned)
        };
        assert!(
            settings(wanted) != settings(live) || fixed_pods(wanted) == fixed_pods(live),
            "a replacement keeps what is fixed: the pods of {} would change without new settings",
            replace.seen().name
        );
    }

    /// Invariant *a volume only grows*: only the observed claim of a member is patched, and asks for more than before.
    fn a_volume_only_grows(&self, claim: &Seen, size: &Quantity) {
        let seat = names::ordinal_of_volume(self.valid.name, &claim.name).and_then(|it| self.roster.seats.get(&it));
        let live = seat.filter(|seat| seat.set.is_some()).and_then(|seat| seat.volume);
        let live = live.expect("only the claim of a member grows");
        assert_eq!(*claim, Seen::of(&live.metadata), "a volume only grows: the patch follows no other change");
        let (before, after) = (volume::requested(live), quantity::bytes(size));
        assert!(before < after, "a volume only grows: {} would ask for {size:?}, after {before:?} bytes", claim.name);
    }

    fn reserves(&self, ordinal: Ordinal) -> bool {
        self.actions.iter().any(|action| match action {
            Action::Write(ObjectAction::ReserveOrdinals { first, last, .. }) => (*first..=*last).contains(&ordinal),
            Action::Write(_) | Action::Call(_) => false,
        })
    }

    /// A Secret with an identity never changes, is named after its cluster, and has the owner that its name says. While
    /// the identity is known, only the same one is written again.
    fn created_identity_is_sound(&self, secret: &Secret) {
        assert_eq!(secret.immutable, Some(true), "the identity never changes");
        let created = ClusterIdentity::from_secret(secret).expect("an identity that was just written can be read");
        let owned = secret.metadata.owner_references.is_some();
        let fate = if owned { VolumeFate::Delete } else { VolumeFate::Retain };
        let name = names::identity(self.valid.name, &created.cluster.digits(), fate);
        assert_eq!(secret.metadata.name, Some(name), "a Secret is named after its cluster and its fate");
        assert_eq!(secret.metadata.namespace.as_deref(), Some(self.valid.namespace), "it stays in the namespace");
        assert!(!owned || self.observed.owns(&secret.metadata), "no other RaftCluster owns the identity");
        let same = |known: &ClusterIdentity| known.cluster == created.cluster && known.token == created.token;
        assert!(self.identity.is_none_or(same), "the identity is chosen once: another one is created");
    }

    /// Invariant *identity is chosen once*: a pointer is written where there is none, or names another Secret with the
    /// identity that is known.
    fn identity_is_chosen_once(&self, name: &str, voters: Option<&[FirstVoter]>) {
        let created = self.actions.iter().find_map(|action| match action {
            Action::Write(ObjectAction::CreateIdentity(secret)) if secret.metadata.name.as_deref() == Some(name) => {
                Some(&**secret)
            }
            Action::Write(_) | Action::Call(_) => None,
        });
        let target = created.or_else(|| pointer::read(self.observed, name));
        let target = target.expect("the pointer names a Secret that exists or is created before");
        let same = |known: &ClusterIdentity| secret::holds(target, known);
        assert!(self.identity.is_none_or(same), "the identity is chosen once: {name} holds another one");
        let is_new = self.identity.is_some() || pointer::pointer(self.observed).is_none();
        assert!(is_new, "the identity is chosen once: the present one is not known");
        let kept = match self.identity {
            Some(identity) => identity.voters.as_deref() == voters,
            None => voters.is_none_or(<[FirstVoter]>::is_empty),
        };
        assert!(kept, "first voters are chosen once: {voters:?} are written with the pointer");
    }

    /// Invariant *first voters are chosen once*: they are chosen among blank members, under an identity that the pointer
    /// names, and only while none are chosen.
    fn first_voters_are_chosen_once(&self, voters: &[FirstVoter]) {
        let chosen = self.identity.is_none_or(|identity| identity.voters.is_some());
        assert!(!chosen, "first voters are chosen once");
        assert!(pointer::pointer(self.observed).is_some(), "voters are chosen under an identity that cannot change");
        let distinct: BTreeSet<MemberId> = voters.iter().map(|voter| voter.id).collect();
        assert_eq!(distinct.len(), voters.len(), "first voters are distinct");
        let blank = |voter: &FirstVoter| self.seat_of(&voter.name).and_then(Seat::blank_id) == Some(voter.id);
        assert!(!voters.is_empty() && voters.iter().all(blank), "first voters are blank members");
    }

    /// Invariant *deletion is final*: a deleted member was removed by a confirmed configuration, or cannot have been
    /// admitted.
    fn deletion_is_final(&self, set: &str) {
        let seat = self.seat_of(set);
        let on_trial = seat.filter(|seat| seat.on_trial).and_then(|seat| seat.set);
        assert!(on_trial.is_none_or(|set| !volume_goes_with(set)), "a member on trial keeps its volume: {set}");
        let ground = seat.is_some_and(|seat| seat.health == Health::Removed || seat.is_discardable());
        assert!(ground, "deletion is final, and {set} may be a member");
        assert!(self.observed.configuration.is_some(), "only a confirmed configuration is a ground to delete {set}");
    }

    fn only_recorded_voters_begin(&self, call: &MemberAction) {
        let identity = self.identity.expect("a member begins only with an identity");
        let voters = identity.first_voters();
        let seat = self.roster.seats.get(&call.member());
        let id = seat.and_then(|seat| seat.id);
        assert!(voters.iter().any(|voter| Some(voter.id) == id), "only first voters begin the cluster");
        assert!(seat.is_some_and(|seat| seat.set.is_some()), "only a member with a StatefulSet begins");
    }

    fn belongs_to_this_cluster(&self, metadata: &ObjectMeta) {
        assert!(self.observed.owns(metadata), "written objects belong to this cluster: {:?}", metadata.name);
        assert_eq!(
            metadata.namespace.as_deref(),
            Some(self.valid.namespace),
            "objects stay in the cluster's namespace"
        );
    }

    fn changes(&self) -> impl Iterator<Item = &Change> {
        self.actions.iter().filter_map(|action| match action {
            Action::Call(MemberAction::ChangeMembership { change, .. }) => Some(change),
            Action::Write(_) | Action::Call(_) => None,
        })
    }

    fn seat_of(&self, set: &str) -> Option<&Seat<'_>> {
        self.roster.seats.get(&names::ordinal_of_member(self.valid.name, set)?)
    }
}

/// Invariant *a volume outlives its pod*: every StatefulSet keeps its volume when it is scaled down, and a live one is
/// scaled to 0 only if it says so already. Otherwise Kubernetes would delete the volume of a member that is only stopped.
fn volume_outlives_its_pod(wanted: &StatefulSet, live: Option<&StatefulSet>) {
    let name = wanted.metadata.name.as_deref().unwrap_or_default();
    assert!(
        retains_when_scaled(wanted),
        "a volume outlives its pod: {name} would lose its volume when it is scaled down"
    );
    assert!(
        runs(wanted) || live.is_none_or(retains_when_scaled),
        "a volume outlives its pod: {name} is stopped before its StatefulSet says that its volume stays"
    );
}
