//! Majorities of one set of voters. Owns only arithmetic.

/// Result of an election so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// A majority granted its votes.
    Won,
    /// A majority can no longer be reached.
    Lost,
    /// The election is neither won nor lost yet.
    Open,
}

/// Returns the size of the smallest majority among `electors` voters.
pub(crate) fn majority(electors: usize) -> usize {
    electors / 2 + 1
}

/// Returns the greatest value that a majority has reached; `None` without electors, because an empty set imposes no
/// condition.
pub(crate) fn reached<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    if values.is_empty() {
        return None;
    }
    // A majority of the sorted values is at this position or after it.
    let place = values.len() - majority(values.len());
    assert!((values.len() - place) * 2 > values.len(), "two majorities share a member");
    Some(*values.select_nth_unstable(place).1)
}

/// Counts the votes of an election; `None` is a vote that has not been received yet. Without electors, the election is
/// won, because an empty set imposes no condition.
pub(crate) fn tally(votes: impl Iterator<Item = Option<bool>>) -> Tally {
    let (mut electors, mut yes, mut no) = (0, 0, 0);
    for vote in votes {
        electors += 1;
        match vote {
            Some(true) => yes += 1,
            Some(false) => no += 1,
            None => {}
        }
    }
    assert!(yes + no <= electors, "every elector has one vote");
    if electors == 0 || yes >= majority(electors) {
        Tally::Won
    } else if electors - no < majority(electors) {
        Tally::Lost
    } else {
        Tally::Open
    }
}
