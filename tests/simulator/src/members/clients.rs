//! Clients of a cluster of members. A client calls the handle that the API uses, and waits for the answer as the API
//! does. Owns the open calls and the histories. Checks the answers to failed calls against the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use engine::error::{ProposeError, ReadError};
use engine::handle::Handle;
use engine::outcome::Committed;
use engine::published::Published;
use mvcc::{Batch, Command, Compact, DeleteRange, Op, OpResult, Operand, Put, Range, Relation, Response, Txn};
use raft::{Index, MemberId};
use world::seed::Random;

use crate::check::linearizable;
use crate::check::model::{Call, Operation};
use crate::command::{Action, Answer, Compare, LeaseId, Step};
use crate::invariant::{Checked, Violation, ensure};
use crate::members::start_call;

type Answering<T> = Pin<Box<dyn Future<Output = T>>>;

/// The answer for which a client waits.
enum Waiting {
    Write(Action, Answering<Result<Committed, ProposeError>>),
    Read(Vec<u64>, Answering<Result<Arc<Published>, ReadError>>),
}

struct Open {
    client: Option<usize>,
    at: MemberId,
    called: u64,
    waiting: Waiting,
}

/// A write of unknown outcome.
#[derive(Debug)]
struct Unknown {
    called: u64,
    action: Action,
}

/// All clients, their calls and histories.
#[derive(Default)]
pub(super) struct Clients {
    /// Number of the latest operation. Each operation writes values that are computed from its number.
    operations: u64,
    open: BTreeMap<u64, Open>,
    unknown: BTreeMap<u64, Unknown>,
    /// Numbers of the writes that a member refused. The refusal means that nothing was written.
    refused: BTreeSet<u64>,
    /// For each committed write, the time at which its commit was first seen, and its position in the log.
    committed: BTreeMap<u64, (u64, u64)>,
    history: Vec<Operation>,
    guesses: BTreeMap<u64, u64>,
    moments: u64,
    /// For each client, the number of its operations that were answered.
    pub(super) served: Vec<u64>,
    pub(super) writes: u64,
    pub(super) reads: u64,
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("operations", &self.operations).finish_non_exhaustive()
    }
}

fn name(key: u64) -> Bytes {
    format!("register/{key}").into()
}

fn number(value: &[u8]) -> u64 {
    value.first_chunk().map_or(0, |digits| u64::from_be_bytes(*digits))
}

/// Encodes a number. The length depends on the number, so that values differ in size.
fn value(number: u64, padding_max: u64) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    let padding = number.wrapping_mul(7_919) % (padding_max + 1);
    bytes.resize(bytes.len() + padding as usize, 0);
    bytes.into()
}

fn put(key: u64, number: u64, padding_max: u64) -> Put {
    Put { key: name(key), value: value(number, padding_max), ..Put::default() }
}

/// A comparison with the value of a register; 0 means that the register is not set.
fn compare(Compare { key, value: number }: &Compare, padding_max: u64) -> mvcc::Compare {
    let operand = match number {
        0 => Operand::Version(0),
        number => Operand::Value(value(*number, padding_max)),
    };
    mvcc::Compare { key: name(*key), range_end: Bytes::new(), relation: Relation::Equal, operand }
}

fn op(step: &Step, padding_max: u64) -> Op {
    match *step {
        Step::Put { key, value: 0, .. } => Op::DeleteRange(DeleteRange { key: name(key), ..DeleteRange::default() }),
        Step::Put { key, value, .. } => Op::Put(put(key, value, padding_max)),
        Step::Get { key } => Op::Range(Range { key: name(key), ..Range::default() }),
    }
}

/// Command of the API for an action. A transaction first puts a marker with the operation's number, by which the
/// operation is found in the log.
fn command(operation: u64, action: &Action, padding_max: u64) -> Command {
    let Action::Transaction { compares, then, otherwise } = action else { unreachable!("this workload has no leases") };
    if let ([], [Step::Put { key, value, .. }]) = (&compares[..], &then[..])
        && *value != 0
    {
        return Command::Put(put(*key, *value, padding_max));
    }
    let marker = || Op::Put(Put { key: "marker".into(), value: value(operation * VALUES, 0), ..Put::default() });
    let branch = |steps: &[Step]| -> Vec<Op> {
        std::iter::once(marker()).chain(steps.iter().map(|step| op(step, padding_max))).collect()
    };
    Command::Txn(Txn {
        compare: compares.iter().map(|each| compare(each, padding_max)).collect(),
        success: branch(then),
        failure: branch(otherwise),
    })
}

/// Answer of a member, in the form that the history stores.
fn answer(response: &Response) -> Answer {
    let Response::Txn(txn) = response else { return Answer::Transaction { succeeded: true, read: Vec::new() } };
    let read = txn.responses.iter().filter_map(|each| match each {
        OpResult::Range(range) => Some(range.kvs.first().map_or(0, |kv| number(kv.value()))),
        _ => None,
    });
    Answer::Transaction { succeeded: txn.succeeded, read: read.collect() }
}

