//! Replacement of members with lost disks or lost machines. Owns which members are given up: never one on trial,
//! because it may serve again with its former settings, and never one whose program is too old for its data. Does not
//! own which members replace them (`plan.rs`).

use std::collections::BTreeSet;

use crate::ids::MemberId;
use crate::membership::wanted::Wanted;
use crate::names;
use crate::observed::annotation;
use crate::observed::member::Configuration;
use crate::roster::{Health, Roster, Seat};

/// Members to replace, at most as many as may be replaced at the same time; learners beyond the wanted number leave without
/// a replacement, and do not count. Lost members precede unreachable ones, and voters precede learners.
pub(crate) fn replaced(wanted: Wanted, configuration: &Configuration, roster: &Roster<'_>) -> BTreeSet<MemberId> {
    let mut lost: Vec<_> = configuration
        .everyone()
        .into_iter()
        .filter(|id| !roster.by_id(*id).is_some_and(|seat| seat.on_trial))
        .filter_map(|id| {
            let urgency = match roster.health(id) {
                Health::Lost(_) => 0,
                Health::Unreachable { .. } => 1,
                _ => return None,
            };
            let ordinal = roster.by_id(id).map(|seat| seat.ordinal);
            Some((urgency, !configuration.is_voter(id), ordinal, id))
        })
        .collect();
    lost.sort();
    let excess = configuration.everyone().len().saturating_sub(wanted.voters + wanted.learners);
    let excess = if wanted.replacements_max == 0 { 0 } else { excess };
    let mut rest = lost.split_off(wanted.replacements_max.min(lost.len()));
    // A newcomer that has joined makes one member too many. It must not let another voter be replaced at the same time.
    rest.retain(|(.., id)| !configuration.is_voter(*id));
    let replaced: BTreeSet<MemberId> =
        lost.into_iter().chain(rest.into_iter().take(excess)).map(|(.., id)| id).collect();
    let voters = replaced.iter().filter(|id| configuration.is_voter(**id)).count();
    assert!(voters <= wanted.replacements_max, "no more voters are replaced than the spec allows");
    debug_assert!(replaced.iter().all(|id| !roster.health(*id).serves()), "a member that serves is not replaced");
    let is_too_new = |id: &MemberId| roster.health(*id) == Health::TooNew;
    assert!(
        !replaced.iter().any(is_too_new),
        "a member that is too old for its data serves again with a newer program"
    );
    let on_trial = |id: &MemberId| roster.by_id(*id).is_some_and(|seat| seat.on_trial);
    assert!(!replaced.iter().any(on_trial), "a member on trial may serve again with its former settings");
    replaced
}

/// Returns whether a new member can still be admitted. A member that does not start yet counts as usable, because a
/// substitute would not start either. An unreachable member is not usable if its pod is being deleted, because the pod
/// is then stuck on a machine that is gone. A member that was brought back for the volume of an unknown member is never
/// usable, because its name may have belonged to another member. Such a member only leaves. So does a member whose
/// volume is of another StorageClass than the spec asks for.
pub(crate) fn is_usable(seat: &Seat<'_>) -> bool {
    let notes = seat.set.map(|set| &set.metadata);
    if seat.id.is_none() && notes.is_some_and(|notes| annotation(notes, names::ANNOTATION_VOLUME).is_some()) {
        return false;
    }
    // It would have to move as soon as it is added.
    if seat.misplaced {
        return false;
    }
    match seat.health {
        Health::Lost(_) | Health::Removed => false,
        Health::Unreachable { .. } => seat.pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_none()),
        _ => true,
    }
}
