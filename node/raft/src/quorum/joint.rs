//! Decisions that need a majority of each of two electorates (Raft thesis §4.3). Owns the combination of the two. Does
//! not own the arithmetic of one majority (`majority.rs`).

use std::collections::BTreeSet;

use crate::ids::MemberId;
use crate::quorum::majority::{self, Tally};

/// The one or two sets of voters whose majorities decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Electorate<'a> {
    /// Voters of the incoming configuration, or of the only configuration if it is not joint.
    pub(crate) incoming: &'a BTreeSet<MemberId>,
    /// Voters of the outgoing configuration; empty if the configuration is not joint.
    pub(crate) outgoing: &'a BTreeSet<MemberId>,
}

/// Returns the greatest value that a majority of each electorate has reached; `None` without voters.
pub(crate) fn reached<T: Ord + Copy>(voters: Electorate<'_>, mut value: impl FnMut(MemberId) -> T) -> Option<T> {
    let incoming = majority::reached(voters.incoming.iter().map(|id| value(*id)).collect());
    let outgoing = majority::reached(voters.outgoing.iter().map(|id| value(*id)).collect());
    match (incoming, outgoing) {
        (Some(incoming), Some(outgoing)) => Some(incoming.min(outgoing)),
        (one, other) => one.or(other),
    }
}

/// Counts the votes of an election in both electorates. Without voters, the election is lost.
pub(crate) fn tally(voters: Electorate<'_>, vote: impl Fn(MemberId) -> Option<bool>) -> Tally {
    if voters.incoming.is_empty() {
        return Tally::Lost;
    }
    let incoming = majority::tally(voters.incoming.iter().map(|id| vote(*id)));
    let outgoing = majority::tally(voters.outgoing.iter().map(|id| vote(*id)));
    match (incoming, outgoing) {
        (Tally::Won, Tally::Won) => Tally::Won,
        (Tally::Lost, _) | (_, Tally::Lost) => Tally::Lost,
        _ => Tally::Open,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Electorate, reached, tally};
    use crate::ids::MemberId;
    use crate::quorum::majority::Tally;

    fn members(bits: u32) -> BTreeSet<MemberId> {
        (0..6).filter(|bit| bits >> bit & 1 == 1).map(|bit| MemberId(bit + 1)).collect()
    }

    fn agrees(half: &BTreeSet<MemberId>, yes: &BTreeSet<MemberId>) -> bool {
        half.is_empty() || half.intersection(yes).count() * 2 > half.len()
    }

    /// Checks every pair of electorates among six members, with every set of votes, against the definition of a
    /// majority.
    #[test]
    fn every_small_electorate_agrees_with_the_definition() {
        for (incoming, outgoing) in (1..64).flat_map(|incoming| (0..64).map(move |outgoing| (incoming, outgoing))) {
            let (incoming, outgoing) = (members(incoming), members(outgoing));
            let voters = Electorate { incoming: &incoming, outgoing: &outgoing };
            for votes in 0..64 {
                let yes = members(votes);
                let won = agrees(&incoming, &yes) && agrees(&outgoing, &yes);
                let value = reached(voters, |id| u8::from(yes.contains(&id)));
                assert_eq!(value, Some(u8::from(won)), "{voters:?} {yes:?}");
                // For `decided`, every member outside `yes` refuses its vote. For `open`, no member outside `yes` has
                // answered yet.
                let decided = tally(voters, |id| Some(yes.contains(&id)));
                assert_eq!(decided == Tally::Won, won, "{voters:?} {yes:?}");
                let open = tally(voters, |id| yes.contains(&id).then_some(true));
                assert_eq!(open, if won { Tally::Won } else { Tally::Open }, "{voters:?} {yes:?}");
            }
        }
    }

    #[test]
    fn an_empty_electorate_elects_no_leader() {
        let empty = BTreeSet::new();
        let voters = Electorate { incoming: &empty, outgoing: &empty };
        assert_eq!(tally(voters, |_| Some(true)), Tally::Lost);
        assert_eq!(reached(voters, |_| 1), None);
    }
}
