//! What clients put in the log, and what they are answered. Owns the shapes and the bytes; what a command does to a state is
//! [`super::machine`]'s, and once more, independently, [`crate::check::model`]'s.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// One attempt of a client; never reused in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {}", self.0)
    }
}

/// The name of a lease: the number of the operation that granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl LeaseId {
    /// No lease: the register stays.
    pub const NONE: Self = Self(0);
}

/// What a transaction compares: all must hold for its `then`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Which register.
    pub key: u64,
    /// What it must hold; 0 stands for a register that is not set.
    pub value: u64,
}

/// One thing that a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Set a register, and attach it to a lease.
    Put {
        /// Which.
        key: u64,
        /// To this.
        value: u64,
        /// It goes with this lease; it is detached from the one before.
        lease: LeaseId,
    },
    /// Read a register, as this transaction left it so far.
    Get {
        /// Which.
        key: u64,
    },
}

/// What a command does, all of it at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Compare, then do the one or the other; nothing at all if a put names a lease that is not there.
    Transaction {
        /// What must hold.
        compares: Vec<Compare>,
        /// What is done if it does.
        then: Vec<Step>,
        /// What is done otherwise.
        otherwise: Vec<Step>,
    },
    /// A new lease.
    Grant {
        /// Its name.
        lease: LeaseId,
    },
    /// The lease is to last for its whole time again.
    KeepAlive {
        /// Which.
        lease: LeaseId,
    },
    /// The lease ends, and the registers that are attached to it are deleted.
    Revoke {
        /// Which.
        lease: LeaseId,
    },
    /// The same, because its time is over, unless it was kept alive since.
    Expire {
        /// Which.
        lease: LeaseId,
        /// How often it had been kept alive when its time was over.
        kept: u64,
    },
}

impl Action {
    /// Sets a register.
    #[must_use]
    pub fn put(key: u64, value: u64, lease: LeaseId) -> Self {
        Self::Transaction { compares: Vec::new(), then: vec![Step::Put { key, value, lease }], otherwise: Vec::new() }
    }

    /// Sets a register if it holds what is expected.
    #[must_use]
    pub fn compare_and_swap(key: u64, expected: u64, value: u64) -> Self {
        let then = vec![Step::Put { key, value, lease: LeaseId::NONE }];
        Self::Transaction { compares: vec![Compare { key, value: expected }], then, otherwise: Vec::new() }
    }
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A transaction was carried out.
    Transaction {
        /// Whether all compares held.
        succeeded: bool,
        /// What it read, in order.
        read: Vec<u64>,
    },
    /// It is so.
    Done,
    /// Nothing changed: the lease is not there, or was kept alive since.
    NoLease,
}

/// What a client asked for.
#[derive(Clone, Debug)]
pub enum Request {
    /// A command through the log.
    Command(Action),
    /// A linearizable read of some registers.
    Read(Vec<u64>),
}

/// What a log entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Whose it is.
    pub operation: OperationId,
    /// What to do.
    pub action: Action,
}

impl Command {
    /// As bytes, with `padding` more behind, so that sizes differ.
    #[must_use]
    pub fn encode(&self, padding: usize) -> Bytes {
        let mut words = vec![self.operation.0];
        match &self.action {
            Action::Transaction { compares, then, otherwise } => {
                words.extend([0, compares.len() as u64, then.len() as u64, otherwise.len() as u64]);
                words.extend(compares.iter().flat_map(|compare| [compare.key, compare.value]));
                words.extend(then.iter().chain(otherwise).flat_map(|step| match *step {
                    Step::Put { key, value, lease } => [0, key, value, lease.0],
                    Step::Get { key } => [1, key, 0, 0],
                }));
            }
            Action::Grant { lease } => words.extend([1, lease.0]),
            Action::KeepAlive { lease } => words.extend([2, lease.0]),
            Action::Revoke { lease } => words.extend([3, lease.0]),
            Action::Expire { lease, kept } => words.extend([4, lease.0, *kept]),
        }
        let mut bytes = BytesMut::with_capacity(words.len() * 8 + padding);
        words.into_iter().for_each(|word| bytes.put_u64(word));
        bytes.put_bytes(0x5a, padding);
        bytes.freeze()
    }

    /// From what [`Command::encode`] made.
    ///
    /// # Panics
    /// When it did not.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let mut words = Words(bytes);
        let operation = OperationId(words.next());
        let action = match words.next() {
            0 => {
                let counts = [words.next(), words.next(), words.next()];
                let compares = (0..counts[0]).map(|_| Compare { key: words.next(), value: words.next() }).collect();
                let then = (0..counts[1]).map(|_| words.step()).collect();
                let otherwise = (0..counts[2]).map(|_| words.step()).collect();
                Action::Transaction { compares, then, otherwise }
            }
            1 => Action::Grant { lease: LeaseId(words.next()) },
            2 => Action::KeepAlive { lease: LeaseId(words.next()) },
            3 => Action::Revoke { lease: LeaseId(words.next()) },
            4 => Action::Expire { lease: LeaseId(words.next()), kept: words.next() },
            kind => panic!("no command has kind {kind}"),
        };
        Self { operation, action }
    }

    /// Whose command these bytes are.
    ///
    /// # Panics
    /// When [`Command::encode`] did not make them.
    #[must_use]
    pub fn operation_of(bytes: &[u8]) -> OperationId {
        OperationId(Words(bytes).next())
    }
}

/// What is left of some bytes.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> u64 {
        let (word, rest) = self.0.split_first_chunk().expect("a command is whole");
        self.0 = rest;
        u64::from_be_bytes(*word)
    }

    fn step(&mut self) -> Step {
        let [kind, key, value, lease] = [self.next(), self.next(), self.next(), self.next()];
        match kind {
            0 => Step::Put { key, value, lease: LeaseId(lease) },
            1 => Step::Get { key },
            kind => panic!("no step has kind {kind}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        let lease = LeaseId(9);
        let transaction = Action::Transaction {
            compares: vec![Compare { key: 1, value: 2 }, Compare { key: 3, value: 0 }],
            then: vec![Step::Put { key: 1, value: 5, lease }, Step::Get { key: 3 }],
            otherwise: vec![Step::Get { key: 1 }],
        };
        let lone = [
            Action::Grant { lease },
            Action::KeepAlive { lease },
            Action::Revoke { lease },
            Action::Expire { lease, kept: 4 },
        ];
        for action in lone.into_iter().chain([transaction, Action::compare_and_swap(1, 2, 3)]) {
            let command = Command { operation: OperationId(77), action };
            let bytes = command.encode(13);
            assert_eq!(Command::decode(&bytes), command);
            assert_eq!(Command::operation_of(&bytes), command.operation);
        }
    }
}
