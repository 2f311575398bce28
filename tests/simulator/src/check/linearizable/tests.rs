//! Tests of the search: histories that are linearizable, histories that are not, and a comparison with brute force.

use world::seed::{Random, Seed};

use super::*;
use crate::check::model::Call;
use crate::command::{Action, Answer, Compare, LeaseId, Step};

const LEASE: LeaseId = LeaseId(9);
/// Two registers.
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

/// A transaction that sets the registers in `set` if the registers in `holds` have the given values.
fn transaction(called: u64, returned: u64, holds: &[(u64, u64)], set: &[(u64, u64)], succeeded: bool) -> Operation {
    let compares = holds.iter().map(|(key, value)| Compare { key: *key, value: *value }).collect();
    let then = set.iter().map(|(key, value)| Step::Put { key: *key, value: *value, lease: LeaseId::NONE }).collect();
    let action = Action::Transaction { compares, then, otherwise: Vec::new() };
    act(called, returned, action, Some(Answer::Transaction { succeeded, read: Vec::new() }))
}

fn done(called: u64, returned: u64, action: Action) -> Operation {
    act(called, returned, action, Some(Answer::Done))
}

/// Operations at moments 1 to 4: grant a lease, and attach one register to it.
fn leased(value: u64) -> [Operation; 2] {
    [done(1, 2, Action::Grant { lease: LEASE }), act(3, 4, Action::put(X, value, LEASE), None)]
}

fn assert_explained(history: &[Operation]) {
    assert_eq!(check(history), Ok(()), "{history:?}");
}

fn assert_unexplained(history: &[Operation]) {
    let unexplained = check(history).expect_err("the history is not linearizable");
    assert!(unexplained.is_certain && unexplained.of <= history.len(), "{unexplained}");
}

#[test]
fn linearizable_histories_of_one_register_are_accepted() {
    let histories: [&[Operation]; 6] = [
        &[],
        &[get(1, 2, 0)],
        // A read concurrent with a write may return the old or the new value, in whichever order the two operations
        // return.
        &[put(1, 6, 1), get(2, 3, 1), get(4, 5, 1)],
        &[put(1, 6, 1), get(2, 3, 0), get(4, 5, 1)],
        &[put(1, 2, 1), cas(3, 8, 1, 2, Some(true)), cas(4, 7, 2, 3, Some(true)), get(9, 10, 3)],
        // The outcome of the compare-and-swap is unknown. The later read shows that the compare-and-swap happened.
        &[put(1, 2, 1), cas(3, 4, 1, 2, None), get(5, 6, 2)],
    ];
    histories.into_iter().for_each(assert_explained);
}

#[test]
fn other_histories_of_one_register_are_rejected() {
    let histories: [&[Operation]; 8] = [
        // The first three histories are a read of a value that is not written yet, a stale read, and a lost write.
        &[get(1, 2, 1), put(3, 4, 1)],
        &[put(1, 2, 1), put(3, 4, 2), get(5, 6, 1)],
        &[put(1, 2, 1), get(3, 4, 0)],
        // Both reads are concurrent with one write. The first read returns the new value, and the second read the old
        // value.
        &[put(1, 8, 1), get(2, 3, 1), get(4, 5, 0)],
        // Two readers see two writes in different orders.
        &[put(1, 20, 1), put(2, 21, 2), get(3, 4, 1), get(5, 6, 2), get(7, 8, 1)],
        // Two compare-and-swaps of the same value both succeed.
        &[put(1, 2, 1), cas(3, 8, 1, 2, Some(true)), cas(4, 7, 1, 3, Some(true))],
        // The first compare-and-swap fails although the value was the expected one. The second succeeds although its
        // expected value was never written.
        &[put(1, 2, 1), cas(3, 4, 1, 2, Some(false))],
        &[put(1, 2, 1), cas(3, 4, 5, 6, Some(true))],
    ];
    histories.into_iter().for_each(assert_unexplained);
}

