//! Lost disk, lost machine: who is given up. That another comes in its place, and how, is the membership path's.

use std::collections::BTreeSet;

use crate::ids::MemberId;
use crate::membership::wanted::Wanted;
use crate::names;
use crate::observed::annotation;
use crate::observed::member::Configuration;
use crate::roster::{Roster, Seat, Standing};

/// Lost members first, then those that stay away, voters before learners: as many as may be replaced at a time.
pub(crate) fn replaced(wanted: Wanted, configuration: &Configuration, roster: &Roster<'_>) -> BTreeSet<MemberId> {
    let mut lost: Vec<_> = configuration
        .everyone()
        .into_iter()
        .filter_map(|id| {
            let urgency = match roster.standing(id) {
                Standing::Lost(_) => 0,
                Standing::Unreachable { .. } => 1,
                _ => return None,
            };
            let ordinal = roster.by_id(id).map(|seat| seat.ordinal);
            Some((urgency, !configuration.is_voter(id), ordinal, id))
        })
        .collect();
    lost.sort();
    lost.into_iter().take(wanted.replacements_max).map(|(.., id)| id).collect()
}

/// A newcomer that can still become a member. One that only does not start is waited for, as another would not start
/// either; unless its pod hangs on a machine that is gone. One that was brought back for a volume of nobody known only leaves:
/// its name may have been another member's.
pub(crate) fn is_usable(seat: &Seat<'_>) -> bool {
    let notes = seat.set.map(|set| &set.metadata);
    if seat.id.is_none() && notes.is_some_and(|notes| annotation(notes, names::ANNOTATION_VOLUME).is_some()) {
        return false;
    }
    match seat.standing {
        Standing::Lost(_) | Standing::Removed => false,
        Standing::Unreachable { .. } => seat.pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_none()),
        _ => true,
    }
}
