//! Reports about a cluster that has an identity but no leader, or members but no identity. Owns the judgement of
//! which data is lost, and which data may come back. Does not own the actions (`bootstrap.rs`).

use crds::Reason;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::decision::{Decision, Note};
use crate::desired::stateful_set::runs;
use crate::identity::{ClusterIdentity, FirstVoter};
use crate::ids::MemberId;
use crate::names;
use crate::observed::Observed;
use crate::observed::member::{Configuration, MemberPhase};
use crate::pointer;
use crate::quorum::majority;
use crate::roster::{Health, Loss, Roster, Seat, is_of_removed, is_used, stays};

/// Time within which a member that is started answers, unless something is wrong.
const START: SignedDuration = SignedDuration::from_secs(60);

/// What is reported about members whose programs are too old for their data, after their number or names.
const TOO_OLD: &str = "run a program that is too old for their data: nothing is lost; set spec.image to the image that wrote it, or to a newer one";

/// Advice to a person whose cluster lost its identity.
const RESTORE_THE_SECRET: &str = "Restore the Secret from a copy; without a copy, read the data out with a client and write it into a new RaftCluster";

/// Reports that the identity is not known although the cluster had one; `what` says why. The operator can no longer
/// authenticate to the members. A second identity would form an empty cluster, in which the members with data would be
/// surplus and would be deleted.
pub(crate) fn identity_lost(observed: &Observed, roster: &Roster<'_>, what: &str) -> Decision {
    let holds_data = |seat: &&Seat<'_>| {
        seat.volume.is_some_and(is_used) || seat.report.is_some_and(|report| report.phase != MemberPhase::Blank)
    };
    let holders: Vec<&str> = roster.seats.values().filter(holds_data).map(|seat| seat.name.as_str()).collect();
    let formed = !holders.is_empty() || pointer::note(observed, names::ANNOTATION_FORMED).is_some();
    let begin = if formed {
        ""
    } else {
        ". If this cluster never served a client, delete the RaftCluster and create it again instead"
    };
    let holders = if holders.is_empty() { String::new() } else { format!(" ({} hold data)", holders.join(", ")) };
    let stopped = observed.cluster.spec.stopped;
    let members = if stopped { "spec.stopped is true" } else { "members go on serving" };
    let rest = if stopped { "nothing else" } else { "nothing" };
    let message = format!(
        "{what}, but this cluster was created{holders}: {members}, and {rest} is created, changed or deleted. {RESTORE_THE_SECRET}. If only the annotation is gone, write it again: {}{begin}",
        name_the_secret(observed)
    );
    Decision::stall(Reason::IdentityLost, message)
}

/// The command with which a person names the Secret that holds the identity.
pub(crate) fn name_the_secret(observed: &Observed) -> String {
    let metadata = &observed.cluster.metadata;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    let service = names::member_service(metadata.name.as_deref().unwrap_or_default());
    let key = names::ANNOTATION_IDENTITY;
    format!("kubectl annotate --overwrite --namespace {namespace} service {service} {key}=NAME-OF-THE-SECRET")
}

/// The report about a cluster that has an identity and no leader. `None` while the first members start in the ordinary
/// way: no member reports a configuration, and enough of the first voters may still start.
pub(crate) fn find(observed: &Observed, roster: &Roster<'_>, identity: &ClusterIdentity) -> Option<Decision> {
    let formed = was_formed(observed, identity, roster);
    if let Some(configuration) = newest_reported(roster, identity) {
        Some(leaderless(observed, roster, configuration, identity, formed))
    } else if formed || recoverable(roster, identity) < majority(identity.first_voters().len()) {
        Some(silent_cluster(observed, roster, identity, formed))
    } else {
        None
    }
}

/// Adds to a report about an outage which StatefulSets a person deleted. `coming_back` are the members whose StatefulSets
/// are created again in this pass.
pub(crate) fn with_deleted_sets(mut decision: Decision, roster: &Roster<'_>, coming_back: &[String]) -> Decision {
    let is_lost =
        |seat: &&Seat<'_>| seat.set.is_none() && seat.id.is_some() && seat.volume.is_some_and(|volume| !stays(volume));
    let lost: Vec<&str> = roster.seats.values().filter(is_lost).map(|seat| seat.name.as_str()).collect();
    let Some(outage) = &mut decision.outage else { return decision };
    if !coming_back.is_empty() {
        let names = coming_back.join(", ");
        outage.message +=
            &format!("; the StatefulSets of {names} were deleted, and are created again on their volumes");
    }
    if !lost.is_empty() {
        let names = lost.join(", ");
        outage.message +=
            &format!("; the StatefulSets of {names} were deleted, and Kubernetes deletes their volumes with them");
    }
    decision
}

/// Returns whether the cluster ever had a leader. It had a leader if an annotation of the members' Service records
/// this, if a member that is not a first voter has an ID, or if the first voters are not known any more. Only reports depend on the result. The annotation counts
/// even if it contains the ID of another cluster, because that ID shows that the cluster was formed with another
/// identity.
fn was_formed(observed: &Observed, identity: &ClusterIdentity, roster: &Roster<'_>) -> bool {
    let noted = pointer::note(observed, names::ANNOTATION_FORMED).is_some();
    let grown = roster.seats.values().any(|seat| seat.id.is_some() && identity.id_of(&seat.name).is_none());
    noted || grown || is_taken_up(identity)
}

