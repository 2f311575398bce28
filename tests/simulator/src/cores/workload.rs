//! Requests of clients: reads, puts, compare-and-swaps, transactions over several registers, and leases to which
//! registers are attached. Owns the random choice of requests. Owns the memory of earlier answers, which makes
//! comparisons likely to hold.

use std::collections::BTreeMap;

use world::seed::Random;

use crate::command::{Action, Answer, Compare, LeaseId, Request, Step};

/// Maximum number of leases that clients remember.
const LEASES_MAX: usize = 3;
/// Maximum number of registers in one transaction or read.
const KEYS_MAX: u64 = 3;
/// Number of values reserved for one operation; no two operations write the same value.
const VALUES: u64 = 8;

/// Answers that clients remember.
#[derive(Debug, Default)]
pub struct Memory {
    /// The last value seen in each register.
    registers: BTreeMap<u64, u64>,
    /// Leases that probably exist.
    leases: Vec<LeaseId>,
}

impl Memory {
    /// Chooses the request of operation `number` at random.
    pub fn next(&mut self, random: &mut Random, keys: u64, number: u64) -> Request {
        let (key, value) = (random.below(keys), number * VALUES);
        let action = match random.below(20) {
            0..=5 => return Request::Read(vec![key]),
            6..=7 => return Request::Read(several(random, keys)),
            8..=11 => Action::put(key, value, LeaseId::NONE),
            12..=14 => Action::compare_and_swap(key, self.guess(key), value),
            15..=17 => self.transaction(random, keys, value),
            _ => self.with_a_lease(random, key, value, number),
        };
        Request::Command(action)
    }

    fn guess(&self, key: u64) -> u64 {
        self.registers.get(&key).copied().unwrap_or(0)
    }

    fn transaction(&self, random: &mut Random, keys: u64, value: u64) -> Action {
        let touched = several(random, keys);
        let compared = random.between(0, touched.len() as u64) as usize;
        let compares = touched[..compared].iter().map(|key| Compare { key: *key, value: self.guess(*key) }).collect();
        let mut fresh = value..value + VALUES;
        let mut steps = |random: &mut Random| -> Vec<Step> {
            let mut step = |key: &u64| match fresh.next() {
                Some(value) if random.coin() => Step::Put { key: *key, value, lease: LeaseId::NONE },
                _ => Step::Get { key: *key },
            };
            touched.iter().map(&mut step).collect()
        };
        Action::Transaction { compares, then: steps(random), otherwise: steps(random) }
    }

    fn with_a_lease(&self, random: &mut Random, key: u64, value: u64, number: u64) -> Action {
        if self.leases.is_empty() || random.below(5) == 0 {
            return Action::Grant { lease: LeaseId(number) };
        }
        let lease = *random.pick(&self.leases);
        match random.below(8) {
            0 => Action::Revoke { lease },
            1..=3 => Action::KeepAlive { lease },
            _ => Action::put(key, value, lease),
        }
    }

    /// Notes the answer to a command.
    pub fn answered(&mut self, action: &Action, answer: &Answer) {
        match (action, answer) {
            (Action::Transaction { then, otherwise, .. }, Answer::Transaction { succeeded, read }) => {
                let mut read = read.iter();
                for step in if *succeeded { then } else { otherwise } {
                    let (key, value) = match step {
                        Step::Put { key, value, .. } => (*key, *value),
                        Step::Get { key } => (*key, read.next().copied().unwrap_or(0)),
                    };
                    self.registers.insert(key, value);
                }
            }
            (Action::Grant { lease }, Answer::Done) => {
                self.leases.push(*lease);
                let surplus = self.leases.len().saturating_sub(LEASES_MAX);
                self.leases.drain(..surplus);
            }
            (Action::Revoke { lease } | Action::Expire { lease, .. }, Answer::Done)
            | (Action::KeepAlive { lease } | Action::Revoke { lease }, Answer::NoLease) => {
                self.leases.retain(|known| known != lease);
            }
            _ => {}
        }
    }

    /// Notes the answer to a read.
    pub fn found(&mut self, found: &[(u64, u64)]) {
        self.registers.extend(found.iter().copied());
    }
}

/// Some registers, at least one, without repetition.
fn several(random: &mut Random, keys: u64) -> Vec<u64> {
    let count = random.between(1, keys.min(KEYS_MAX));
    let first = random.below(keys);
    (0..count).map(|step| (first + step) % keys).collect()
}
