//! Labels and annotations of live objects: each pod's role, the member whose data each volume holds, the fact that the
//! cluster had a leader, and the labels by which people and tools find volume claims. Owns when they must be written.
//! Does not own their keys (`names.rs`).

use std::collections::BTreeMap;

use crate::action::{Action, ObjectAction};
use crate::desired::digest;
use crate::identity::ClusterIdentity;
use crate::names::{self, Role};
use crate::observed::member::{Configuration, MemberPhase};
use crate::observed::{Observed, Seen, annotation, label};
use crate::roster::{Roster, Seat, is_of_removed};
use crate::validated::ValidatedCluster;

/// Annotates the members' Service to record that the cluster had a leader, unless the Service already has this
/// annotation.
pub(crate) fn formed(observed: &Observed, identity: &ClusterIdentity) -> Option<Action> {
    let service = observed.services.members.as_ref().filter(|service| observed.owns(&service.metadata))?;
    let cluster = identity.cluster;
    let noted = annotation(&service.metadata, names::ANNOTATION_FORMED) == Some(cluster.to_string().as_str());
    (!noted).then(|| ObjectAction::NoteFormed { service: Seen::of(&service.metadata), cluster }.into())
}

/// Labels each pod with its member's role, because Services and the disruption budget select pods by this label.
pub(crate) fn pods(roster: &Roster<'_>, configuration: &Configuration) -> Vec<Action> {
    let labelled = |seat: &Seat<'_>| {
        let pod = seat.pod.filter(|pod| pod.metadata.deletion_timestamp.is_none())?;
        let role = seat.id.map_or(Role::Learner, |id| configuration.role(id));
        let right = label(&pod.metadata, names::LABEL_ROLE) == Some(role.as_str());
        (!right).then(|| ObjectAction::LabelPod { pod: Seen::of(&pod.metadata), role }.into())
    };
    roster.seats.values().filter(|seat| seat.set.is_some()).filter_map(labelled).collect()
}

/// Labels each volume with the cluster and the ID that the volume's own member reports. An expected ID is never used,
/// because the volume may hold other data. A copied claim, which carries another claim's UID, is annotated with its own
/// once its member serves.
pub(crate) fn volumes(roster: &Roster<'_>, identity: &ClusterIdentity) -> Vec<Action> {
    let labelled = |seat: &Seat<'_>| {
        let volume = seat.volume.filter(|volume| volume.metadata.deletion_timestamp.is_none())?;
        let report = seat.report.filter(|report| report.phase == MemberPhase::Member)?;
        let id = report.id.filter(|id| report.cluster == Some(identity.cluster) && seat.id == Some(*id))?;
        let has = |key, value: String| label(&volume.metadata, key) == Some(value.as_str());
        let right = has(names::LABEL_CLUSTER_ID, identity.cluster.to_string())
            && has(names::LABEL_MEMBER_ID, id.to_string())
            && annotation(&volume.metadata, names::ANNOTATION_CLAIM_UID) == volume.metadata.uid.as_deref();
        debug_assert!(id.0 != 0, "a volume is labelled with the ID of a member");
        let (volume, cluster) = (Seen::of(&volume.metadata), identity.cluster);
        (!right).then(|| ObjectAction::LabelVolume { volume, cluster, id }.into())
    };
    roster.seats.values().filter_map(labelled).collect()
}

/// Writes the wanted labels onto each volume claim, once, and takes off the label that GitOps tools take as ownership, if
/// it names this cluster. Older versions wrote that label through the claim template, which never changes; another value
/// belongs to another tool. A claim that is left from an
/// earlier cluster of this name is labelled too, because it has no owner either. The annotation says what was written
/// last, so that a label that a webhook or a person writes afterwards stays. A claim of a removed member is labelled so
/// before its StatefulSet is deleted, because afterwards nothing else would say that the member was removed; this label is
/// written again if it is gone.
pub(crate) fn claims(
    valid: &ValidatedCluster<'_>,
    roster: &Roster<'_>,
    identity: Option<&ClusterIdentity>,
) -> Vec<Action> {
    let labelled = |seat: &Seat<'_>| {
        let volume = seat.volume.filter(|volume| volume.metadata.deletion_timestamp.is_none())?;
        let wanted = names::claim_labels(valid.name, seat.ordinal).into_iter().map(|(key, value)| (key, Some(value)));
        let mut labels: BTreeMap<String, Option<String>> =
            wanted.chain([(names::LABEL_INSTANCE.to_owned(), None)]).collect();
        let is_given_up = identity.is_some_and(|identity| seat.gives_up_volume(identity.cluster));
        if is_given_up || is_of_removed(volume) {
            labels.insert(names::LABEL_REMOVED.to_owned(), Some("true".to_owned()));
        }
        let stamp = digest(&labels);
        if label(&volume.metadata, names::LABEL_INSTANCE) != Some(valid.name) {
            labels.remove(names::LABEL_INSTANCE);
        }
        // Without this label the StatefulSet is never deleted, and the volume could be taken up again.
        let is_missing = is_given_up && !is_of_removed(volume);
        let written = annotation(&volume.metadata, names::ANNOTATION_APPLIED) == Some(stamp.as_str()) && !is_missing;
        let volume = Seen::of(&volume.metadata);
        (!written).then(|| ObjectAction::RelabelVolume { volume, labels, stamp }.into())
    };
    roster.seats.values().filter_map(labelled).collect()
}
