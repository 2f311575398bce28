//! Good histories, bad ones, and brute force. Owns nothing but them.

use world::seed::{Random, Seed};

use super::*;
use crate::check::model::Call;
use crate::command::{Action, Answer, Compare, LeaseId, Step};

const LEASE: LeaseId = LeaseId(9);
/// The registers of these histories.
const X: u64 = 1;
const Y: u64 = 2;

fn operation(called: u64, returned: u64, call: Call) -> Operation {
    Operation { called, returned, place: 0, call }
}

fn act(called: u64, returned: u64, action: Action, answer: Option<Answer>) -> Operation {
    operation(called, returned, Call::Act { action, answer })
}

fn put(called: u64, returned: u64, value: u64) -> Operation {
    act(called, returned, Action::put(X, value, LeaseId::NONE), None)
}

fn get(called: u64, returned: u64, value: u64) -> Operation {
    read(called, returned, &[(X, value)])
}

fn read(called: u64, returned: u64, found: &[(u64, u64)]) -> Operation {
    operation(called, returned, Call::Read { found: found.to_vec() })
}

fn cas(called: u64, returned: u64, expected: u64, value: u64, succeeded: Option<bool>) -> Operation {
    let answer = succeeded.map(|succeeded| Answer::Transaction { succeeded, read: Vec::new() });
    act(called, returned, Action::compare_and_swap(X, expected, value), answer)
}

/// If `holds`, set what is to be set.
fn transaction(called: u64, returned: u64, holds: &[(u64, u64)], set: &[(u64, u64)], succeeded: bool) -> Operation {
    let compares = holds.iter().map(|(key, value)| Compare { key: *key, value: *value }).collect();
    let then = set.iter().map(|(key, value)| Step::Put { key: *key, value: *value, lease: LeaseId::NONE }).collect();
    let action = Action::Transaction { compares, then, otherwise: Vec::new() };
    act(called, returned, action, Some(Answer::Transaction { succeeded, read: Vec::new() }))
}

fn done(called: u64, returned: u64, action: Action) -> Operation {
    act(called, returned, action, Some(Answer::Done))
}

/// A lease with one register, at moments 1 to 4.
fn leased(value: u64) -> [Operation; 2] {
    [done(1, 2, Action::Grant { lease: LEASE }), act(3, 4, Action::put(X, value, LEASE), None)]
}

fn assert_explained(history: &[Operation]) {
    assert_eq!(check(history), Ok(()), "{history:?}");
}

fn assert_unexplained(history: &[Operation]) {
    let unexplained = check(history).expect_err("nothing explains it");
    assert!(unexplained.is_certain && unexplained.of <= history.len(), "{unexplained}");
}

#[test]
fn good_histories_of_one_register_are_explained() {
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
    histories.into_iter().for_each(assert_explained);
}

#[test]
fn bad_histories_of_one_register_are_not() {
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
        // It failed though no client had changed the value; it succeeded though no client had written it.
        &[put(1, 2, 1), cas(3, 4, 1, 2, Some(false))],
        &[put(1, 2, 1), cas(3, 4, 5, 6, Some(true))],
    ];
    histories.into_iter().for_each(assert_unexplained);
}

#[test]
fn good_histories_of_several_registers_and_leases_are_explained() {
    // Seen before and behind a transaction beside it, never in between.
    let whole = transaction(1, 10, &[], &[(X, 1), (Y, 2)], true);
    assert_explained(&[whole.clone(), read(2, 3, &[(X, 0), (Y, 0)]), read(4, 5, &[(Y, 2), (X, 1)])]);
    assert_explained(&[
        transaction(1, 8, &[(X, 0)], &[(Y, 1)], true),
        transaction(2, 7, &[(Y, 0)], &[(X, 1)], false),
        read(9, 10, &[(X, 0), (Y, 1)]),
    ]);
    let [grant, attach] = leased(7);
    let expire = |called, returned, kept| act(called, returned, Action::Expire { lease: LEASE, kept }, None);
    // Kept alive, a late expiry does nothing; not kept alive, its register goes, before or behind a read beside it.
    assert_explained(&[
        grant.clone(),
        attach.clone(),
        done(5, 6, Action::KeepAlive { lease: LEASE }),
        expire(7, 8, 0),
        get(9, 10, 7),
    ]);
    assert_explained(&[grant.clone(), attach.clone(), expire(5, 10, 0), get(6, 7, 7), get(8, 9, 0)]);
    // A register that was set again without the lease stays.
    assert_explained(&[grant, attach, put(5, 6, 8), done(7, 8, Action::Revoke { lease: LEASE }), get(9, 10, 8)]);
}

#[test]
fn a_torn_transaction_is_seen() {
    let whole = transaction(1, 10, &[], &[(X, 1), (Y, 2)], true);
    assert_unexplained(&[whole.clone(), read(2, 3, &[(X, 1), (Y, 0)])]);
    // Also by two reads of one register each.
    assert_unexplained(&[whole, get(2, 3, 1), read(4, 5, &[(Y, 0)])]);
    let reads_otherwise = Action::Transaction {
        compares: vec![Compare { key: X, value: 1 }],
        then: Vec::new(),
        otherwise: vec![Step::Get { key: X }],
    };
    let answer = Answer::Transaction { succeeded: false, read: vec![1] };
    assert_unexplained(&[put(1, 2, 1), act(3, 4, reads_otherwise, Some(answer))]);
}

