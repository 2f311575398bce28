//! Clients: each does one thing at a time, at some member, and remembers what it was told. Owns the recorded histories; whether
//! they make sense is for [`crate::check::linearizable`].

use std::collections::BTreeMap;

use raft::MemberId;

use crate::check::linearizable::{self, Call, Operation};
use crate::cluster::simulated::machine::{Command, OperationId, Outcome, Write};
use crate::invariant::Violation;
use crate::world::seed::Random;

/// What a client asked for.
#[derive(Clone, Copy, Debug)]
pub enum Asked {
    /// A write through the log.
    Write(Write),
    /// A linearizable read.
    Read,
}

/// An operation whose end was not seen yet.
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Who waits for it; `None`: nobody any more.
    pub client: Option<usize>,
    /// Which register.
    pub key: u64,
    /// What was asked.
    pub asked: Asked,
    /// At which member.
    pub at: MemberId,
    called: u64,
    /// When some state machine applied it first.
    applied: Option<u64>,
}

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {
    open: BTreeMap<OperationId, Open>,
    histories: BTreeMap<u64, Vec<Operation>>,
    /// The last value that a client saw in each register, a good guess for a compare-and-swap.
    guesses: BTreeMap<u64, u64>,
    operations: u64,
    moments: u64,
    /// Writes acknowledged.
    pub writes: u64,
    /// Operations answered since each client began to count.
    pub served: Vec<u64>,
}

impl Clients {
    /// So many clients.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { served: vec![0; count], ..Self::default() }
    }

    /// A client begins something at a member; values are never written twice.
    pub fn begin(
        &mut self,
        random: &mut Random,
        client: Option<usize>,
        at: MemberId,
        keys: u64,
    ) -> (OperationId, Open) {
        self.operations += 1;
        let value = self.operations;
        let key = random.below(keys);
        let expected = self.guesses.get(&key).copied().unwrap_or(0);
        let asked = match random.below(10) {
            0..=3 => Asked::Read,
            4..=6 => Asked::Write(Write::Put { value }),
            _ => Asked::Write(Write::CompareAndSwap { expected, value }),
        };
        let open = Open { client, key, asked, at, called: self.moment(), applied: None };
        let operation = OperationId(self.operations);
        self.open.insert(operation, open);
        (operation, open)
    }

    /// The command that a write puts in the log.
    #[must_use]
    pub fn command(operation: OperationId, open: &Open) -> Option<Command> {
        match open.asked {
            Asked::Write(write) => Some(Command { operation, key: open.key, write }),
            Asked::Read => None,
        }
    }

    /// An operation whose end was not seen yet.
    #[must_use]
    pub fn open(&self, operation: OperationId) -> Option<&Open> {
        self.open.get(&operation)
    }

    /// A state machine applied it, the first of all: from here on it has happened, whether its client learns of it or not.
    pub fn applied(&mut self, operation: OperationId) {
        let moment = self.moment();
        if let Some(open) = self.open.get_mut(&operation) {
            open.applied.get_or_insert(moment);
        }
    }

    /// A write was acknowledged; its client, if it still waits.
    pub fn acknowledged(&mut self, outcome: Outcome) -> Option<usize> {
        let open = self.open.remove(&outcome.operation)?;
        let Asked::Write(write) = open.asked else { return None };
        if let (Write::Put { value } | Write::CompareAndSwap { value, .. }, true) = (write, outcome.succeeded) {
            self.guesses.insert(open.key, value);
        }
        self.writes += 1;
        self.record(&open, call(write, Some(outcome.succeeded)), None);
        self.serve(open.client)
    }

    /// A read was answered; its client, if it still waits.
    pub fn answered(&mut self, operation: OperationId, value: u64) -> Option<usize> {
        let open = self.open.remove(&operation)?;
        self.guesses.insert(open.key, value);
        self.record(&open, Call::Get { value }, None);
        self.serve(open.client)
    }

    /// It did not happen and will not; its client, if it still waits.
    pub fn refused(&mut self, operation: OperationId) -> Option<usize> {
        self.open.remove(&operation)?.client
    }

    /// Its client waits no longer, and does not know whether it happened.
    pub fn give_up(&mut self, operation: OperationId) -> Option<usize> {
        let open = self.open.get_mut(&operation)?;
        let client = open.client.take();
        if matches!(open.asked, Asked::Read) {
            self.open.remove(&operation);
        }
        client
    }

    /// Checks all histories. Of the writes without a known outcome, those that no state machine ever applied never happened.
    ///
    /// # Errors
    /// One of them cannot be explained.
    pub fn check(mut self) -> Result<u64, Violation> {
        for open in std::mem::take(&mut self.open).into_values() {
            if let (Asked::Write(write), Some(applied)) = (open.asked, open.applied) {
                self.record(&open, call(write, None), Some(applied));
            }
        }
        let mut checked = 0;
        for (key, history) in &self.histories {
            checked += history.len() as u64;
            linearizable::check(history).map_err(|unexplained| Violation {
                invariant: "linearizability",
                seen: format!("register {key}: {unexplained}"),
            })?;
        }
        Ok(checked)
    }

    fn record(&mut self, open: &Open, call: Call, returned: Option<u64>) {
        let returned = returned.unwrap_or_else(|| self.moment());
        self.histories.entry(open.key).or_default().push(Operation { called: open.called, returned, call });
    }

    fn serve(&mut self, client: Option<usize>) -> Option<usize> {
        if let Some(client) = client {
            self.served[client] += 1;
        }
        client
    }

    fn moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }
}

fn call(write: Write, succeeded: Option<bool>) -> Call {
    match write {
        Write::Put { value } => Call::Put { value },
        Write::CompareAndSwap { expected, value } => Call::CompareAndSwap { expected, value, succeeded },
    }
}
