//! From nothing to a cluster, exactly once: first members, the record, Bootstrap. Also what to say when a record exists
//! and no leader does. What happens once there is a leader is decided in `membership`.
//!
//! The record is the point of no return. Before it every volume is blank and nothing can be lost; after it no second one
//! is ever made, whatever happened to the disks.

use std::collections::BTreeSet;

use crds::Reason;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::action::Action;
use crate::decision::{Decision, Note};
use crate::desired::stateful_set;
use crate::identity::{Origin, Record, RecordedVoter};
use crate::ids::{ClusterId, MemberId, Token};
use crate::membership::ordinals;
use crate::names::{self, Ordinal, Role};
use crate::observed::member::{Configuration, MemberInfo, Phase};
use crate::observed::{Observed, annotation, label};
use crate::restore;
use crate::roster::{Loss, Roster, Seat, Standing};
use crate::troubles;
use crate::validated::ValidatedCluster;

/// What a person can do who lost the identity.
const RESTORE_THE_SECRET: &str = "Restore the Secret from a copy, owner reference included; without a copy, read the data out with a client and write it into a new RaftCluster";

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
    let store = restore::store_of(&origin);
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

/// No record, though there was one: what the members hold belongs to a cluster that nobody can prove oneself to any more.
/// A second record would make an empty cluster beside it, and its members surplus.
pub(crate) fn identity_lost(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
) -> Option<Decision> {
    let service = observed.services.members.as_ref().filter(|service| observed.owns(&service.metadata));
    let formed = service.is_some_and(|service| annotation(&service.metadata, names::ANNOTATION_FORMED).is_some());
    // Without a StatefulSet, a volume that is older than this RaftCluster is what an earlier one of its name left.
    let is_own = |volume: &PersistentVolumeClaim| {
        let (ours, its) = (&observed.cluster.metadata.creation_timestamp, &volume.metadata.creation_timestamp);
        ours.as_ref().zip(its.as_ref()).is_some_and(|(ours, its)| its >= ours)
    };
    let holds_data = |seat: &&Seat<'_>| {
        let used = seat.volume.filter(|volume| is_used(volume));
        used.is_some_and(|volume| seat.set.is_some() || is_own(volume))
            || seat.report.is_some_and(|report| report.phase != Phase::Blank)
    };
    let holders: Vec<&str> = roster.seats.values().filter(holds_data).map(|seat| seat.name.as_str()).collect();
    if !formed && holders.is_empty() {
        return None;
    }
    let secret = names::identity(valid.name);
    let what = match &observed.record {
        Some(_) => format!("Secret {secret} does not name this RaftCluster, UID {}, as its owner", observed.uid()),
        None => format!("Secret {secret} is gone"),
    };
    let holders = if holders.is_empty() { String::new() } else { format!(" ({} hold data)", holders.join(", ")) };
    let message = format!(
        "{what}, but this cluster was formed{holders}: members go on serving, and nothing is created, changed or deleted. {RESTORE_THE_SECRET}"
    );
    Some(Decision::stall(Reason::IdentityLost, message))
}

