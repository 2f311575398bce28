//! Clients. Each client has at most one operation at a time and sends it to one member. Owns the recorded history. Does
//! not own the next request (`workload.rs`) or the check of the history ([`crate::check::linearizable`]).

use std::collections::BTreeMap;

use raft::{Index, MemberId};
use world::seed::Random;

use crate::check::linearizable;
use crate::check::model::{Call, Operation};
use crate::command::{Action, Answer, Command, LeaseId, OperationId, Request};
use crate::cores::machine::Outcome;
use crate::cores::workload::Memory;
use crate::invariant::Violation;

/// An operation that has not ended yet.
#[derive(Clone, Debug)]
pub struct Open {
    /// The client that waits for the answer; `None` if no client waits.
    pub client: Option<usize>,
    /// The request.
    pub request: Request,
    /// The member that the client called.
    pub at: MemberId,
    called: u64,
    /// Time at which a state machine first applied the command, and the index of the command's entry.
    applied: Option<(u64, Index)>,
}

/// All clients and their history.
#[derive(Debug, Default)]
pub struct Clients {
    open: BTreeMap<OperationId, Open>,
    history: Vec<Operation>,
    memory: Memory,
    operations: u64,
    moments: u64,
    /// Number of acknowledged commands.
    pub writes: u64,
    /// Number of acknowledged commands that involve more than one register or lease.
    pub wide: u64,
    /// Number of leases that expired.
    pub expiries: u64,
    /// For each client, the number of its operations that were answered.
    pub served: Vec<u64>,
}

impl Clients {
    /// A set of `count` clients.
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self { served: vec![0; count], ..Self::default() }
    }

    /// Begins an operation of a client at a member. No two operations write the same value.
    pub fn begin(
        &mut self,
        random: &mut Random,
        client: Option<usize>,
        at: MemberId,
        keys: u64,
    ) -> (OperationId, Request) {
        let request = self.memory.next(random, keys, self.operations + 1);
        (self.open(client, at, request.clone()), request)
    }

    /// Begins an operation that expires a lease, at the leader `at`. Returns the command to propose.
    pub fn begin_expiry(&mut self, at: MemberId, lease: LeaseId, kept: u64) -> Command {
        let action = Action::Expire { lease, kept };
        Command { operation: self.open(None, at, Request::Command(action.clone())), action }
    }

    fn open(&mut self, client: Option<usize>, at: MemberId, request: Request) -> OperationId {
        self.operations += 1;
        let operation = OperationId(self.operations);
        let called = self.moment();
        self.open.insert(operation, Open { client, request, at, called, applied: None });
        operation
    }

    /// Registers that an operation reads; `None` if the operation is not a read or has ended.
    #[must_use]
    pub fn reads(&self, operation: OperationId) -> Option<&[u64]> {
        match &self.open.get(&operation)?.request {
            Request::Read(keys) => Some(keys),
            Request::Command(_) => None,
        }
    }

    /// Notes that a state machine applied an operation. The operation has happened, even if its client gets no answer.
    pub fn applied(&mut self, operation: OperationId, index: Index) {
        let moment = self.moment();
        if let Some(open) = self.open.get_mut(&operation) {
            open.applied.get_or_insert((moment, index));
        }
    }

    /// Ends a command that was acknowledged. Returns its client if the client still waits.
    pub fn acknowledged(&mut self, outcome: Outcome, index: Index) -> Option<usize> {
        let Open { client, request, called, .. } = self.open.remove(&outcome.operation)?;
        let Request::Command(action) = request else { return None };
        let answer = outcome.answer;
        self.memory.answered(&action, &answer);
        self.writes += 1;
        let is_expiry = matches!(action, Action::Expire { .. });
        self.expiries += u64::from(is_expiry && answer == Answer::Done);
        let call = Call::Act { action, answer: Some(answer) };
        self.wide += u64::from(!is_expiry && call.touches().len() > 1);
        self.record(called, None, index, call);
        self.serve(client)
    }

    /// Ends a read. `found` contains the values of its registers after the entry at `index` was applied. Returns its
    /// client if the client still waits.
    pub fn answered(&mut self, operation: OperationId, found: Vec<(u64, u64)>, index: Index) -> Option<usize> {
        let Open { client, called, .. } = self.open.remove(&operation)?;
        self.memory.found(&found);
        self.record(called, None, index, Call::Read { found });
        self.serve(client)
    }

    /// Ends an operation that did not happen and never will. Returns its client if the client still waits.
    pub fn refused(&mut self, operation: OperationId) -> Option<usize> {
        self.open.remove(&operation)?.client
    }

    /// Ends the client's wait although the outcome of the operation is unknown. Returns the client.
    pub fn abandon(&mut self, operation: OperationId) -> Option<usize> {
        let open = self.open.get_mut(&operation)?;
        let client = open.client.take();
        if matches!(open.request, Request::Read(_)) {
            self.open.remove(&operation);
        }
        client
    }

    /// Checks the history. A command of unknown outcome counts as happened only if a state machine applied it.
    ///
    /// # Errors
    /// Returns a violation if the history is not linearizable.
    pub fn check(mut self) -> Result<u64, Violation> {
        for open in std::mem::take(&mut self.open).into_values() {
            if let (Request::Command(action), Some((applied, index))) = (open.request, open.applied) {
                self.record(open.called, Some(applied), index, Call::Act { action, answer: None });
            }
        }
        linearizable::check(&self.history)
            .map_err(|unexplained| Violation { invariant: "linearizability", seen: unexplained.to_string() })?;
        Ok(self.history.len() as u64)
    }

    fn record(&mut self, called: u64, returned: Option<u64>, index: Index, call: Call) {
        let returned = returned.unwrap_or_else(|| self.moment());
        // A command is placed at its entry. A read is placed after the last entry whose effect it may contain.
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