#[test]
fn write_skew_is_seen() {
    // Each found the other's register unset and set its own: one of them must have come second.
    let (one, other) = (transaction(1, 8, &[(X, 0)], &[(Y, 1)], true), transaction(2, 7, &[(Y, 0)], &[(X, 1)], true));
    assert_unexplained(&[one.clone(), other.clone()]);
    assert_unexplained(&[one, other, read(9, 10, &[(X, 1), (Y, 1)])]);
    // The outcomes are unknown, and a read shows both.
    let unknown = |mut skewed: Operation| {
        if let Call::Act { answer, .. } = &mut skewed.call {
            *answer = None;
        }
        skewed
    };
    let one = unknown(transaction(1, 8, &[(X, 0)], &[(Y, 1)], true));
    let other = unknown(transaction(2, 7, &[(Y, 0)], &[(X, 1)], true));
    assert_unexplained(&[one, other, read(9, 10, &[(X, 1), (Y, 1)])]);
}

#[test]
fn what_a_lease_took_along_is_not_read_again() {
    let [grant, attach] = leased(7);
    let revoke = done(5, 6, Action::Revoke { lease: LEASE });
    assert_unexplained(&[grant.clone(), attach.clone(), revoke.clone(), get(7, 8, 7)]);
    // Half of what was attached is gone, and half is not.
    let second = act(5, 6, Action::put(Y, 8, LEASE), None);
    let revoking = done(7, 12, Action::Revoke { lease: LEASE });
    assert_unexplained(&[grant.clone(), attach.clone(), second, revoking, read(8, 9, &[(X, 7), (Y, 0)])]);
    // It took along what was not attached any more; it can be kept alive behind its end.
    assert_unexplained(&[
        grant.clone(),
        attach.clone(),
        put(5, 6, 8),
        done(7, 8, Action::Revoke { lease: LEASE }),
        get(9, 10, 0),
    ]);
    assert_unexplained(&[grant, attach, revoke, done(7, 8, Action::KeepAlive { lease: LEASE })]);
}

#[test]
fn a_lease_that_was_kept_alive_does_not_expire() {
    let [grant, attach] = leased(7);
    let keep = done(5, 6, Action::KeepAlive { lease: LEASE });
    let expire = Action::Expire { lease: LEASE, kept: 0 };
    // Whether the leader says so or is silent, and though the decision was older.
    assert_unexplained(&[grant.clone(), attach.clone(), keep.clone(), done(7, 8, expire.clone())]);
    assert_unexplained(&[grant.clone(), attach.clone(), keep.clone(), act(7, 8, expire.clone(), None), get(9, 10, 0)]);
    // And one that no client ended is still there.
    assert_unexplained(&[grant, attach, get(5, 6, 0)]);
}

/// Brute force: every order that respects time, of everything at once.
fn explained_by_trying_everything(left: &[Operation], state: &State) -> bool {
    let Some(first_return) = left.iter().map(|operation| operation.returned).min() else { return true };
    (0..left.len()).filter(|place| left[*place].called < first_return).any(|place| {
        let mut rest = left.to_vec();
        let operation = rest.remove(place);
        state.after(&operation.call).is_some_and(|after| explained_by_trying_everything(&rest, &after))
    })
}

fn random_call(random: &mut Random) -> Call {
    let key = |random: &mut Random| random.between(X, Y);
    let value = |random: &mut Random| random.between(0, 2);
    let lease = if random.coin() { LEASE } else { LeaseId::NONE };
    let answer = match random.below(4) {
        0 => None,
        1 => Some(Answer::NoLease),
        _ => Some(Answer::Done),
    };
    let action = match random.below(10) {
        0 => return Call::Read { found: vec![(X, value(random)), (Y, value(random))] },
        1..=2 => return Call::Read { found: vec![(key(random), value(random))] },
        3..=5 => {
            let compares = (0..random.below(3)).map(|_| Compare { key: key(random), value: value(random) }).collect();
            let put = Step::Put { key: key(random), value: 1 + random.below(2), lease };
            let (then, otherwise) = (vec![put, Step::Get { key: key(random) }], vec![Step::Get { key: key(random) }]);
            let told = Answer::Transaction { succeeded: random.coin(), read: vec![value(random)] };
            let answer = random.coin().then_some(told);
            return Call::Act { action: Action::Transaction { compares, then, otherwise }, answer };
        }
        6 => Action::Grant { lease: LEASE },
        7 => Action::KeepAlive { lease: LEASE },
        8 => Action::Revoke { lease: LEASE },
        _ => Action::Expire { lease: LEASE, kept: random.below(2) },
    };
    Call::Act { action, answer }
}

#[test]
fn it_agrees_with_brute_force_on_random_histories() {
    let mut verdicts = [0, 0];
    for seed in 0..20_000 {
        let mut random = Random::new(Seed(seed));
        let count = random.between(1, 6);
        let mut moments: Vec<u64> = (0..count * 2).collect();
        random.shuffle(&mut moments);
        let history: Vec<Operation> = moments
            .chunks_exact(2)
            .map(|pair| {
                let (called, returned) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
                Operation { called, returned, place: random.below(8), call: random_call(&mut random) }
            })
            .collect();
        let expected = explained_by_trying_everything(&history, &State::default());
        assert_eq!(check(&history).is_ok(), expected, "seed {seed}: {history:?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 1_000), "both verdicts must occur: {verdicts:?}");
}

#[test]
fn what_shares_nothing_is_searched_alone() {
    let apart = [put(1, 2, 1), read(3, 4, &[(Y, 0)]), done(5, 6, Action::Grant { lease: LEASE })];
    assert_eq!(parts(&apart).len(), 3);
    let bridge = transaction(7, 8, &[(X, 1)], &[(Y, 1)], true);
    assert_eq!(parts(&[apart.as_slice(), &[bridge]].concat()).len(), 2);
}
