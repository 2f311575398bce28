//! One electorate. Owns arithmetic only.

/// How a ballot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    /// A majority said yes.
    Won,
    /// A majority can no longer be reached.
    Lost,
    /// Neither yet.
    Open,
}

/// How many of `electors` are a majority.
pub(crate) fn majority(electors: usize) -> usize {
    electors / 2 + 1
}

/// The greatest value that a majority has reached; `None` without electors, as nothing binds then.
pub(crate) fn reached<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    if values.is_empty() {
        return None;
    }
    // In ascending order, a majority stands at or above this place.
    let place = values.len() - majority(values.len());
    assert!((values.len() - place) * 2 > values.len(), "two majorities share a member");
    Some(*values.select_nth_unstable(place).1)
}

/// The state of a ballot, `None` being a voice not heard yet. Without electors it is won, as nothing binds then.
pub(crate) fn tally(voices: impl Iterator<Item = Option<bool>>) -> Tally {
    let (mut electors, mut yes, mut no) = (0, 0, 0);
    for voice in voices {
        electors += 1;
        match voice {
            Some(true) => yes += 1,
            Some(false) => no += 1,
            None => {}
        }
    }
    assert!(yes + no <= electors, "everyone has one voice");
    if electors == 0 || yes >= majority(electors) {
        Tally::Won
    } else if electors - no < majority(electors) {
        Tally::Lost
    } else {
        Tally::Open
    }
}
