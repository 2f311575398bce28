//! Whether a recorded history of one register could have happened one operation at a time, each between its call and its
//! return. Owns the search (Wing and Gong 1993, with the memory of Lowe 2017: a set of operations done and the value they
//! left are never tried twice); refuses to know where the history came from.

use std::collections::HashSet;
use std::fmt;

/// What an operation did to the register; 0 stands for "never set".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Set it.
    Put {
        /// To this.
        value: u64,
    },
    /// Read it.
    Get {
        /// What was read.
        value: u64,
    },
    /// Set it, if it held what was expected.
    CompareAndSwap {
        /// What it had to hold.
        expected: u64,
        /// What it was to hold then.
        value: u64,
        /// Whether it did; `None`: the caller never learnt.
        succeeded: Option<bool>,
    },
}

impl Call {
    /// The register behind this operation, or `None` if it cannot have happened like this.
    fn after(self, register: u64) -> Option<u64> {
        match self {
            Self::Put { value } => Some(value),
            Self::Get { value } => (register == value).then_some(register),
            Self::CompareAndSwap { expected, value, succeeded } => {
                let holds = register == expected;
                let told = succeeded.is_none_or(|told| told == holds);
                told.then_some(if holds { value } else { register })
            }
        }
    }
}

/// One operation of a history. No two moments of a history are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// When it was called.
    pub called: u64,
    /// When it returned.
    pub returned: u64,
    /// What it did.
    pub call: Call,
}

/// No order of the operations explains the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexplained {
    /// The operation that never found a place, in the order that went furthest.
    pub stuck: Operation,
    /// How many operations the longest explained beginning has.
    pub explained: usize,
    /// How many there are.
    pub of: usize,
}

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stuck, explained, of } = self;
        write!(f, "after {explained} of {of} operations nothing explains {stuck:?}")
    }
}

/// A moment of the history, in a doubly linked list, so that operations can be lifted out and put back.
#[derive(Clone, Copy, Debug)]
struct Moment {
    operation: usize,
    is_return: bool,
    previous: usize,
    next: usize,
}

/// The list's two ends share place 0.
const END: usize = 0;

struct Moments {
    list: Vec<Moment>,
    call_of: Vec<usize>,
    return_of: Vec<usize>,
}

