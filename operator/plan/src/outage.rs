//! What is reported when a cluster has an identity and no leader, or members and no identity. Owns the judgement of what
//! is lost and what may come back. Does not own the actions (`bootstrap.rs`).

use crds::Reason;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::decision::{Decision, Note};
use crate::identity::{Record, RecordedVoter};
use crate::names;
use crate::observed::member::{Configuration, Phase};
use crate::observed::{Observed, annotation};
use crate::quorum::majority;
use crate::roster::{Loss, Roster, Seat, Standing, is_used};
use crate::validated::ValidatedCluster;

/// What a person can do who lost the identity.
const RESTORE_THE_SECRET: &str = "Restore the Secret from a copy, owner reference included; without a copy, read the data out with a client and write it into a new RaftCluster";

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

/// What to report about a cluster that has an identity and no leader. `None` while its first members start in the ordinary
/// way: no member reports a configuration, and enough of the recorded voters may still come.
pub(crate) fn find(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    record: &Record,
) -> Option<Decision> {
    let formed = was_formed(observed, record, roster);
    if let Some(configuration) = newest_reported(roster, record) {
        Some(leaderless(roster, configuration, formed))
    } else if formed || recoverable(roster, record) < majority(record.voters.len()) {
        Some(silent_cluster(valid, roster, record, formed))
    } else {
        None
    }
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
