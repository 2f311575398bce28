//! Moves of members to another StorageClass (`operator/docs/decisions/volumes.md`). Owns which member is to move, and
//! when a move begins. Does not own its steps, which are those of every replacement (`plan.rs`, `step.rs`).

use std::cmp::Reverse;

use crds::{ObjectStore, Reason};

use crate::decision::{Decision, Note};
use crate::desired::stateful_set::settings;
use crate::ids::MemberId;
use crate::membership::replace::is_usable;
use crate::names;
use crate::observed::annotation;
use crate::observed::member::Configuration;
use crate::roster::{Health, Roster, Seat};
use crate::troubles;
use crate::validated::ValidatedCluster;

/// The moves that the spec asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moving {
    /// The member that is moved now. A new member takes its place.
    pub(crate) now: Option<MemberId>,
    /// The reason why no move begins, or why the present one cannot be finished.
    pub(crate) blocked: Option<Note>,
    /// What is reported; empty if no member has to move.
    pub(crate) message: String,
}

impl Moving {
    /// The moves to the StorageClass of the spec, in a configuration that is not joint.
    pub(crate) fn of(
        valid: &ValidatedCluster<'_>,
        configuration: &Configuration,
        roster: &Roster<'_>,
        store: Option<&ObjectStore>,
    ) -> Self {
        let configured = || {
            let known = |seat: &&Seat<'_>| seat.id.is_some_and(|id| configuration.contains(id));
            roster.seats.values().filter(known)
        };
        let mut misplaced: Vec<&Seat<'_>> = configured().filter(|seat| seat.misplaced).collect();
        // A member that does not serve moves first, and the leader last. Members with high ordinals move first, because
        // they would also leave first if the spec asked for fewer members.
        misplaced.sort_by_key(|seat| {
            let votes = seat.id.is_some_and(|id| configuration.is_voter(id));
            (obstacle(seat).is_none(), seat.health.leads(), votes, Reverse(seat.ordinal))
        });
        let Some(first) = misplaced.first() else { return Self::default() };
        let class = valid.spec.storage.storage_class_name.as_deref().unwrap_or_default();
        let message = format!(
            "members are replaced one by one by members with StorageClass {class:?}: {} of {} are left, {} is next",
            misplaced.len(),
            configured().count(),
            first.name
        );
        let unfit = configured()
            .filter(|seat| seat.ordinal != first.ordinal)
            .find_map(|seat| Some(named(seat, &obstacle(seat)?)));
        let blocked = unfit.or_else(|| to_restart(configured(), &settings(valid, store)));
        // Its data may be the newest, and a newer program serves it again.
        let is_too_new = first.health == Health::TooNew;
        let too_new = || obstacle(first).filter(|_| is_too_new).map(|it| named(first, &it));
        let blocked = blocked.or_else(too_new);
        let newcomers = roster.seats.values().filter(|seat| is_newcomer(seat, configuration)).count();
        // While there are more members than wanted, a move has begun, and is finished.
        let is_begun = configured().count() + newcomers > valid.total();
        let is_complete = configuration.voters.len() == valid.voters
            && configuration.learners.len() == valid.learners
            && newcomers == 0;
        let now = first
            .id
            .filter(|_| !first.on_trial && !is_too_new)
            .filter(|_| is_begun || (is_complete && blocked.is_none()));
        Self { now, blocked, message }
    }

    /// The report about moves that have not begun.
    pub(crate) fn waiting(&self) -> Decision {
        if self.now.is_some() || self.message.is_empty() {
            return Decision::default();
        }
        let activity = Note::new(Reason::MovingVolumes, self.message.clone());
        Decision { activity: Some(activity), blocked: self.blocked.clone(), ..Decision::default() }
    }
}

/// Returns whether a member waits outside of the configuration to be added to it.
fn is_newcomer(seat: &Seat<'_>, configuration: &Configuration) -> bool {
    let is_outside = !seat.id.is_some_and(|id| configuration.contains(id));
    seat.set.is_some() && is_outside && seat.health != Health::Removed && is_usable(seat)
}

/// The reason why no other member may leave while this member is in its present state.
fn obstacle(seat: &Seat<'_>) -> Option<Note> {
    if let Some(trouble) = troubles::of(seat) {
        return Some(trouble);
    }
    if seat.pod.is_some_and(|pod| pod.metadata.deletion_timestamp.is_some()) {
        return Some(Note::new(Reason::MembersNotReady, "its pod is being stopped"));
    }
    (!seat.health.caught_up()).then(|| Note::new(Reason::LearnerBehind, "it catches up with the leader"))
}

fn named(seat: &Seat<'_>, obstacle: &Note) -> Note {
    Note::new(obstacle.reason, format!("{}: {}", seat.name, obstacle.message))
}

/// Reports a member that has to restart with new settings, or has not served with them yet. Restarts come first, because
/// they are the smaller change, and show whether the settings are good. A member on trial does not leave, because it may
/// serve again with its former settings.
fn to_restart<'r>(mut configured: impl Iterator<Item = &'r Seat<'r>>, wanted: &str) -> Option<Note> {
    let is_outdated = |seat: &&Seat<'_>| {
        let pod = seat.pod.filter(|_| seat.set.is_some());
        seat.on_trial || pod.is_some_and(|pod| annotation(&pod.metadata, names::ANNOTATION_SETTINGS) != Some(wanted))
    };
    let seat = configured.find(is_outdated)?;
    Some(Note::new(Reason::RollingOut, format!("{} has to serve with new settings first", seat.name)))
}