#[test]
fn linearizable_histories_of_registers_and_leases_are_accepted() {
    // A concurrent read sees the state before or after a transaction, but no state in between.
    let whole = transaction(1, 10, &[], &[(X, 1), (Y, 2)], true);
    assert_explained(&[whole.clone(), read(2, 3, &[(X, 0), (Y, 0)]), read(4, 5, &[(Y, 2), (X, 1)])]);
    assert_explained(&[
        transaction(1, 8, &[(X, 0)], &[(Y, 1)], true),
        transaction(2, 7, &[(Y, 0)], &[(X, 1)], false),
        read(9, 10, &[(X, 0), (Y, 1)]),
    ]);
    let [grant, attach] = leased(7);
    let expire = |called, returned, kept| act(called, returned, Action::Expire { lease: LEASE, kept }, None);
    // After a keep-alive, a late expiry changes nothing. Without a keep-alive, the expiry deletes the register before
    // or after a concurrent read.
    assert_explained(&[
        grant.clone(),
        attach.clone(),
        done(5, 6, Action::KeepAlive { lease: LEASE }),
        expire(7, 8, 0),
        get(9, 10, 7),
    ]);
    assert_explained(&[grant.clone(), attach.clone(), expire(5, 10, 0), get(6, 7, 7), get(8, 9, 0)]);
    // A register stays if a later put detached it from the lease.
    assert_explained(&[grant, attach, put(5, 6, 8), done(7, 8, Action::Revoke { lease: LEASE }), get(9, 10, 8)]);
}

#[test]
fn a_torn_transaction_is_rejected() {
    let whole = transaction(1, 10, &[], &[(X, 1), (Y, 2)], true);
    assert_unexplained(&[whole.clone(), read(2, 3, &[(X, 1), (Y, 0)])]);
    // The first read sees the transaction's write to X. The later read does not see the transaction's write to Y.
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
fn write_skew_is_rejected() {
    // The transaction `one` sets Y if X is not set. The transaction `other` sets X if Y is not set. Only the
    // transaction that happens first can succeed, but both report success.
    let (one, other) = (transaction(1, 8, &[(X, 0)], &[(Y, 1)], true), transaction(2, 7, &[(Y, 0)], &[(X, 1)], true));
    assert_unexplained(&[one.clone(), other.clone()]);
    assert_unexplained(&[one, other, read(9, 10, &[(X, 1), (Y, 1)])]);
    // The outcomes of both transactions are unknown, and a read sees the writes of both.
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
fn registers_of_a_revoked_lease_are_not_read_again() {
    let [grant, attach] = leased(7);
    let revoke = done(5, 6, Action::Revoke { lease: LEASE });
    assert_unexplained(&[grant.clone(), attach.clone(), revoke.clone(), get(7, 8, 7)]);
    // A read sees that one of two registers attached to the lease is deleted and the other is not.
    let second = act(5, 6, Action::put(Y, 8, LEASE), None);
    let revoking = done(7, 12, Action::Revoke { lease: LEASE });
    assert_unexplained(&[grant.clone(), attach.clone(), second, revoking, read(8, 9, &[(X, 7), (Y, 0)])]);
    // In the first history, a revoked lease deletes a register that was detached before. In the second one, a revoked
    // lease is kept alive.
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
    // The leader decided on the expiry before the keep-alive. The expiry must have no effect, whether it was answered
    // or not.
    assert_unexplained(&[grant.clone(), attach.clone(), keep.clone(), done(7, 8, expire.clone())]);
    assert_unexplained(&[grant.clone(), attach.clone(), keep.clone(), act(7, 8, expire.clone(), None), get(9, 10, 0)]);
    // A register stays if no operation ended its lease.
    assert_unexplained(&[grant, attach, get(5, 6, 0)]);
}

/// Returns whether the operations have a linearization. Tries every order that agrees with their calls and returns.
fn is_linearizable_by_brute_force(left: &[Operation], state: &State) -> bool {
    let Some(first_return) = left.iter().map(|operation| operation.returned).min() else { return true };
    (0..left.len()).filter(|place| left[*place].called < first_return).any(|place| {
        let mut rest = left.to_vec();
        let operation = rest.remove(place);
        state.after(&operation.call).is_some_and(|after| is_linearizable_by_brute_force(&rest, &after))
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
            let outcome = Answer::Transaction { succeeded: random.coin(), read: vec![value(random)] };
            let answer = random.coin().then_some(outcome);
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
fn the_search_agrees_with_brute_force_on_random_histories() {
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
        let expected = is_linearizable_by_brute_force(&history, &State::default());
        assert_eq!(check(&history).is_ok(), expected, "seed {seed}: {history:?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 1_000), "both verdicts must occur: {verdicts:?}");
}

#[test]
fn independent_operations_are_searched_separately() {
    let apart = [put(1, 2, 1), read(3, 4, &[(Y, 0)]), done(5, 6, Action::Grant { lease: LEASE })];
    assert_eq!(parts(&apart).len(), 3);
    let bridge = transaction(7, 8, &[(X, 1)], &[(Y, 1)], true);
    assert_eq!(parts(&[apart.as_slice(), &[bridge]].concat()).len(), 2);
}
