//! The state machine of a simulated member: a few registers, leases to which some registers are attached, and a hash of
//! all applied entries. Owns the effect of commands. Does not own which commands are applied in which order (`raft`).

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use raft::{Entry, Index, Payload};

use crate::command::{Action, Answer, Command, LeaseId, OperationId, Step};

/// Result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The operation to which the command belongs.
    pub operation: OperationId,
    /// The answer to the client.
    pub answer: Answer,
}

/// A state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    applied: Index,
    /// Time stamp of the last applied entry.
    time_ms: u64,
    hash: u64,
    /// Value and lease of each register that is set.
    registers: BTreeMap<u64, (u64, LeaseId)>,
    /// Number of keep-alives of each lease.
    leases: BTreeMap<LeaseId, u64>,
}

impl Machine {
    /// Index of the last applied entry.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// Time stamp of the last applied entry, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn time_ms(&self) -> u64 {
        self.time_ms
    }

    /// Hash of all applied entries and of the state.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let registers = self
            .registers
            .iter()
            .fold(self.hash, |hash, (key, (value, lease))| mix(mix(hash, *key), value.rotate_left(32) ^ lease.0));
        self.leases.iter().fold(registers, |hash, (lease, kept)| mix(mix(hash, lease.0), *kept))
    }

    /// Value of a register; 0 if the register is not set.
    #[must_use]
    pub fn read(&self, key: u64) -> u64 {
        self.registers.get(&key).map_or(0, |(value, _)| *value)
    }

    /// Every lease and its number of keep-alives.
    #[must_use]
    pub fn leases(&self) -> &BTreeMap<LeaseId, u64> {
        &self.leases
    }

    /// Applies an entry. Returns the outcome of the entry's command; `None` if the entry has no command.
    pub fn apply(&mut self, entry: &Entry) -> Option<Outcome> {
        (self.applied, self.time_ms) = (entry.id.index, entry.time_ms);
        self.hash = mix(mix(self.hash, entry.id.index.0), entry.id.term.0);
        let Payload::Normal(bytes) = &entry.payload else { return None };
        let Command { operation, action } = Command::decode(bytes);
        self.hash = mix(self.hash, operation.0);
        let answer = match action {
            Action::Transaction { compares, then, otherwise } => {
                let succeeded = compares.iter().all(|compare| self.read(compare.key) == compare.value);
                self.carry_out(succeeded, if succeeded { &then } else { &otherwise })
            }
            Action::Grant { lease } => {
                self.leases.insert(lease, 0);
                Answer::Done
            }
            Action::KeepAlive { lease } => match self.leases.get_mut(&lease) {
                Some(kept) => {
                    *kept += 1;
                    Answer::Done
                }
                None => Answer::NoLease,
            },
            Action::Revoke { lease } if self.leases.contains_key(&lease) => self.end(lease),
            Action::Expire { lease, kept } if self.leases.get(&lease) == Some(&kept) => self.end(lease),
            Action::Revoke { .. } | Action::Expire { .. } => Answer::NoLease,
        };
        Some(Outcome { operation, answer })
    }

    fn carry_out(&mut self, succeeded: bool, steps: &[Step]) -> Answer {
        let mut read = Vec::new();
        for step in steps {
            if let Step::Put { lease, .. } = step
                && *lease != LeaseId::NONE
                && !self.leases.contains_key(lease)
            {
                return Answer::NoLease;
            }
        }
        for step in steps {
            match *step {
                Step::Put { key, value, lease } => {
                    self.registers.insert(key, (value, lease));
                }
                Step::Get { key } => read.push(self.read(key)),
            }
        }
        Answer::Transaction { succeeded, read }
    }

    fn end(&mut self, lease: LeaseId) -> Answer {
        self.leases.remove(&lease);
        self.registers.retain(|_, (_, with)| *with != lease);
        Answer::Done
    }

    /// Encodes the whole state.
    #[must_use]
    pub fn image(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(32 + self.registers.len() * 24 + self.leases.len() * 16);
        for word in [self.applied.0, self.time_ms, self.hash, self.registers.len() as u64] {
            bytes.put_u64(word);
        }
        for (key, (value, lease)) in &self.registers {
            [*key, *value, lease.0].into_iter().for_each(|word| bytes.put_u64(word));
        }
        for (lease, kept) in &self.leases {
            [lease.0, *kept].into_iter().for_each(|word| bytes.put_u64(word));
        }
        bytes.freeze()
    }

    /// Decodes a state.
    ///
    /// # Panics
    /// Panics if the bytes were not made by [`Machine::image`].
    #[must_use]
    pub fn from_image(image: &[u8]) -> Self {
        let words: Vec<u64> =
            image.chunks_exact(8).map(|word| u64::from_be_bytes(word.try_into().expect("eight bytes"))).collect();
        let (registers, leases) = words[4..].split_at(words[3] as usize * 3);
        Self {
            applied: Index(words[0]),
            time_ms: words[1],
            hash: words[2],
            registers: registers.chunks_exact(3).map(|word| (word[0], (word[1], LeaseId(word[2])))).collect(),
            leases: leases.chunks_exact(2).map(|word| (LeaseId(word[0]), word[1])).collect(),
        }
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Compare;
    use raft::{EntryId, Term};

    fn apply(machine: &mut Machine, action: Action) -> Answer {
        let index = machine.applied().next();
        let command = Command { operation: OperationId(index.0), action };
        let id = EntryId { term: Term(1), index };
        let entry = Entry { id, time_ms: index.0, payload: Payload::Normal(command.encode(3)) };
        machine.apply(&entry).expect("a command has an outcome").answer
    }

    fn done(succeeded: bool, read: &[u64]) -> Answer {
        Answer::Transaction { succeeded, read: read.to_vec() }
    }

    #[test]
    fn commands_change_the_state_and_an_image_contains_all_of_it() {
        let mut machine = Machine::default();
        assert_eq!(apply(&mut machine, Action::compare_and_swap(7, 0, 5)), done(true, &[]));
        assert_eq!(apply(&mut machine, Action::compare_and_swap(7, 4, 6)), done(false, &[]));
        let transaction = Action::Transaction {
            compares: vec![Compare { key: 7, value: 5 }, Compare { key: 8, value: 0 }],
            then: vec![
                Step::Get { key: 7 },
                Step::Put { key: 8, value: 9, lease: LeaseId::NONE },
                Step::Get { key: 8 },
            ],
            otherwise: vec![Step::Get { key: 8 }],
        };
        assert_eq!(apply(&mut machine, transaction.clone()), done(true, &[5, 9]));
        assert_eq!(apply(&mut machine, transaction), done(false, &[9]));
        let copy = Machine::from_image(&machine.image());
        assert_eq!(copy, machine);
        assert_eq!(copy.hash(), machine.hash());
    }

    #[test]
    fn the_end_of_a_lease_deletes_its_registers_and_a_keep_alive_prevents_an_expiry() {
        let (mut machine, lease) = (Machine::default(), LeaseId(1));
        assert_eq!(apply(&mut machine, Action::put(7, 1, lease)), Answer::NoLease);
        assert_eq!(machine.read(7), 0, "a put that names an unknown lease changes nothing");
        for action in [Action::Grant { lease }, Action::KeepAlive { lease }] {
            assert_eq!(apply(&mut machine, action), Answer::Done);
        }
        for key in [7, 8] {
            apply(&mut machine, Action::put(key, key, lease));
        }
        apply(&mut machine, Action::put(8, 3, LeaseId::NONE));
        assert_eq!(Machine::from_image(&machine.image()), machine);
        assert_eq!(apply(&mut machine, Action::Expire { lease, kept: 0 }), Answer::NoLease, "kept alive meanwhile");
        assert_eq!(machine.read(7), 7);
        assert_eq!(apply(&mut machine, Action::Expire { lease, kept: 1 }), Answer::Done);
        assert_eq!((machine.read(7), machine.read(8)), (0, 3), "only attached registers are deleted");
        assert_eq!(apply(&mut machine, Action::Revoke { lease }), Answer::NoLease);
    }
}
