//! Forms a new cluster, exactly once: creates the first members, then the identity, then calls Bootstrap. Does not own
//! what is reported while a cluster has no leader (`outage.rs`), nor what happens once a cluster has a leader
//! (`membership`).
//!
//! Creating the identity cannot be undone. Before the identity exists, every volume is blank and nothing can be lost.
//! Afterwards no second identity is ever created, whatever happened to the disks
//! (`operator/docs/decisions/identity.md`).

use std::collections::BTreeSet;

use crds::Reason;

use crate::action::{Action, MemberAction, ObjectAction};
use crate::decision::{Decision, Note};
use crate::desired::stateful_set;
use crate::identity::{ClusterIdentity, FirstVoter, Origin};
use crate::ids::{ClusterId, MemberId, Token};
use crate::membership::ordinals;
use crate::names::{self, Role};
use crate::observed::Observed;
use crate::observed::member::Configuration;
use crate::outage;
use crate::restore;
use crate::roster::{Health, Loss, Roster, Seat, is_going, is_used, stays};
use crate::troubles;
use crate::validated::{ValidatedCluster, info};

/// Advice to a person who changes the StorageClass before there is a cluster in which members can be replaced.
const KEEPS_ITS_CLASS: &str = ". Until the cluster is formed, its members keep the StorageClass with which they were created: create that StorageClass, or delete this RaftCluster and create it again";

