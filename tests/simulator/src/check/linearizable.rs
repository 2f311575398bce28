//! Checks whether a recorded history could have happened one operation at a time, each operation between its call and
//! its return. Owns the search (Wing and Gong 1993). As in Lowe 2017, the search remembers sets of completed operations
//! with the resulting state, and tries none of them twice. Owns the partition of a history into independent parts,
//! which are searched one by one (Horn and Kroening 2015). Does not own the meaning of operations ([`super::model`])
//! and does not depend on the source of the history.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::check::model::{Operation, State, Thing};

/// Maximum number of sets of completed operations that the search tries.
const TRIED_MAX: usize = 200_000;

/// The search found no linearization of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexplained {
    /// The operation that could not be appended to the longest partial linearization.
    pub stuck: Box<Operation>,
    /// Number of operations in the longest partial linearization.
    pub explained: usize,
    /// Number of operations in the independent part of the history to which `stuck` belongs.
    pub of: usize,
    /// Whether the search tried every order; otherwise it stopped at its limit.
    pub is_certain: bool,
}

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stuck, explained, of, is_certain } = self;
        write!(f, "{explained} of {of} operations can be ordered, but not {stuck:?}")?;
        if *is_certain { Ok(()) } else { write!(f, " (undecided: stopped after {TRIED_MAX} attempts)") }
    }
}

/// A call or return in the history. Moments form a doubly linked list, so that the search can remove operations and put
/// them back.
#[derive(Clone, Copy, Debug)]
struct Moment {
    operation: usize,
    is_return: bool,
    previous: usize,
    next: usize,
}

/// Position 0 of the list is both its beginning and its end.
const END: usize = 0;

struct Moments {
    list: Vec<Moment>,
    call_of: Vec<usize>,
    return_of: Vec<usize>,
}

impl Moments {
    fn of(history: &[&Operation]) -> Self {
        let mut times: Vec<(u64, bool, usize)> = Vec::with_capacity(history.len() * 2);
        for (place, operation) in history.iter().enumerate() {
            times.push((operation.called, false, place));
            times.push((operation.returned, true, place));
        }
        times.sort_unstable();
        let count = times.len();
        let first = Moment { operation: 0, is_return: false, previous: count, next: if count > 0 { 1 } else { END } };
        let mut moments =
            Self { list: vec![first], call_of: vec![0; history.len()], return_of: vec![0; history.len()] };
        for (place, (_, is_return, operation)) in (1..).zip(times) {
            let next = if place == count { END } else { place + 1 };
            moments.list.push(Moment { operation, is_return, previous: place - 1, next });
            let of = if is_return { &mut moments.return_of } else { &mut moments.call_of };
            of[operation] = place;
        }
        moments
    }

    /// Returns the operations that may come next: of the remaining operations, those that were called before any of
    /// them returned. Also returns the remaining operation that returned first.
    fn candidates(&self) -> (Vec<usize>, usize) {
        let mut candidates = Vec::new();
        let mut moment = self.list[self.list[END].next];
        while !moment.is_return {
            candidates.push(moment.operation);
            moment = self.list[moment.next];
        }
        (candidates, moment.operation)
    }

    fn is_empty(&self) -> bool {
        self.list[END].next == END
    }

    fn lift(&mut self, operation: usize) {
        for place in [self.call_of[operation], self.return_of[operation]] {
            let Moment { previous, next, .. } = self.list[place];
            self.list[previous].next = next;
            self.list[next].previous = previous;
        }
    }

    fn put_back(&mut self, operation: usize) {
        for place in [self.return_of[operation], self.call_of[operation]] {
            let Moment { previous, next, .. } = self.list[place];
            self.list[previous].next = place;
            self.list[next].previous = place;
        }
    }
}

/// A partial linearization and the operations that may come next.
struct Beginning {
    state: State,
    /// Operations that are not tried yet; the most probable one is last.
    left: Vec<usize>,
    /// The operation that was tried last.
    chosen: usize,
    returns_first: usize,
}

impl Beginning {
    fn new(state: State, moments: &Moments, history: &[&Operation]) -> Self {
        let (mut left, returns_first) = moments.candidates();
        left.sort_unstable_by_key(|operation| std::cmp::Reverse(history[*operation].place));
        Self { state, left, chosen: 0, returns_first }
    }
}

/// Searches for a linearization of a history that begins with an empty state.
///
/// # Errors
/// Returns an error if there is no linearization, or if the search reached its limit.
pub fn check(history: &[Operation]) -> Result<(), Unexplained> {
    parts(history).iter().try_for_each(|part| check_part(part))
}

/// Splits a history into independent parts, each in the order of the history. No two parts share a register or lease.
fn parts(history: &[Operation]) -> Vec<Vec<&Operation>> {
    let mut group_of: BTreeMap<Thing, usize> = BTreeMap::new();
    // Operations with the same root belong to the same group. The root is the lowest position in the group.
    let mut roots: Vec<usize> = (0..history.len()).collect();
    let find = |roots: &mut Vec<usize>, mut place: usize| {
        while roots[place] != place {
            roots[place] = roots[roots[place]];
            place = roots[place];
        }
        place
    };
    for (place, operation) in history.iter().enumerate() {
        for thing in operation.call.touches() {
            let other = *group_of.entry(thing).or_insert(place);
            let (one, other) = (find(&mut roots, place), find(&mut roots, other));
            roots[one.max(other)] = one.min(other);
        }
    }
    let mut parts: BTreeMap<usize, Vec<&Operation>> = BTreeMap::new();
    for (place, operation) in history.iter().enumerate() {
        parts.entry(find(&mut roots, place)).or_default().push(operation);
    }
    parts.into_values().collect()
}

fn check_part(history: &[&Operation]) -> Result<(), Unexplained> {
    let mut moments = Moments::of(history);
    let mut done = vec![0_u64; history.len().div_ceil(64)];
    let mut tried: HashSet<(Vec<u64>, State)> = HashSet::new();
    let mut way: Vec<Beginning> = Vec::with_capacity(history.len());
    let mut furthest: Option<Unexplained> = None;
    if moments.is_empty() {
        return Ok(());
    }
    let mut now = Beginning::new(State::default(), &moments, history);
    loop {
        let Some(operation) = now.left.pop() else {
            // The operation that returns first can no longer be placed, so the latest choice was wrong.
            if furthest.as_ref().is_none_or(|furthest| furthest.explained < way.len()) {
                let stuck = Box::new(history[now.returns_first].clone());
                furthest = Some(Unexplained { stuck, explained: way.len(), of: history.len(), is_certain: true });
            }
            let is_certain = tried.len() < TRIED_MAX;
            let Some(before) = way.pop().filter(|_| is_certain) else {
                return Err(Unexplained { is_certain, ..furthest.expect("set in the lines above") });
            };
            now = before;
            done[now.chosen / 64] &= !(1 << (now.chosen % 64));
            moments.put_back(now.chosen);
            continue;
        };
        let Some(after) = now.state.after(&history[operation].call) else { continue };
        done[operation / 64] |= 1 << (operation % 64);
        if !tried.insert((done.clone(), after.clone())) {
            done[operation / 64] &= !(1 << (operation % 64));
            continue;
        }
        moments.lift(operation);
        if moments.is_empty() {
            return Ok(());
        }
        now.chosen = operation;
        way.push(now);
        now = Beginning::new(after, &moments, history);
    }
}

#[cfg(test)]
mod tests;