impl Moments {
    fn of(history: &[Operation]) -> Self {
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

/// Looks for an order that explains the history of a register that was never set before.
///
/// # Errors
/// There is none.
pub fn check(history: &[Operation]) -> Result<(), Unexplained> {
    let mut moments = Moments::of(history);
    let mut done = vec![0_u64; history.len().div_ceil(64)];
    let mut tried: HashSet<(Vec<u64>, u64)> = HashSet::new();
    let mut way: Vec<(usize, u64)> = Vec::with_capacity(history.len());
    let mut furthest: Option<Unexplained> = None;
    let mut register = 0;
    let mut place = moments.list[END].next;
    while moments.list[END].next != END {
        let moment = moments.list[place];
        if place != END && !moment.is_return {
            let operation = moment.operation;
            let after = history[operation].call.after(register).filter(|after| {
                let mut then = done.clone();
                then[operation / 64] |= 1 << (operation % 64);
                tried.insert((then, *after))
            });
            let Some(after) = after else {
                place = moment.next;
                continue;
            };
            done[operation / 64] |= 1 << (operation % 64);
            way.push((operation, register));
            register = after;
            moments.lift(operation);
            place = moments.list[END].next;
            continue;
        }
        // Whatever returns here had to happen before: the last choice was wrong.
        if furthest.as_ref().is_none_or(|furthest| furthest.explained < way.len()) {
            let stuck = history[moment.operation];
            furthest = Some(Unexplained { stuck, explained: way.len(), of: history.len() });
        }
        let Some((operation, before)) = way.pop() else {
            return Err(furthest.expect("noted just above"));
        };
        done[operation / 64] &= !(1 << (operation % 64));
        register = before;
        moments.put_back(operation);
        place = moments.list[moments.call_of[operation]].next;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::seed::{Random, Seed};

    fn put(called: u64, returned: u64, value: u64) -> Operation {
        Operation { called, returned, call: Call::Put { value } }
    }

    fn get(called: u64, returned: u64, value: u64) -> Operation {
        Operation { called, returned, call: Call::Get { value } }
    }

    fn cas(called: u64, returned: u64, expected: u64, value: u64, succeeded: Option<bool>) -> Operation {
        Operation { called, returned, call: Call::CompareAndSwap { expected, value, succeeded } }
    }

    #[test]
    fn good_histories_are_explained() {
        let histories: [&[Operation]; 6] = [
            &[],
            &[get(1, 2, 0)],
            // A read beside a write sees it or not, whichever returns first.
            &[put(1, 6, 1), get(2, 3, 1), get(4, 5, 1)],
            &[put(1, 6, 1), get(2, 3, 0), get(4, 5, 1)],
            &[put(1, 2, 1), cas(3, 8, 1, 2, Some(true)), cas(4, 7, 2, 3, Some(true)), get(9, 10, 3)],
            // Its outcome is unknown, and what follows shows that it happened.
            &[put(1, 2, 1), cas(3, 4, 1, 2, None), get(5, 6, 2)],
        ];
        for history in histories {
            assert_eq!(check(history), Ok(()), "{history:?}");
        }
    }

    #[test]
    fn bad_histories_are_not() {
        let histories: [&[Operation]; 8] = [
            // Read before it was written, a stale read, a lost update.
            &[get(1, 2, 1), put(3, 4, 1)],
            &[put(1, 2, 1), put(3, 4, 2), get(5, 6, 1)],
            &[put(1, 2, 1), get(3, 4, 0)],
            // New, then old: two reads beside one write disagree about the past.
            &[put(1, 8, 1), get(2, 3, 1), get(4, 5, 0)],
            // Readers see two writes in one order, then in the other.
            &[put(1, 20, 1), put(2, 21, 2), get(3, 4, 1), get(5, 6, 2), get(7, 8, 1)],
            // Both think that they swapped the same value.
            &[put(1, 2, 1), cas(3, 8, 1, 2, Some(true)), cas(4, 7, 1, 3, Some(true))],
            // It failed though nobody had changed the value; it succeeded though nobody had written it.
            &[put(1, 2, 1), cas(3, 4, 1, 2, Some(false))],
            &[put(1, 2, 1), cas(3, 4, 5, 6, Some(true))],
        ];
        for history in histories {
            let unexplained = check(history).expect_err("nothing explains it");
            assert_eq!(unexplained.of, history.len());
        }
    }

    /// Brute force: every order that respects time.
    fn explained_by_trying_everything(left: &[Operation], register: u64) -> bool {
        let Some(first_return) = left.iter().map(|operation| operation.returned).min() else { return true };
        (0..left.len()).filter(|place| left[*place].called < first_return).any(|place| {
            let mut rest = left.to_vec();
            let operation = rest.remove(place);
            operation.call.after(register).is_some_and(|after| explained_by_trying_everything(&rest, after))
        })
    }

    #[test]
    fn it_agrees_with_brute_force_on_random_histories() {
        let mut verdicts = [0, 0];
        for seed in 0..4_000 {
            let mut random = Random::new(Seed(seed));
            let count = random.between(1, 6);
            let mut moments: Vec<u64> = (0..count * 2).collect();
            random.shuffle(&mut moments);
            let history: Vec<Operation> = moments
                .chunks_exact(2)
                .map(|pair| {
                    let (called, returned) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
                    let value = random.between(0, 2);
                    match random.below(3) {
                        0 => put(called, returned, value),
                        1 => get(called, returned, value),
                        _ => cas(called, returned, random.between(0, 2), value, Some(random.coin())),
                    }
                })
                .collect();
            let explained = check(&history).is_ok();
            assert_eq!(explained, explained_by_trying_everything(&history, 0), "{history:?}");
            verdicts[usize::from(explained)] += 1;
        }
        assert!(verdicts.iter().all(|count| *count > 500), "both kinds must be common: {verdicts:?}");
    }
}