/// Number of the operation that proposed a command, derived from the first value that the command would write.
fn operation_of(command: &Command) -> Option<u64> {
    let first = match command {
        Command::Put(put) => Some(put),
        Command::Txn(txn) => txn.success.first().and_then(|op| if let Op::Put(put) = op { Some(put) } else { None }),
        _ => None,
    };
    first.map(|put| number(&put.value) / VALUES)
}

/// Number of positions for each entry: one for each of its commands, and the last one for a read after the entry.
const ORDERS: u64 = 1 << 12;

/// Position of a command among all operations, where `order` is the command's place in its entry.
fn place(index: Index, order: u64) -> u64 {
    index.0 * ORDERS + order
}

/// Number of values reserved for one operation; no two operations write the same value.
const VALUES: u64 = 4;

impl Clients {
    pub(super) fn new(count: usize) -> Self {
        Self { served: vec![0; count], ..Self::default() }
    }

    /// Begins a call at a member. `client`: the client that waits for the answer; `None` if no client waits.
    pub(super) fn begin(
        &mut self,
        random: &mut Random,
        client: Option<usize>,
        at: MemberId,
        handle: Handle,
        (keys, padding_max): (u64, u64),
    ) {
        self.operations += 1;
        let operation = self.operations;
        let waiting = match self.next_change(random, keys, operation) {
            Ok(action) => {
                let command = command(operation, &action, padding_max);
                Waiting::Write(action, Box::pin(async move { handle.propose(command).await }))
            }
            Err(registers) => Waiting::Read(registers, Box::pin(async move { handle.linearizable().await })),
        };
        let called = self.moment();
        self.open.insert(operation, Open { client, at, called, waiting });
    }

    /// Chooses operation `number` at random: an action, or the registers of a read.
    fn next_change(&self, random: &mut Random, keys: u64, number: u64) -> Result<Action, Vec<u64>> {
        let (key, other, value) = (random.below(keys), random.below(keys), number * VALUES);
        let guess = |key| self.guesses.get(&key).copied().unwrap_or(0);
        let write = |key, value| Step::Put { key, value, lease: LeaseId::NONE };
        Ok(match random.below(20) {
            0..=5 => return Err(vec![key]),
            6..=7 => return Err(vec![key, other]),
            8 => Action::put(key, 0, LeaseId::NONE),
            9..=12 => Action::put(key, value, LeaseId::NONE),
            13..=15 => Action::compare_and_swap(key, guess(key), value),
            _ if key == other => Action::put(key, value, LeaseId::NONE),
            _ => Action::Transaction {
                compares: [key, other].map(|key| Compare { key, value: guess(key) }).into(),
                then: vec![write(key, value), write(other, value + 1)],
                otherwise: vec![Step::Get { key }, write(other, value + 2), Step::Get { key: other }],
            },
        })
    }

    /// Begins a compaction at a member. The answer is not awaited, because a refused compaction changes nothing.
    pub(super) fn compact(&self, random: &mut Random, handle: &Handle) {
        let revision = handle.published().view.revision().0.saturating_sub(random.between(0, 20) as i64);
        let handle = handle.clone();
        start_call(async move { handle.propose(Command::Compact(Compact { revision, physical: false })).await });
    }

    /// Polls every open call at a member. Returns the clients whose calls have ended.
    ///
    /// # Errors
    /// Returns a violation if an answer contradicts the log.
    pub(super) fn poll(&mut self, at: MemberId) -> Result<Vec<usize>, Violation> {
        let mut freed = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        let at_member: Vec<u64> = self.open.iter().filter(|(_, open)| open.at == at).map(|(name, _)| *name).collect();
        for operation in at_member {
            let Some(open) = self.open.get_mut(&operation) else { continue };
            let (client, called) = (open.client, open.called);
            let is_over = match &mut open.waiting {
                Waiting::Write(action, answer) => match answer.as_mut().poll(&mut context) {
                    Poll::Pending => false,
                    Poll::Ready(outcome) => {
                        let action = action.clone();
                        self.written(operation, (client, called), action, outcome)?;
                        true
                    }
                },
                Waiting::Read(keys, answer) => match answer.as_mut().poll(&mut context) {
                    Poll::Pending => false,
                    Poll::Ready(outcome) => {
                        let keys = std::mem::take(keys);
                        if let Ok(published) = outcome {
                            self.read((client, called), keys, &published);
                        }
                        true
                    }
                },
            };
            if is_over && let Some(open) = self.open.remove(&operation) {
                freed.extend(open.client);
            }
        }
        Ok(freed)
    }

