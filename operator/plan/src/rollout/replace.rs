//! Lost disk, lost machine: who is given up. That another comes in its place, and how, is the membership path's.

use std::collections::BTreeSet;

use crate::ids::MemberId;
use crate::membership::plan::Wanted;
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
/// either; unless its pod hangs on a machine that is gone.
pub(crate) fn is_usable(seat: &Seat<'_>) -> bool {
    match seat.standing {
        Standing::Lost(_) | Standing::Removed => false,
        Standing::Unreachable { .. } => seat.pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_none()),
        _ => true,
    }
}
