//! Forms a new cluster, exactly once: creates the identity, then the first members, then chooses the first voters among
//! them, then calls Bootstrap. Does not own how the Secret is created (`secret.rs`), what is reported while a cluster has
//! no leader (`outage.rs`), nor what happens once a cluster has a leader (`membership`).
//!
//! Each of these steps is taken once, by compare-and-swap on the members' Service. No member exists before the identity,
//! and only the chosen voters are bootstrapped. Afterwards no second identity is ever created, whatever happened to the
//! disks (`operator/docs/decisions/identity.md`).

use std::collections::BTreeSet;

use crds::Reason;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::action::{Action, MemberAction, ObjectAction};
use crate::decision::{Decision, Note};
use crate::desired::stateful_set;
use crate::identity::{ClusterIdentity, FirstVoter, Origin};
use crate::ids::{ClusterId, MemberId, Token};
use crate::membership::ordinals;
use crate::names::{self, Role};
use crate::observed::member::Configuration;
use crate::observed::{Observed, Seen, volume_goes_with};
use crate::outage;
use crate::pointer;
use crate::restore;
use crate::roster::{Health, Loss, Roster, Seat, is_of_removed, is_used, stays};
use crate::secret;
use crate::take_up::{self, Retained};
use crate::troubles;
use crate::validated::{ValidatedCluster, info};
use crate::volume::never_fits;

/// Advice to a person who changes the StorageClass before there is a cluster in which members can be replaced.
const KEEPS_ITS_CLASS: &str = ". Until the cluster is formed, its members keep the StorageClass with which they were created: create that StorageClass, or delete this RaftCluster and create it again";

/// Decides for a cluster without an identity: takes retained volumes up, or creates the identity, before any member
/// exists.
pub(crate) fn begin(valid: &ValidatedCluster<'_>, observed: &Observed) -> Decision {
    if let Some(waiting) = former_sets(observed) {
        return waiting;
    }
    match take_up::judge(valid, observed) {
        Retained::Nothing => {}
        Retained::Going(note) => {
            let activity = Note::new(Reason::Bootstrapping, "waits for volumes of an earlier cluster to go");
            return Decision { activity: Some(activity), blocked: Some(note), ..Decision::default() };
        }
        Retained::TakenUp(known) => {
            let activity = Some(outage::taking_up(&known.identity));
            return Decision { actions: secret::keep(valid, observed, &known), activity, ..Decision::default() };
        }
        Retained::Refused(note) => return Decision::stall(note.reason, note.message),
    }
    match restore::origin(valid, observed) {
        Ok(origin) => {
            let activity = Some(starting(&origin));
            let (cluster, token) = (ClusterId(observed.entropy.cluster_id), Token::of(observed.entropy.token));
            let identity = ClusterIdentity::new(cluster, token, origin, valid.spec.bootstrap.clone());
            Decision { actions: secret::create(valid, observed, &identity), activity, ..Decision::default() }
        }
        Err(note) => Decision { activity: Some(restoring()), blocked: Some(note), ..Decision::default() },
    }
}

/// Decides for a cluster whose first voters are not chosen: starts the first members, and chooses the first voters when
/// each has reported its ID.
pub(crate) fn form(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    identity: &ClusterIdentity,
) -> Decision {
    if let Some(waiting) = former_sets(observed) {
        return waiting;
    }
    if let Some(refused) = unlabelled_data(valid, observed, roster, identity) {
        return refused;
    }
    let abandoned = abandoned_volumes(roster, identity, valid);
    if !abandoned.is_empty() {
        let activity = Note::new(Reason::Bootstrapping, "members start on volumes that were never used");
        return Decision { actions: abandoned, activity: Some(activity), ..Decision::default() };
    }
    let store = identity.origin.store();
    let usable = |seat: &&Seat<'_>| seat.set.is_some() && !matches!(seat.health, Health::Lost(Loss::Foreign));
    let seats: Vec<&Seat<'_>> = roster.seats.values().filter(usable).collect();
    let roles: Vec<Role> = (seats.len()..valid.total())
        .map(|place| if place < valid.voters { Role::Voter } else { Role::Learner })
        .collect();
    let mut decision = Decision { activity: Some(starting(&identity.origin)), ..Decision::default() };
    if !roles.is_empty() {
        decision.actions = ordinals::create(valid, observed, roster, store, &roles);
        decision.blocked = ordinals::exhausted(observed, roster, roles.len());
        return decision;
    }
    let voters = match identity.origin {
        Origin::Empty => valid.voters,
        Origin::Backup(_) => 1,
    };
    assert!(voters <= seats.len(), "the first voters exist: {voters} of {}", seats.len());
    match (first_voters(&seats[..voters]), pointer::own_service(observed)) {
        (Ok(voters), Some(service)) => {
            let service = Seen::of(service);
            decision.actions.push(ObjectAction::ChooseFirstVoters { service, voters }.into());
        }
        // The voters are chosen after the Service exists again.
        (Ok(_), None) => {}
        (Err(note), _) => decision.blocked = Some(note),
    }
    decision
}

