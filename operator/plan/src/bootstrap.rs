//! From nothing to a cluster, exactly once: first members, the identity, Bootstrap. Does not own what is reported while a
//! cluster has no leader (`outage.rs`), nor what happens once it has one (`membership`).
//!
//! The record is the point of no return. Before it every volume is blank and nothing can be lost; after it no second one
//! is ever made, whatever happened to the disks.

use std::collections::BTreeSet;

use crds::Reason;

use crate::action::Action;
use crate::decision::{Decision, Note};
use crate::desired::stateful_set;
use crate::identity::{Origin, Record, RecordedVoter};
use crate::ids::{ClusterId, MemberId, Token};
use crate::membership::ordinals;
use crate::names::{self, Role};
use crate::observed::Observed;
use crate::observed::member::Configuration;
use crate::outage;
use crate::restore;
use crate::roster::{Loss, Roster, Seat, Standing, has_volume, is_going, is_used};
use crate::troubles;
use crate::validated::{ValidatedCluster, info};

/// No record yet: bring up the first members and, when each told its ID, make the record.
pub(crate) fn before_record(valid: &ValidatedCluster<'_>, observed: &Observed, roster: &Roster<'_>) -> Decision {
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
    let usable = |seat: &&Seat<'_>| seat.set.is_some() && !matches!(seat.standing, Standing::Lost(Loss::Foreign));
    let seats: Vec<&Seat<'_>> = roster.seats.values().filter(usable).collect();
    let roles: Vec<Role> = (seats.len()..valid.total())
        .map(|place| if place < valid.voters { Role::Voter } else { Role::Learner })
        .collect();
    let mut decision = Decision { activity: Some(starting(&origin)), ..Decision::default() };
    if !roles.is_empty() {
        decision.actions = ordinals::create(valid, observed, roster, store, &roles);
        return decision;
    }
    let voters = match origin {
        Origin::Empty => valid.voters,
        Origin::Backup(_) => 1,
    };
    match first_voters(&seats[..voters]) {
        Ok(voters) => {
            let record = Record {
                cluster: ClusterId(observed.entropy.cluster_id),
                token: Token::of(observed.entropy.token),
                voters,
                origin,
            };
            let secret = record.to_secret(valid.name, valid.namespace, valid.owner.clone());
            decision.actions.push(Action::CreateRecord(Box::new(secret)));
        }
        Err(note) => decision.blocked = Some(note),
    }
    decision
}

/// A record but no leader to ask: carry the record out as far as it is not, and tell what is wrong otherwise.
pub(crate) fn after_record(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    record: &Record,
) -> Decision {
    let mut decision = Decision { actions: bring_back_missing(valid, roster, record), ..Decision::default() };
    match outage::find(valid, observed, roster, record) {
        Some(outage) => decision = decision.and(outage),
        None => decision.activity = Some(starting(&record.origin)),
    }
    if decision.stalled.is_none() {
        decision = decision.and(carry_out(valid, roster, record));
    }
    decision
}

/// Calls Bootstrap (or Restore) on every voter of the record that is still blank.
pub(crate) fn carry_out(valid: &ValidatedCluster<'_>, roster: &Roster<'_>, record: &Record) -> Decision {
    if let Origin::Backup(place) = &record.origin {
        return restore::carry_out(valid, roster, record, place);
    }
    let voters: Vec<_> = record
        .voters
        .iter()
        .filter_map(|voter| Some((voter.id, info(valid, names::ordinal_of_member(valid.name, &voter.name)?))))
        .collect();
    let blank = record.voters.iter().filter_map(|voter| roster.by_id(voter.id)).filter(|seat| is_blank_voter(seat));
    let actions = blank
        .map(|seat| Action::Bootstrap {
            member: seat.ordinal,
            record: Box::new(record.clone()),
            voters: voters.clone(),
        })
        .collect();
    Decision { actions, ..Decision::default() }
}