    /// Ends all calls at a member that has stopped. Returns the clients of these calls.
    pub(super) fn lose(&mut self, at: MemberId) -> Vec<usize> {
        let mut freed = Vec::new();
        for (operation, open) in self.open.extract_if(.., |_, open| open.at == at) {
            if let Waiting::Write(action, _) = open.waiting {
                self.unknown.insert(operation, Unknown { called: open.called, action });
            }
            freed.extend(open.client);
        }
        freed
    }

    fn written(
        &mut self,
        operation: u64,
        (client, called): (Option<usize>, u64),
        action: Action,
        outcome: Result<Committed, ProposeError>,
    ) -> Checked {
        match outcome {
            Ok(Committed { result: Ok(done), entry, .. }) => {
                let answer = answer(&done.response);
                if let (Action::Transaction { then, .. }, Answer::Transaction { succeeded: true, .. }) =
                    (&action, &answer)
                {
                    self.guesses.extend(then.iter().filter_map(|step| match *step {
                        Step::Put { key, value, .. } => Some((key, value)),
                        Step::Get { .. } => None,
                    }));
                }
                self.writes += 1;
                let (_, place) = self.committed.get(&operation).copied().ok_or_else(|| Violation {
                    invariant: "acknowledged is committed",
                    seen: format!("operation {operation} is acknowledged in {entry}, but not committed"),
                })?;
                self.note(called, None, place, Call::Act { action, answer: Some(answer) });
                self.serve(client);
                Ok(())
            }
            Ok(Committed { result: Err(reason), .. }) => Err(Violation {
                invariant: "a valid command is carried out",
                seen: format!("operation {operation}: {reason}"),
            }),
            Err(ProposeError::TimedOut | ProposeError::Stopping) => {
                self.unknown.insert(operation, Unknown { called, action });
                Ok(())
            }
            Err(_) => {
                self.refused.insert(operation);
                self.check_refused(operation)
            }
        }
    }

    fn read(&mut self, (client, called): (Option<usize>, u64), keys: Vec<u64>, published: &Published) {
        let value = |key| published.view.get(&name(key)).map_or(0, |kv| number(kv.value()));
        let found: Vec<(u64, u64)> = keys.into_iter().map(|key| (key, value(key))).collect();
        self.guesses.extend(found.iter().copied());
        self.reads += 1;
        self.note(called, None, place(published.applied, ORDERS - 1), Call::Read { found });
        self.serve(client);
    }

    /// Notes an entry when it is first committed.
    ///
    /// # Errors
    /// Returns a violation if the entry contains a command that was refused or was committed before.
    pub(super) fn committed(&mut self, index: Index, payload: Bytes) -> Checked {
        let batch = Batch::decode(payload)
            .map_err(|reason| Violation { invariant: "entries can be read", seen: reason.to_string() })?;
        let operations = batch.commands.iter().filter_map(|(_, command)| operation_of(command));
        for (order, operation) in (0..).zip(operations) {
            let moment = self.moment();
            let before = self.committed.insert(operation, (moment, place(index, order)));
            ensure(before.is_none(), "a command happens once", || format!("operation {operation} is committed twice"))?;
            self.check_refused(operation)?;
        }
        Ok(())
    }

    fn check_refused(&self, operation: u64) -> Checked {
        let is_committed = self.refused.contains(&operation) && self.committed.contains_key(&operation);
        ensure(!is_committed, "a refused write is never committed", || {
            format!("operation {operation} was refused with nothing written, but is committed")
        })
    }

    /// Checks all histories. A write of unknown outcome counts as happened if and only if it is committed.
    ///
    /// # Errors
    /// Returns a violation if a history is not linearizable.
    pub(super) fn check(mut self) -> Result<u64, Violation> {
        for (operation, open) in std::mem::take(&mut self.open) {
            if let Waiting::Write(action, _) = open.waiting {
                self.unknown.insert(operation, Unknown { called: open.called, action });
            }
        }
        for (operation, Unknown { called, action }) in std::mem::take(&mut self.unknown) {
            if let Some((moment, place)) = self.committed.get(&operation).copied() {
                self.note(called, Some(moment), place, Call::Act { action, answer: None });
            }
        }
        linearizable::check(&self.history)
            .map_err(|unexplained| Violation { invariant: "linearizability", seen: unexplained.to_string() })?;
        Ok(self.history.len() as u64)
    }

    fn note(&mut self, called: u64, returned: Option<u64>, place: u64, call: Call) {
        let returned = returned.unwrap_or_else(|| self.moment());
        self.history.push(Operation { called, returned, place, call });
    }

    fn serve(&mut self, client: Option<usize>) {
        if let Some(client) = client {
            self.served[client] += 1;
        }
    }

    fn moment(&mut self) -> u64 {
        self.moments += 1;
        self.moments
    }
}