/// Decides for a cluster with an identity but without a leader: brings the first voters into the cluster, and reports
/// what is wrong.
pub(crate) fn await_leader(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    identity: &ClusterIdentity,
) -> Decision {
    let mut decision = Decision { actions: bring_back_missing(valid, roster, identity), ..Decision::default() };
    let coming_back: Vec<String> = decision.actions.iter().map(|action| action.describe().subject).collect();
    match outage::find(observed, roster, identity) {
        Some(outage) => decision = decision.and(outage::with_deleted_sets(outage, roster, &coming_back)),
        None => decision.activity = Some(starting(&identity.origin)),
    }
    if decision.stalled.is_none() {
        decision = decision.and(carry_out(valid, roster, identity));
    }
    decision
}

/// Calls Bootstrap on every first voter that is still blank, or Restore if the cluster begins with a backup.
pub(crate) fn carry_out(valid: &ValidatedCluster<'_>, roster: &Roster<'_>, identity: &ClusterIdentity) -> Decision {
    if let Origin::Backup(place) = &identity.origin {
        return restore::carry_out(valid, roster, identity, place);
    }
    let voters: Vec<_> = identity
        .first_voters()
        .iter()
        .filter_map(|voter| Some((voter.id, info(valid, names::ordinal_of_member(valid.name, &voter.name)?))))
        .collect();
    let seats = identity.first_voters().iter().filter_map(|voter| roster.by_id(voter.id));
    let blank = seats.filter(|seat| is_blank_voter(seat));
    let actions = blank
        .map(|seat| {
            let (member, identity, voters) = (seat.ordinal, Box::new(identity.clone()), voters.clone());
            MemberAction::Bootstrap { member, identity, voters }.into()
        })
        .collect();
    Decision { actions, ..Decision::default() }
}

fn is_blank_voter(seat: &Seat<'_>) -> bool {
    seat.health == Health::Blank && seat.blank_id().is_some() && seat.blank_id() == seat.id
}