fn is_blank_voter(seat: &Seat<'_>) -> bool {
    seat.standing == Standing::Blank && seat.blank_id().is_some() && seat.blank_id() == seat.id
}

/// IDs and names of the first voters, once all of them told theirs.
fn first_voters(seats: &[&Seat<'_>]) -> Result<Vec<RecordedVoter>, Note> {
    let mut voters = Vec::new();
    let mut silent = Vec::new();
    for seat in seats {
        match seat.blank_id() {
            Some(id) => voters.push(RecordedVoter { name: seat.name.clone(), id }),
            None => silent.push(*seat),
        }
    }
    // What keeps one of them from starting says more than that they start.
    let mut causes = silent.iter().filter_map(|seat| Some((seat, troubles::of(seat)?)));
    let is_known = |note: &Note| !matches!(note.reason, Reason::MembersNotReady | Reason::MemberUnreachable);
    if let Some((seat, note)) = causes.find(|(_, note)| is_known(note)) {
        return Err(Note::new(note.reason, format!("{}: {}", seat.name, note.message)));
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
    Ok(voters)
}

/// Objects of an earlier RaftCluster of this name that Kubernetes has yet to collect.
fn former_objects(observed: &Observed) -> Option<Decision> {
    let set = observed
        .members
        .values()
        .filter_map(|member| member.set.as_ref())
        .find(|set| !observed.owns(&set.metadata))
        .map(|set| format!("StatefulSet {}", set.metadata.name.as_deref().unwrap_or_default()));
    let secret = observed
        .record
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

/// Volumes with data that an earlier cluster of this name left. A restore starts above them; nothing else touches them.
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
        "volumes of an earlier cluster of this name exist ({claims}), and are never used for an empty one: delete these claims to start empty, or delete this RaftCluster and create it with bootstrap.restore to start from a backup beside them"
    );
    Some(Decision::stall(Reason::RetainedVolumes, message))
}

/// Volumes that no member ever said to hold something, left without a StatefulSet before there was a cluster: their
/// members start, and tell. A restore leaves them alone.
fn abandoned_volumes(valid: &ValidatedCluster<'_>, observed: &Observed, roster: &Roster<'_>) -> Vec<Action> {
    if valid.spec.bootstrap.is_some() || observed.services.members.is_none() {
        return Vec::new();
    }
    let abandoned = roster.seats.values().filter(|seat| seat.set.is_none());
    abandoned
        .filter_map(|seat| {
            let uid = seat.volume?.metadata.uid.as_deref()?;
            Some(ordinals::create_set(valid, seat.ordinal, Role::Voter, stateful_set::Origin::OfVolume(uid), None))
        })
        .collect()
}

/// A member whose StatefulSet was deleted by somebody, but whose volume is there, comes back as who it was.
fn bring_back_missing(valid: &ValidatedCluster<'_>, roster: &Roster<'_>, record: &Record) -> Vec<Action> {
    let store = record.origin.store();
    let missing = roster.seats.values().filter(|seat| seat.set.is_none() && has_volume(seat));
    missing
        .filter(|seat| !seat.holds_data_of_another(record.cluster))
        .filter(|seat| !seat.id.is_some_and(|id| is_known_removed(roster, record, id)))
        .filter_map(|seat| {
            let origin = stateful_set::Origin::Announced(seat.id?);
            Some(ordinals::create_set(valid, seat.ordinal, Role::Voter, origin, store))
        })
        .collect()
}

/// Whether any member of this cluster knows of a committed configuration that removed `id`. Not linearizable, but such news
/// never becomes false: without it a retained volume of a removed member would be started again in every outage.
fn is_known_removed(roster: &Roster<'_>, record: &Record, id: MemberId) -> bool {
    let reports = roster.seats.values().filter_map(|seat| seat.report);
    reports.filter(|report| report.cluster == Some(record.cluster)).any(|report| {
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
