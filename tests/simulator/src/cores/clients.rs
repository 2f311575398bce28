//! Clients: each does one thing at a time, at some member, and remembers its answers. Owns the recorded history. Does
//! not own what is asked for next (`workload.rs`) or whether the history is linearizable
//! ([`crate::check::linearizable`]).

use std::collections::BTreeMap;

use raft::{Index, MemberId};
use world::seed::Random;

use crate::check::linearizable;
use crate::check::model::{Call, Operation};
use crate::command::{Action, Answer, Command, LeaseId, OperationId, Request};
use crate::cores::machine::Outcome;
use crate::cores::workload::Memory;
use crate::invariant::Violation;

/// An operation whose end was not seen yet.
#[derive(Clone, Debug)]
pub struct Open {
    /// The client that waits for it; `None`: no client any more.
    pub client: Option<usize>,
    /// What was asked.
    pub asked: Request,
    /// At which member.
    pub at: MemberId,
    called: u64,
    /// When some state machine applied it first, and where it stands in the log.
    applied: Option<(u64, Index)>,
}

/// All clients.
#[derive(Debug, Default)]
pub struct Clients {
    open: BTreeMap<OperationId, Open>,
    history: Vec<Operation>,
    memory: Memory,
    operations: u64,
    moments: u64,
    /// Commands acknowledged.
    pub writes: u64,
    /// Those of them that took part in more than one register, or in a lease.
    pub wide: u64,
    /// Leases that ended because their time was over.
    pub expiries: u64,
    /// Operations answered since each client began to count.
    pub served: Vec<u64>,
}

impl Clients {
    /// This number of clients.
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
    ) -> (OperationId, Request) {
        let asked = self.memory.next(random, keys, self.operations + 1);
        (self.open(client, at, asked.clone()), asked)
    }

    /// The time of a lease is over at a member that leads.
    pub fn begin_expiry(&mut self, at: MemberId, lease: LeaseId, kept: u64) -> Command {
        let action = Action::Expire { lease, kept };
        Command { operation: self.open(None, at, Request::Command(action.clone())), action }
    }

    fn open(&mut self, client: Option<usize>, at: MemberId, asked: Request) -> OperationId {
        self.operations += 1;
        let operation = OperationId(self.operations);
        let called = self.moment();
        self.open.insert(operation, Open { client, asked, at, called, applied: None });
        operation
    }

    /// The registers that a read is about, while a client waits for it.
    #[must_use]
    pub fn reads(&self, operation: OperationId) -> Option<&[u64]> {
        match &self.open.get(&operation)?.asked {
            Request::Read(keys) => Some(keys),
            Request::Command(_) => None,
        }
    }

    /// A state machine applied it, the first of all: from here on it has happened, whether its client learns of it or not.
    pub fn applied(&mut self, operation: OperationId, index: Index) {
        let moment = self.moment();
        if let Some(open) = self.open.get_mut(&operation) {
            open.applied.get_or_insert((moment, index));
        }
    }

    /// A command was acknowledged; its client, if it still waits.
    pub fn acknowledged(&mut self, outcome: Outcome, index: Index) -> Option<usize> {
        let Open { client, asked, called, .. } = self.open.remove(&outcome.operation)?;
        let Request::Command(action) = asked else { return None };
        let answer = outcome.answer;
        self.memory.told(&action, &answer);
        self.writes += 1;
        let is_expiry = matches!(action, Action::Expire { .. });
        self.expiries += u64::from(is_expiry && answer == Answer::Done);
        let call = Call::Act { action, answer: Some(answer) };
        self.wide += u64::from(!is_expiry && call.touches().len() > 1);
        self.record(called, None, index, call);
        self.serve(client)
    }

    /// A read was answered with these registers, as the log up to `index` leaves them; its client, if it still waits.
    pub fn answered(&mut self, operation: OperationId, found: Vec<(u64, u64)>, index: Index) -> Option<usize> {
        let Open { client, called, .. } = self.open.remove(&operation)?;
        self.memory.found(&found);
        self.record(called, None, index, Call::Read { found });
        self.serve(client)
    }

    /// It did not happen and will not; its client, if it still waits.
    pub fn refused(&mut self, operation: OperationId) -> Option<usize> {
        self.open.remove(&operation)?.client
    }

    /// Its client waits no longer, and does not know whether it happened.
    pub fn give_up(&mut self, operation: OperationId) -> Option<usize> {
        let open = self.open.get_mut(&operation)?;
        let client = open.client.take();
        if matches!(open.asked, Request::Read(_)) {
            self.open.remove(&operation);
        }
        client
    }

    /// Checks the history. Of the commands without a known outcome, those that no state machine ever applied never happened.
    ///
    /// # Errors
    /// Returns a violation if the history cannot be explained.
    pub fn check(mut self) -> Result<u64, Violation> {
        for open in std::mem::take(&mut self.open).into_values() {
            if let (Request::Command(action), Some((applied, index))) = (open.asked, open.applied) {
                self.record(open.called, Some(applied), index, Call::Act { action, answer: None });
            }
        }
        linearizable::check(&self.history)
            .map_err(|unexplained| Violation { invariant: "linearizability", seen: unexplained.to_string() })?;
        Ok(self.history.len() as u64)
    }

    fn record(&mut self, called: u64, returned: Option<u64>, index: Index, call: Call) {
        let returned = returned.unwrap_or_else(|| self.moment());
        // A command is where its entry is, a read behind the entry that it read at.
        let place = index.0 * 2 + u64::from(matches!(call, Call::Read { .. }));
        self.history.push(Operation { called, returned, place, call });
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
