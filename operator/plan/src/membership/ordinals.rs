//! New members: which ordinals they get, and that only whoever reserved an ordinal uses it. Decides nothing about who is
//! needed.

use crds::ObjectStore;
use crds::raft_cluster::VolumeFate;

use crate::action::Action;
use crate::desired::stateful_set::{self, Origin, Shape};
use crate::names::{self, Ordinal, Role};
use crate::observed::{Observed, Seen, annotation};
use crate::roster::Roster;
use crate::validated::ValidatedCluster;

/// Creates `count` members that never were. Empty while the Service that ordinals are reserved on does not exist yet.
pub(crate) fn create(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    restore_store: Option<&ObjectStore>,
    roles: &[Role],
) -> Vec<Action> {
    let unused = observed.reserved.iter().copied().filter(|ordinal| is_unused(roster, *ordinal));
    let mut ordinals: Vec<Ordinal> = unused.take(roles.len()).collect();
    let mut actions = Vec::new();
    if ordinals.len() < roles.len() {
        let Some(service) = observed.services.members.as_ref().filter(|service| observed.owns(&service.metadata))
        else {
            return actions;
        };
        let mut last = highest(observed, roster);
        let first = last.next();
        while ordinals.len() < roles.len() {
            last = last.next();
            ordinals.push(last);
        }
        actions.push(Action::ReserveOrdinals { service: Seen::of(&service.metadata), first, last });
    }
    for (ordinal, role) in ordinals.into_iter().zip(roles) {
        actions.push(create_set(valid, ordinal, *role, Origin::Plain, restore_store));
    }
    actions
}

/// Creates a member's StatefulSet: a new member's, or that of a member whose volume is all that is left.
pub(crate) fn create_set(
    valid: &ValidatedCluster<'_>,
    ordinal: Ordinal,
    role: Role,
    origin: Origin<'_>,
    restore_store: Option<&ObjectStore>,
) -> Action {
    let shape = Shape { ordinal, role, volume_fate: volume_fate(valid), origin, restore_store };
    Action::CreateSet { ordinal, set: Box::new(stateful_set::of(valid, &shape)) }
}

/// What becomes of a member's volume when the RaftCluster goes.
pub(crate) fn volume_fate(valid: &ValidatedCluster<'_>) -> VolumeFate {
    valid.spec.storage.retention.when_deleted
}

fn is_unused(roster: &Roster<'_>, ordinal: Ordinal) -> bool {
    roster.seats.get(&ordinal).is_none_or(|seat| seat.set.is_none() && seat.volume.is_none() && seat.id.is_none())
}

/// The highest ordinal that anything remembers: volumes, StatefulSets, record, configuration, and the Service's note.
fn highest(observed: &Observed, roster: &Roster<'_>) -> Ordinal {
    let noted = observed
        .services
        .members
        .as_ref()
        .and_then(|service| annotation(&service.metadata, names::ANNOTATION_LAST_ORDINAL)?.parse().ok())
        .map_or(Ordinal(0), Ordinal);
    roster.seats.keys().next_back().copied().unwrap_or(Ordinal(0)).max(noted)
}