/// Decides for a cluster without an identity: starts the first members, and creates the identity when each has
/// reported its ID.
pub(crate) fn form(valid: &ValidatedCluster<'_>, observed: &Observed, roster: &Roster<'_>) -> Decision {
    if let Some(waiting) = former_objects(observed) {
        return waiting;
    }
    if let Some(refused) = retained_volumes(valid, roster) {
        return refused;
    }
    let abandoned = abandoned_volumes(valid, observed, roster);
    if !abandoned.is_empty() {
        let activity = Note::new(Reason::Bootstrapping, "members start on volumes that were never used");
        return Decision { actions: abandoned, activity: Some(activity), ..Decision::default() };
    }
    let origin = match restore::origin(valid, observed) {
        Ok(origin) => origin,
        Err(note) => return Decision { activity: Some(restoring()), blocked: Some(note), ..Decision::default() },
    };
    let store = origin.store();
    let usable = |seat: &&Seat<'_>| seat.set.is_some() && !matches!(seat.health, Health::Lost(Loss::Foreign));
    let seats: Vec<&Seat<'_>> = roster.seats.values().filter(usable).collect();
    let roles: Vec<Role> = (seats.len()..valid.total())
        .map(|place| if place < valid.voters { Role::Voter } else { Role::Learner })
        .collect();
    let mut decision = Decision { activity: Some(starting(&origin)), ..Decision::default() };
    if !roles.is_empty() {
        decision.actions = ordinals::create(valid, observed, roster, store, &roles);
        decision.blocked = ordinals::exhausted(observed, roster, roles.len());
        return decision;
    }
    let voters = match origin {
        Origin::Empty => valid.voters,
        Origin::Backup(_) => 1,
    };
    assert!(voters <= seats.len(), "the first voters exist: {voters} of {}", seats.len());
    match first_voters(&seats[..voters]) {
        Ok(voters) => {
            let identity = ClusterIdentity {
                cluster: ClusterId(observed.entropy.cluster_id),
                token: Token::of(observed.entropy.token),
                voters,
                origin,
            };
            let secret = identity.to_secret(valid.name, valid.namespace, valid.owner.clone());
            decision.actions.push(ObjectAction::CreateIdentity(Box::new(secret)).into());
        }
        Err(note) => decision.blocked = Some(note),
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
    match outage::find(valid, observed, roster, identity) {
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
        .voters
        .iter()
        .filter_map(|voter| Some((voter.id, info(valid, names::ordinal_of_member(valid.name, &voter.name)?))))
        .collect();
    let blank = identity.voters.iter().filter_map(|voter| roster.by_id(voter.id)).filter(|seat| is_blank_voter(seat));
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
/// identity is created.
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
        let message = "two volumes hold the same member ID, as copies of one volume do: delete the claims and pods of all members but one";
        return Err(Note::new(Reason::RetainedVolumes, message));
    }
    assert_eq!(voters.len(), seats.len(), "every first voter is in the identity");
    Ok(voters)
}

/// Reports objects of an earlier RaftCluster with this name that Kubernetes has not collected yet.
fn former_objects(observed: &Observed) -> Option<Decision> {
    let set = observed
        .members
        .values()
        .filter_map(|member| member.set.as_ref())
        .find(|set| !observed.owns(&set.metadata))
        .map(|set| format!("StatefulSet {}", set.metadata.name.as_deref().unwrap_or_default()));
    let secret = observed
        .identity
        .as_ref()
        .filter(|secret| !observed.owns(&secret.metadata))
        .map(|secret| format!("Secret {}", secret.metadata.name.as_deref().unwrap_or_default()));
    let former = set.or(secret)?;
    let message = format!(
        "{former} belongs to another owner: if that was an earlier RaftCluster of this name, Kubernetes is still collecting it; else delete it, or choose another name"
    );
    Some(Decision {
        activity: Some(Note::new(Reason::Bootstrapping, "waits for a name to become free")),
        blocked: Some(Note::new(Reason::NameTaken, message)),
        ..Decision::default()
    })
}

/// Reports volumes with data of an earlier cluster of this name. While these volumes exist, the cluster can only be
/// formed by a restore, because the members of a restored cluster get higher ordinals and therefore other volumes.
fn retained_volumes(valid: &ValidatedCluster<'_>, roster: &Roster<'_>) -> Option<Decision> {
    let retained: Vec<&Seat<'_>> = roster
        .seats
        .values()
        .filter(|seat| seat.set.is_none())
        .filter(|seat| seat.volume.is_some_and(|volume| is_used(volume) || is_going(volume)))
        .collect();
    if retained.is_empty() || valid.spec.bootstrap.is_some() {
        return None;
    }
    let going = retained.iter().all(|seat| seat.volume.is_some_and(is_going));
    let claims: Vec<String> = retained.iter().map(|seat| names::volume(valid.name, seat.ordinal)).collect();
    let claims = claims.join(", ");
    if going {
        return Some(Decision {
            activity: Some(Note::new(Reason::Bootstrapping, "waits for volumes of an earlier cluster to go")),
            blocked: Some(Note::new(Reason::RetainedVolumes, format!("{claims} are being deleted"))),
            ..Decision::default()
        });
    }
    let message = format!(
        "volumes of an earlier cluster of this name exist ({claims}), and are never used for an empty one: delete this RaftCluster; then delete these claims and create it again to start empty, or create it with bootstrap.restore to start from a backup, which leaves them alone"
    );
    Some(Decision::stall(Reason::RetainedVolumes, message))
}

/// Starts members on volumes without a StatefulSet, so that these members report whether the volumes hold data. None of
/// these volumes is labelled with a member: if [`retained_volumes`] finds a labelled volume, this function is not
/// called. Starts nothing if the cluster begins with a backup, because a restore uses new volumes.
fn abandoned_volumes(valid: &ValidatedCluster<'_>, observed: &Observed, roster: &Roster<'_>) -> Vec<Action> {
    if valid.spec.bootstrap.is_some() || observed.services.members.is_none() {
        return Vec::new();
    }
    let abandoned = roster.seats.values().filter(|seat| seat.set.is_none());
    abandoned
        .filter_map(|seat| {
            let uid = seat.volume?.metadata.uid.as_deref()?;
            Some(ordinals::create_set(valid, seat.ordinal, Role::Voter, stateful_set::SetOrigin::OfVolume(uid), None))
        })
        .collect()
}

/// Creates the StatefulSet of each member whose volume exists and whose StatefulSet was deleted. The member keeps its
/// ID.
fn bring_back_missing(valid: &ValidatedCluster<'_>, roster: &Roster<'_>, identity: &ClusterIdentity) -> Vec<Action> {
    let store = identity.origin.store();
    let missing = roster.seats.values().filter(|seat| seat.set.is_none() && seat.volume.is_some_and(stays));
    missing
        .filter(|seat| !seat.holds_data_of_another(identity.cluster))
        .filter(|seat| !seat.id.is_some_and(|id| is_known_removed(roster, identity, id)))
        .filter_map(|seat| {
            let origin = stateful_set::SetOrigin::Announced(seat.id?);
            Some(ordinals::create_set(valid, seat.ordinal, Role::Voter, origin, store))
        })
        .collect()
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