/// Returns whether the cluster was formed earlier, under another RaftCluster or before the members' Service was deleted,
/// so that its first voters are not known.
fn is_taken_up(identity: &ClusterIdentity) -> bool {
    identity.voters.as_ref().is_some_and(Vec::is_empty)
}

/// Returns whether a cluster was taken up and no leader was seen since. Its members start in the ordinary way.
fn takes_up(observed: &Observed, identity: &ClusterIdentity) -> bool {
    is_taken_up(identity) && pointer::note(observed, names::ANNOTATION_FORMED).is_none()
}

/// The report while members start on retained volumes.
pub(crate) fn taking_up(identity: &ClusterIdentity) -> Note {
    let message = format!("members start on the retained volumes of cluster {}", identity.cluster);
    Note::new(Reason::Bootstrapping, message)
}

/// The newest configuration that a member of this cluster reports.
pub(crate) fn newest_reported<'r>(roster: &'r Roster<'_>, identity: &ClusterIdentity) -> Option<&'r Configuration> {
    roster
        .seats
        .values()
        .filter_map(|seat| seat.report)
        .filter(|report| report.cluster == Some(identity.cluster))
        .filter_map(|report| report.configuration.as_ref())
        .filter(|configuration| !configuration.voters.is_empty())
        .max_by_key(|configuration| configuration.index)
}

/// Number of first voters whose data is not known to be lost.
fn recoverable(roster: &Roster<'_>, identity: &ClusterIdentity) -> usize {
    let may_return = |voter: &&FirstVoter| !roster.is_lost(voter.id);
    identity.first_voters().iter().filter(may_return).count()
}

/// Reports that members answer but no leader does, whether a quorum can still form, and what is missing for it.
fn leaderless(
    observed: &Observed,
    roster: &Roster<'_>,
    configuration: &Configuration,
    identity: &ClusterIdentity,
    formed: bool,
) -> Decision {
    let (voters, needed) = (configuration.voters.len(), majority(configuration.voters.len()));
    let present = configuration.voters.iter().filter(|id| !roster.is_lost(**id)).count();
    // The volume of a member may not be among those that were taken up, and may still be brought back.
    let may_return = |id: &&MemberId| roster.health(**id) == Health::Lost(Loss::Vanished) && is_taken_up(identity);
    let hopeful = present + configuration.voters.iter().filter(may_return).count();
    let answers = |id: &&MemberId| matches!(roster.health(**id), Health::Serving { .. } | Health::Alone);
    let there = configuration.voters.iter().filter(answers).count();
    let voting = configuration.voters.iter().filter_map(|id| roster.by_id(*id));
    let starting = voting.clone().filter(|seat| starts(seat, observed.now)).count();
    let too_old = voting.filter(|seat| seat.health == Health::TooNew).count();
    assert!(needed <= voters, "a majority of {voters} voters has at most as many members");
    debug_assert!(there <= hopeful && hopeful <= voters, "a member that answers has not lost its data");
    if hopeful < needed {
        let message = format!(
            "{} of {voters} voters lost their data and {needed} are needed: no quorum can be formed again. Restore a backup into a RaftCluster with a new name; the volumes that are left are kept",
            voters - hopeful
        );
        return Decision::stall(Reason::AwaitingRestore, message);
    }
    let outage = if there >= needed {
        Note::new(Reason::NoLeader, format!("{there} of {voters} voters answer and elect a leader"))
    } else if there + starting >= needed {
        Note::new(Reason::NoLeader, format!("{there} of {voters} voters answer and {starting} start"))
    } else if too_old > 0 && there + starting + too_old >= needed {
        Note::new(Reason::MemberTooOld, format!("{too_old} of {voters} voters {TOO_OLD}"))
    } else {
        let message =
            format!("{there} of {voters} voters answer and {needed} are needed: bring their machines or volumes back");
        Note::new(Reason::QuorumLost, message)
    };
    if takes_up(observed, identity) && present >= needed {
        Decision { activity: Some(taking_up(identity)), blocked: Some(outage), ..Decision::default() }
    } else if formed {
        Decision { outage: Some(outage), ..Decision::default() }
    } else {
        let activity = Note::new(Reason::Bootstrapping, "waits for the first leader");
        Decision { activity: Some(activity), blocked: Some(outage), ..Decision::default() }
    }
}