/// Names and IDs of the first voters, once each of them has reported its ID.
///
/// # Errors
/// Returns the cause of the wait if a member has not reported its ID, or if two members report the same ID. No
/// voters are chosen.
fn first_voters(seats: &[&Seat<'_>]) -> Result<Vec<FirstVoter>, Note> {
    let mut voters = Vec::new();
    let mut silent = Vec::new();
    for seat in seats {
        match seat.blank_id() {
            Some(id) => voters.push(FirstVoter { name: seat.name.clone(), id }),
            None => silent.push(*seat),
        }
    }
    // If the reason why a member does not start is known, report it. It explains more than the report that members are
    // starting.
    let mut causes = silent.iter().filter_map(|seat| Some((seat, troubles::of(seat)?)));
    let is_known = |note: &Note| !matches!(note.reason, Reason::MembersNotReady | Reason::MemberUnreachable);
    if let Some((seat, note)) = causes.find(|(_, note)| is_known(note)) {
        let advice = if seat.misplaced { KEEPS_ITS_CLASS } else { "" };
        return Err(Note::new(note.reason, format!("{}: {}{advice}", seat.name, note.message)));
    }
    if !silent.is_empty() {
        let names: Vec<_> = silent.iter().map(|seat| seat.name.as_str()).collect();
        return Err(Note::new(Reason::MembersNotReady, format!("waits for {} to start", names.join(", "))));
    }
    let distinct: BTreeSet<_> = voters.iter().map(|voter| voter.id).collect();
    if distinct.len() < voters.len() {
        let message = "two volumes hold the same member ID, as copies of one volume do: mark the claims of all members but one (kubectl annotate persistentvolumeclaim NAME raftoperator.io/allow-deletion=true), then delete them and their pods";
        return Err(Note::new(Reason::RetainedVolumes, message));
    }
    assert_eq!(voters.len(), seats.len(), "every first voter is chosen");
    Ok(voters)
}

/// Reports StatefulSets of an earlier RaftCluster with this name that Kubernetes has not collected yet.
fn former_sets(observed: &Observed) -> Option<Decision> {
    let mut sets = observed.members.values().filter_map(|member| member.set.as_ref());
    let set = sets.find(|set| !observed.owns(&set.metadata))?;
    let former = set.metadata.name.as_deref().unwrap_or_default();
    // `kubectl delete raftcluster --cascade=orphan` leaves such StatefulSets.
    let keep = if volume_goes_with(set) {
        ". Its volume is deleted with it: to keep the data, first set its persistentVolumeClaimRetentionPolicy.whenDeleted to Retain, and wait until its claim has no owner"
    } else {
        ""
    };
    let message = format!(
        "StatefulSet {former} belongs to another owner: if that was an earlier RaftCluster of this name, Kubernetes is still collecting it; else choose another name, or mark it (kubectl annotate statefulset {former} raftoperator.io/allow-deletion=true) and delete it{keep}"
    );
    Some(Decision {
        activity: Some(Note::new(Reason::Bootstrapping, "waits for a name to become free")),
        blocked: Some(Note::new(Reason::NameTaken, message)),
        ..Decision::default()
    })
}

/// Reports members that were started on volumes without a label, and found the data of another cluster on them. An empty
/// cluster next to this data could hide it. This happens if the former RaftCluster was deleted after its cluster was formed
/// and before a claim was labelled. No member was bootstrapped, so that a person may still name the former identity.
fn unlabelled_data(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    identity: &ClusterIdentity,
) -> Option<Decision> {
    let holds_data = |seat: &&Seat<'_>| seat.set.is_some() && seat.holds_data_of_another(identity.cluster);
    let holders: Vec<&str> = roster.seats.values().filter(holds_data).map(|seat| seat.name.as_str()).collect();
    if holders.is_empty() || identity.origin != Origin::Empty {
        return None;
    }
    let message = format!(
        "the volumes of {} hold data of an earlier cluster of this name, whose ID is not known. To serve this data, find its Secret (kubectl get secret --selector {}={}) and name it: {}. To start empty, delete this RaftCluster; then delete these claims and create it again. Or choose another name",
        holders.join(", "),
        names::LABEL_CLUSTER,
        valid.name,
        outage::name_the_secret(observed)
    );
    Some(Decision::stall(Reason::RetainedVolumes, message))
}

/// Starts members on volumes without a StatefulSet, so that these members report whether the volumes hold data. None of
/// these volumes is labelled with a member. Starts nothing if the cluster begins with a backup, because a restore uses
/// new volumes, nor on a claim without a volume that asks for another volume than the spec.
fn abandoned_volumes(roster: &Roster<'_>, identity: &ClusterIdentity, valid: &ValidatedCluster<'_>) -> Vec<Action> {
    if identity.origin != Origin::Empty {
        return Vec::new();
    }
    let abandoned = roster.seats.values().filter(|seat| seat.set.is_none());
    abandoned
        .filter_map(|seat| {
            let is_free = |volume: &&PersistentVolumeClaim| {
                !is_used(volume) && !is_of_removed(volume) && stays(volume) && !never_fits(valid, volume)
            };
            let volume = seat.volume.filter(is_free)?;
            let origin = stateful_set::SetOrigin::OfVolume(volume.metadata.uid.as_deref()?);
            Some(ordinals::create_set(valid, seat.ordinal, Role::Voter, origin, None, seat.pod))
        })
        .collect()
}

/// Creates the StatefulSet of each member whose volume exists and whose StatefulSet was deleted. The member keeps its
/// ID. If its claim was not labelled before the RaftCluster was deleted, another member still reports its ID.
fn bring_back_missing(valid: &ValidatedCluster<'_>, roster: &Roster<'_>, identity: &ClusterIdentity) -> Vec<Action> {
    let store = identity.origin.store();
    let may_start = |volume| stays(volume) && !is_of_removed(volume);
    let missing = roster.seats.values().filter(|seat| seat.set.is_none() && seat.volume.is_some_and(may_start));
    missing
        .filter(|seat| !seat.holds_data_of_another(identity.cluster))
        .filter_map(|seat| Some((seat, seat.id.or_else(|| reported_id(roster, identity, &seat.name))?)))
        .filter(|(_, id)| !is_known_removed(roster, identity, *id))
        .map(|(seat, id)| {
            let origin = stateful_set::SetOrigin::Announced(id);
            ordinals::create_set(valid, seat.ordinal, Role::Voter, origin, store, seat.pod)
        })
        .collect()
}

/// The ID of the member with this name in the newest configuration that a member reports, unless another member has it.
fn reported_id(roster: &Roster<'_>, identity: &ClusterIdentity, name: &str) -> Option<MemberId> {
    let known = outage::newest_reported(roster, identity)?;
    let mut named = known.members.iter().filter(|(id, info)| info.name == name && known.contains(**id));
    named.next().map(|(id, _)| *id).filter(|id| roster.by_id(*id).is_none())
}

/// Returns whether any member of this cluster reports a committed configuration that removed `id`. This is not a
/// linearizable read, but it is sufficient because a removal is never undone. Without this check, a removed member
/// would start again on its retained volume in every outage.
fn is_known_removed(roster: &Roster<'_>, identity: &ClusterIdentity, id: MemberId) -> bool {
    let reports = roster.seats.values().filter_map(|seat| seat.report);
    reports.filter(|report| report.cluster == Some(identity.cluster)).any(|report| {
        let committed = |configuration: &&Configuration| configuration.index <= report.commit;
        report.configuration.as_ref().filter(committed).is_some_and(|known| known.is_gone_for_good(id))
    })
}

fn starting(origin: &Origin) -> Note {
    match origin {
        Origin::Empty => Note::new(Reason::Bootstrapping, "members start for the first time"),
        Origin::Backup(_) => restoring(),
    }
}

fn restoring() -> Note {
    Note::new(Reason::Restoring, "the first member is to start from a backup")
}
