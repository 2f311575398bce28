//! The state machine of a simulated member: a few registers, and a hash of everything that was ever applied. Owns the commands
//! and their encoding; which of them happen, and in which order, is Raft's affair.

use std::collections::BTreeMap;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use raft::{Entry, Index, Payload};

/// One attempt of a client; never reused in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {}", self.0)
    }
}

/// What a command does to its register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Set it.
    Put {
        /// To this.
        value: u64,
    },
    /// Set it if it holds what is expected; 0 stands for a register that was never set.
    CompareAndSwap {
        /// What it must hold.
        expected: u64,
        /// What it then holds.
        value: u64,
    },
}

/// What a log entry carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Whose it is.
    pub operation: OperationId,
    /// Which register.
    pub key: u64,
    /// What to do.
    pub write: Write,
}

const WORDS: usize = 5;

impl Command {
    /// As bytes, with `padding` more behind, so that sizes differ.
    #[must_use]
    pub fn encode(&self, padding: usize) -> Bytes {
        let (kind, expected, value) = match self.write {
            Write::Put { value } => (0, 0, value),
            Write::CompareAndSwap { expected, value } => (1, expected, value),
        };
        let mut bytes = BytesMut::with_capacity(WORDS * 8 + padding);
        for word in [self.operation.0, self.key, kind, expected, value] {
            bytes.put_u64(word);
        }
        bytes.put_bytes(0x5a, padding);
        bytes.freeze()
    }

    /// From what [`Command::encode`] made.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let word = |place: usize| {
            let bytes = bytes[place * 8..place * 8 + 8].try_into().expect("eight bytes");
            u64::from_be_bytes(bytes)
        };
        let write = match word(2) {
            0 => Write::Put { value: word(4) },
            1 => Write::CompareAndSwap { expected: word(3), value: word(4) },
            kind => panic!("no command has kind {kind}"),
        };
        Self { operation: OperationId(word(0)), key: word(1), write }
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whose command it was.
    pub operation: OperationId,
    /// Whether the register was set.
    pub succeeded: bool,
}

/// A member's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    applied: Index,
    hash: u64,
    registers: BTreeMap<u64, u64>,
}

impl Machine {
    /// The last entry applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// A hash of every entry applied and of the state.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.registers.iter().fold(self.hash, |hash, (key, value)| mix(mix(hash, *key), *value))
    }

    /// A register; 0 if it was never set.
    #[must_use]
    pub fn read(&self, key: u64) -> u64 {
        self.registers.get(&key).copied().unwrap_or(0)
    }

    /// Applies an entry.
    pub fn apply(&mut self, entry: &Entry) -> Option<Outcome> {
        self.applied = entry.id.index;
        self.hash = mix(mix(self.hash, entry.id.index.0), entry.id.term.0);
        let Payload::Normal(bytes) = &entry.payload else { return None };
        let Command { operation, key, write } = Command::decode(bytes);
        self.hash = mix(self.hash, operation.0);
        let succeeded = match write {
            Write::Put { value } => {
                self.registers.insert(key, value);
                true
            }
            Write::CompareAndSwap { expected, value } => {
                let holds = self.read(key) == expected;
                if holds {
                    self.registers.insert(key, value);
                }
                holds
            }
        };
        Some(Outcome { operation, succeeded })
    }

    /// The whole state, as bytes.
    #[must_use]
    pub fn image(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(16 + self.registers.len() * 16);
        bytes.put_u64(self.applied.0);
        bytes.put_u64(self.hash);
        for (key, value) in &self.registers {
            bytes.put_u64(*key);
            bytes.put_u64(*value);
        }
        bytes.freeze()
    }

    /// From what [`Machine::image`] made.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    pub fn from_image(image: &[u8]) -> Self {
        let words: Vec<u64> =
            image.chunks_exact(8).map(|word| u64::from_be_bytes(word.try_into().expect("eight bytes"))).collect();
        let registers = words[2..].chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Self { applied: Index(words[0]), hash: words[1], registers }
    }
}

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95)
}

#[cfg(test)]
mod tests {
    use super::*;
    use raft::{EntryId, Term};

    fn entry(index: u64, write: Write) -> Entry {
        let command = Command { operation: OperationId(index), key: 7, write };
        let id = EntryId { term: Term(1), index: Index(index) };
        Entry { id, time_ms: index, payload: Payload::Normal(command.encode(3)) }
    }

    #[test]
    fn commands_do_what_they_say_and_images_hold_all_of_it() {
        let mut machine = Machine::default();
        let writes = [
            (Write::CompareAndSwap { expected: 0, value: 5 }, true),
            (Write::CompareAndSwap { expected: 4, value: 6 }, false),
            (Write::Put { value: 8 }, true),
        ];
        for (index, (write, succeeded)) in (1..).zip(writes) {
            let outcome = machine.apply(&entry(index, write));
            assert_eq!(outcome, Some(Outcome { operation: OperationId(index), succeeded }));
        }
        assert_eq!(machine.read(7), 8);
        let copy = Machine::from_image(&machine.image());
        assert_eq!(copy, machine);
        assert_eq!(copy.hash(), machine.hash());
    }
}