/// Reports a cluster in which no member reports a configuration. Reports that nothing was ever acknowledged, or that
/// all data is lost, only if each first voter and each announced member is known to be empty, damaged or gone. A silent
/// member may hold acknowledged writes, and a member that refuses the identity's token may be serving.
fn silent_cluster(observed: &Observed, roster: &Roster<'_>, identity: &ClusterIdentity, formed: bool) -> Decision {
    let is_stranger = |seat: &Seat<'_>| seat.report.is_some() && seat.health == Health::Lost(Loss::Foreign);
    let is_empty = |seat: &Seat<'_>| {
        matches!(seat.health, Health::Blank | Health::Lost(Loss::Wiped | Loss::Vanished) | Health::Removed)
    };
    let known = || roster.seats.values().filter(|seat| seat.id.is_some() || is_stranger(seat));
    let holders: Vec<&Seat<'_>> = known().filter(|seat| !is_empty(seat)).collect();
    let names = holders.iter().map(|seat| seat.name.as_str()).collect::<Vec<_>>().join(", ");
    if holders.is_empty() && !formed {
        return Decision::stall(Reason::BootstrapIncomplete, incomplete(roster, identity));
    }
    if !holders.is_empty() && holders.iter().all(|seat| is_stranger(seat)) {
        let message = format!(
            "the Secret with the identity holds that of cluster {}, but {names} hold data of another one and refuse it: none of them is replaced or deleted. {RESTORE_THE_SECRET}. Then name it: {}",
            identity.cluster,
            name_the_secret(observed)
        );
        return Decision::stall(Reason::IdentityLost, message);
    }
    if holders.iter().all(|seat| seat.is_lost()) {
        if let Some(note) = unnamed(roster, identity) {
            return Decision::stall(note.reason, note.message);
        }
        let message = "the volumes of all members are empty, damaged or gone: the data of this cluster is lost, and no empty cluster is formed in its place. Restore a backup into a RaftCluster with a new name";
        return Decision::stall(Reason::AwaitingRestore, message);
    }
    let starting: Vec<&str> =
        holders.iter().filter(|seat| starts(seat, observed.now)).map(|seat| seat.name.as_str()).collect();
    if !starting.is_empty() {
        let outage = Note::new(Reason::NoLeader, format!("{} start", starting.join(", ")));
        return Decision { outage: Some(outage), ..Decision::default() };
    }
    let too_old: Vec<&str> =
        holders.iter().filter(|seat| seat.health == Health::TooNew).map(|seat| seat.name.as_str()).collect();
    let outage = if too_old.is_empty() {
        let message =
            format!("no member answers that holds data, and {names} may: bring their machines or volumes back");
        Note::new(Reason::QuorumLost, message)
    } else {
        Note::new(Reason::MemberTooOld, format!("{} {TOO_OLD}", too_old.join(", ")))
    };
    if takes_up(observed, identity) {
        return Decision { activity: Some(taking_up(identity)), blocked: Some(outage), ..Decision::default() };
    }
    Decision { outage: Some(outage), ..Decision::default() }
}

/// The report about volumes that do not say whose data they hold; `None` if there are none, or if the first voters are
/// known, all of which have lost their data. A volume is labelled only after the cluster was formed, and a label may be
/// refused or removed, so such a volume may be the last one with data.
fn unnamed(roster: &Roster<'_>, identity: &ClusterIdentity) -> Option<Note> {
    let is_unnamed = |volume: &&PersistentVolumeClaim| stays(volume) && !is_of_removed(volume) && !is_used(volume);
    let seats = roster.seats.values().filter(|seat| seat.id.is_none() && seat.set.is_none());
    let volumes = seats.filter_map(|seat| seat.volume).filter(is_unnamed);
    let names: Vec<&str> = volumes.filter_map(|volume| volume.metadata.name.as_deref()).collect();
    if names.is_empty() || !is_taken_up(identity) {
        return None;
    }
    let (cluster, member) = (names::LABEL_CLUSTER_ID, names::LABEL_MEMBER_ID);
    let message = format!(
        "the volumes that say whose data they hold are empty, damaged or gone, but {} do not say it: if they hold data of this cluster, write the labels {cluster}={} and {member}=ID to them; a member logs its ID at each start. Nothing is created in their place",
        names.join(", "),
        identity.cluster
    );
    Some(Note::new(Reason::RetainedVolumes, message))
}

/// Returns whether a member is being started, so that its silence says nothing yet. This is so after `spec.stopped`.
fn starts(seat: &Seat<'_>, now: Timestamp) -> bool {
    let is_recent = |since: Timestamp| now.duration_since(since) < START;
    let is_young = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().is_some_and(|created| is_recent(created.0));
    let silent = matches!(seat.health, Health::Silent { since } if is_recent(since));
    silent && seat.set.is_some_and(|set| !runs(set) || seat.pod.is_none_or(is_young))
}

/// Explains a bootstrap that can never complete.
fn incomplete(roster: &Roster<'_>, identity: &ClusterIdentity) -> String {
    let lost = identity.first_voters().iter().filter(|voter| roster.is_lost(voter.id));
    let lost: Vec<&str> = lost.map(|voter| voter.name.as_str()).collect();
    assert!(lost.len() <= identity.first_voters().len(), "only first voters are counted");
    format!(
        "{} lost their volumes before the cluster was formed, no majority of its {} first voters is left, and none of them holds data: delete this RaftCluster with its volumes and create it again",
        lost.join(", "),
        identity.first_voters().len()
    )
}