/// A record but no leader to ask: carry the record out as far as it is not, and tell what is wrong otherwise.
pub(crate) fn after_record(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    record: &Record,
) -> Decision {
    let mut decision = Decision { actions: bring_back_missing(valid, roster, record), ..Decision::default() };
    let formed = was_formed(observed, record, roster);
    if let Some(configuration) = newest_reported(roster, record) {
        decision = decision.and(leaderless(roster, configuration, formed));
    } else if formed || recoverable(roster, record) < majority(record.voters.len()) {
        decision = decision.and(silent_cluster(valid, roster, record, formed));
    } else {
        decision.activity = Some(starting(&record.origin));
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

/// Name and addresses of a member.
pub(crate) fn info(valid: &ValidatedCluster<'_>, ordinal: Ordinal) -> MemberInfo {
    MemberInfo {
        name: names::member(valid.name, ordinal),
        peer_url: names::peer_url(valid.name, valid.namespace, ordinal),
        client_url: names::client_url(valid.name, valid.namespace, ordinal),
    }
}

/// Smallest number of voters that decides.
pub(crate) fn majority(voters: usize) -> usize {
    voters / 2 + 1
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

/// Labelled with the member whose data it holds.
fn is_used(volume: &PersistentVolumeClaim) -> bool {
    label(&volume.metadata, names::LABEL_MEMBER_ID).is_some()
}

fn is_going(volume: &PersistentVolumeClaim) -> bool {
    volume.metadata.deletion_timestamp.is_some()
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
    let store = restore::store_of(&record.origin);
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

fn has_volume(seat: &Seat<'_>) -> bool {
    seat.volume.is_some_and(|volume| !is_going(volume))
}

/// Whether the cluster ever had a leader, as far as anybody noted. Only the words of a report depend on it. A note counts
/// whatever ID it names: another one tells that this record is not the one that the cluster was formed with.
fn was_formed(observed: &Observed, record: &Record, roster: &Roster<'_>) -> bool {
    let noted = observed
        .services
        .members
        .as_ref()
        .is_some_and(|service| annotation(&service.metadata, names::ANNOTATION_FORMED).is_some());
    let grown = roster.seats.values().any(|seat| seat.id.is_some() && record.id_of(&seat.name).is_none());
    noted || grown
}

/// The newest configuration that any member of this cluster reports.
fn newest_reported<'r>(roster: &'r Roster<'_>, record: &Record) -> Option<&'r Configuration> {
    roster
        .seats
        .values()
        .filter_map(|seat| seat.report)
        .filter(|report| report.cluster == Some(record.cluster))
        .filter_map(|report| report.configuration.as_ref())
        .filter(|configuration| !configuration.voters.is_empty())
        .max_by_key(|configuration| configuration.index)
}

fn recoverable(roster: &Roster<'_>, record: &Record) -> usize {
    let lost = |voter: &&RecordedVoter| !matches!(roster.standing(voter.id), Standing::Lost(_));
    record.voters.iter().filter(lost).count()
}

/// Members answer, but no leader does.
fn leaderless(roster: &Roster<'_>, configuration: &Configuration, formed: bool) -> Decision {
    let count = |judge: &dyn Fn(Standing) -> bool| {
        configuration.voters.iter().filter(|id| judge(roster.standing(**id))).count()
    };
    let (voters, needed) = (configuration.voters.len(), majority(configuration.voters.len()));
    let hopeful = count(&|standing| !matches!(standing, Standing::Lost(_)));
    let there = count(&|standing| matches!(standing, Standing::Serving { .. } | Standing::Alone));
    if hopeful < needed {
        let message = format!(
            "{} of {voters} voters lost their data and {needed} are needed: no quorum can be formed again. Restore a backup into a RaftCluster with a new name; the volumes that are left are kept",
            voters - hopeful
        );
        return Decision::stall(Reason::AwaitingRestore, message);
    }
    let outage = if there >= needed {
        Note::new(Reason::NoLeader, format!("{there} of {voters} voters answer and elect a leader"))
    } else {
        let message =
            format!("{there} of {voters} voters answer and {needed} are needed: bring their machines or volumes back");
        Note::new(Reason::QuorumLost, message)
    };
    if formed {
        Decision { outage: Some(outage), ..Decision::default() }
    } else {
        let activity = Note::new(Reason::Bootstrapping, "waits for the first leader");
        Decision { activity: Some(activity), blocked: Some(outage), ..Decision::default() }
    }
}

/// Nobody tells of a configuration. That nothing was ever acknowledged, or that all is lost, is said only if every member that
/// was recorded or announced tells so itself, or is gone with its volume: a silent one may hold what was acknowledged, and one
/// that refuses the record's token may serve at this moment.
fn silent_cluster(valid: &ValidatedCluster<'_>, roster: &Roster<'_>, record: &Record, formed: bool) -> Decision {
    let is_stranger = |seat: &Seat<'_>| seat.report.is_some() && seat.standing == Standing::Lost(Loss::Foreign);
    let is_empty = |seat: &Seat<'_>| {
        matches!(seat.standing, Standing::Blank | Standing::Lost(Loss::Wiped | Loss::Vanished) | Standing::Removed)
    };
    let known = || roster.seats.values().filter(|seat| seat.id.is_some() || is_stranger(seat));
    let holders: Vec<&Seat<'_>> = known().filter(|seat| !is_empty(seat)).collect();
    let names = holders.iter().map(|seat| seat.name.as_str()).collect::<Vec<_>>().join(", ");
    if holders.is_empty() && !formed {
        return Decision::stall(Reason::BootstrapIncomplete, incomplete(roster, record));
    }
    if !holders.is_empty() && holders.iter().all(|seat| is_stranger(seat)) {
        let message = format!(
            "Secret {} holds the identity of cluster {}, but {names} hold data of another one and refuse it: none of them is replaced or deleted. {RESTORE_THE_SECRET}",
            names::identity(valid.name),
            record.cluster
        );
        return Decision::stall(Reason::IdentityLost, message);
    }
    if holders.iter().all(|seat| matches!(seat.standing, Standing::Lost(_))) {
        let message = "the volumes of all members are empty, damaged or gone: the data of this cluster is lost, and no empty cluster is formed in its place. Restore a backup into a RaftCluster with a new name";
        return Decision::stall(Reason::AwaitingRestore, message);
    }
    let message = format!("no member answers that holds data, and {names} may: bring their machines or volumes back");
    Decision { outage: Some(Note::new(Reason::QuorumLost, message)), ..Decision::default() }
}

fn incomplete(roster: &Roster<'_>, record: &Record) -> String {
    let lost: Vec<&str> = record
        .voters
        .iter()
        .filter(|voter| matches!(roster.standing(voter.id), Standing::Lost(_)))
        .map(|voter| voter.name.as_str())
        .collect();
    format!(
        "{} lost their volumes before the cluster was formed, no majority of its {} first voters is left, and none of them holds data: delete this RaftCluster with its volumes and create it again",
        lost.join(", "),
        record.voters.len()
    )
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
