//! Commands that clients write to the log, and the answers. Owns the types and their encoding. Does not own the effect
//! of a command, which [`crate::cores::machine`] and, independently, [`crate::check::model`] define.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// Number of one operation of a client; never reused in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub u64);

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {}", self.0)
    }
}

/// ID of a lease: the number of the operation that granted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl LeaseId {
    /// No lease. A register without a lease is never deleted by an expiry.
    pub const NONE: Self = Self(0);
}

/// A comparison of a transaction. The transaction takes the branch `then` if all comparisons hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The register.
    pub key: u64,
    /// Expected value of the register; 0 if the register must not be set.
    pub value: u64,
}

/// One operation of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sets a register and attaches it to a lease.
    Put {
        /// The register.
        key: u64,
        /// New value of the register.
        value: u64,
        /// Lease to which the register is attached; it replaces the register's former lease.
        lease: LeaseId,
    },
    /// Reads a register, with the effect of earlier operations of the same transaction.
    Get {
        /// The register.
        key: u64,
    },
}

/// Action of a command. An action is atomic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Compares, then executes one of two branches. Changes nothing if a put names a lease that does not exist.
    Transaction {
        /// Comparisons, all of which must hold.
        compares: Vec<Compare>,
        /// Operations that are executed if all comparisons hold.
        then: Vec<Step>,
        /// Operations that are executed if a comparison does not hold.
        otherwise: Vec<Step>,
    },
    /// Grants a new lease.
    Grant {
        /// ID of the new lease.
        lease: LeaseId,
    },
    /// Renews a lease for its whole time to live.
    KeepAlive {
        /// The lease.
        lease: LeaseId,
    },
    /// Revokes a lease and deletes the registers that are attached to it.
    Revoke {
        /// The lease.
        lease: LeaseId,
    },
    /// Revokes a lease whose time is over. Changes nothing if the lease was kept alive after the leader decided on the
    /// expiry.
    Expire {
        /// The lease.
        lease: LeaseId,
        /// Number of keep-alives of the lease when the leader decided that the time of the lease was over.
        kept: u64,
    },
}

impl Action {
    /// A transaction that sets a register.
    #[must_use]
    pub fn put(key: u64, value: u64, lease: LeaseId) -> Self {
        Self::Transaction { compares: Vec::new(), then: vec![Step::Put { key, value, lease }], otherwise: Vec::new() }
    }

    /// A transaction that sets a register if it holds the expected value.
    #[must_use]
    pub fn compare_and_swap(key: u64, expected: u64, value: u64) -> Self {
        let then = vec![Step::Put { key, value, lease: LeaseId::NONE }];
        Self::Transaction { compares: vec![Compare { key, value: expected }], then, otherwise: Vec::new() }
    }
}

/// Result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A transaction was executed.
    Transaction {
        /// Whether all comparisons held.
        succeeded: bool,
        /// Values that the transaction read, in the order of its reads.
        read: Vec<u64>,
    },
    /// A lease was granted, kept alive or revoked.
    Done,
    /// Nothing changed, because the lease does not exist or was kept alive meanwhile.
    NoLease,
}

/// Request of a client.
#[derive(Clone, Debug)]
pub enum Request {
    /// A command, which is written to the log.
    Command(Action),
    /// A linearizable read of some registers.
    Read(Vec<u64>),
}

/// Content of a log entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The operation to which the command belongs.
    pub operation: OperationId,
    /// Effect of the command.
    pub action: Action,
}

impl Command {
    /// Encodes the command and appends `padding` bytes, so that commands differ in size.
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

    /// Decodes a command.
    ///
    /// # Panics
    /// Panics if the bytes were not made by [`Command::encode`].
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
            kind => panic!("unknown kind of command: {kind}"),
        };
        Self { operation, action }
    }

    /// The operation to which an encoded command belongs.
    ///
    /// # Panics
    /// Panics if the bytes were not made by [`Command::encode`].
    #[must_use]
    pub fn operation_of(bytes: &[u8]) -> OperationId {
        OperationId(Words(bytes).next())
    }
}

/// The bytes that are not decoded yet.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn next(&mut self) -> u64 {
        let (word, rest) = self.0.split_first_chunk().expect("a command is complete");
        self.0 = rest;
        u64::from_be_bytes(*word)
    }

    fn step(&mut self) -> Step {
        let [kind, key, value, lease] = [self.next(), self.next(), self.next(), self.next()];
        match kind {
            0 => Step::Put { key, value, lease: LeaseId(lease) },
            1 => Step::Get { key },
            kind => panic!("unknown kind of step: {kind}"),
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
