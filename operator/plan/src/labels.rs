//! Labels and notes on live objects that follow from the configuration: the role of each pod, the owner of each volume's
//! data, and that the cluster was formed. Owns when they differ. Does not own their keys (`names.rs`).

use crate::action::Action;
use crate::identity::Record;
use crate::names::{self, Role};
use crate::observed::member::{Configuration, Phase};
use crate::observed::{Observed, Seen, annotation, label};
use crate::roster::{Roster, Seat};

/// Notes on the members' Service that the cluster had a leader, unless that is noted already.
pub(crate) fn formed(observed: &Observed, record: &Record) -> Option<Action> {
    let service = observed.services.members.as_ref().filter(|service| observed.owns(&service.metadata))?;
    let cluster = record.cluster;
    let noted = annotation(&service.metadata, names::ANNOTATION_FORMED) == Some(cluster.to_string().as_str());
    (!noted).then(|| Action::NoteFormed { service: Seen::of(&service.metadata), cluster })
}

/// Labels each pod with its member's role, because Services and the disruption budget select by it.
pub(crate) fn pods(roster: &Roster<'_>, configuration: &Configuration) -> Vec<Action> {
    let labelled = |seat: &Seat<'_>| {
        let pod = seat.pod.filter(|pod| pod.metadata.deletion_timestamp.is_none())?;
        let role = seat.id.map_or(Role::Learner, |id| configuration.role(id));
        let right = label(&pod.metadata, names::LABEL_ROLE) == Some(role.as_str());
        (!right).then(|| Action::LabelPod { pod: Seen::of(&pod.metadata), role })
    };
    roster.seats.values().filter(|seat| seat.set.is_some()).filter_map(labelled).collect()
}

/// Labels each volume with the cluster and ID that its own member reports, never with what is merely expected of it.
pub(crate) fn volumes(roster: &Roster<'_>, record: &Record) -> Vec<Action> {
    let labelled = |seat: &Seat<'_>| {
        let volume = seat.volume.filter(|volume| volume.metadata.deletion_timestamp.is_none())?;
        let report = seat.report.filter(|report| report.phase == Phase::Member)?;
        let id = report.id.filter(|id| report.cluster == Some(record.cluster) && seat.id == Some(*id))?;
        let has = |key, value: String| label(&volume.metadata, key) == Some(value.as_str());
        let right =
            has(names::LABEL_CLUSTER_ID, record.cluster.to_string()) && has(names::LABEL_MEMBER_ID, id.to_string());
        (!right).then(|| Action::LabelVolume { volume: Seen::of(&volume.metadata), cluster: record.cluster, id })
    };
    roster.seats.values().filter_map(labelled).collect()
}
