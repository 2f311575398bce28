//! Clients of a shipped cluster: they call the member's own door, and wait as a door waits. Owns the calls under way and the
//! histories; what a failed call promises is held against the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use mvcc::{Batch, Command, Compact, Compare, DeleteRange, Op, Operand, Put, Relation, Response, Txn};
use raft::MemberId;
use raft_node::apply::publish::Published;
use raft_node::handle::error::{ProposeError, ReadError};
use raft_node::handle::{Committed, Handle};

use crate::check::linearizable::{self, Call, Operation};
use crate::invariant::{Checked, Violation, ensure};
use crate::shipped::ask;
use crate::world::seed::Random;

type Answer<T> = Pin<Box<dyn Future<Output = T>>>;

/// What a client waits for.
enum Waiting {
    Write(Call, Answer<Result<Committed, ProposeError>>),
    Read(Answer<Result<Arc<Published>, ReadError>>),
}

struct Open {
    client: Option<usize>,
    key: u64,
    at: MemberId,
    called: u64,
    waiting: Waiting,
}

/// A write whose client does not know what became of it.
#[derive(Clone, Copy, Debug)]
struct Unknown {
    key: u64,
    called: u64,
    call: Call,
}

/// All of them.
#[derive(Default)]
pub(super) struct Clients {
    /// Names of operations; a write's is also the value that it writes.
    operations: u64,
    open: BTreeMap<u64, Open>,
    unknown: BTreeMap<u64, Unknown>,
    /// Writes that were said not to have happened.
    denied: BTreeSet<u64>,
    /// When a write was first seen to be committed.
    committed: BTreeMap<u64, u64>,
    histories: BTreeMap<u64, Vec<Operation>>,
    guesses: BTreeMap<u64, u64>,
    moments: u64,
    /// Answers that each client had.
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

/// The bytes that stand for a number, some of them longer than others.
fn value(number: u64, padding_max: u64) -> Bytes {
    let mut bytes = number.to_be_bytes().to_vec();
    let padding = number.wrapping_mul(7_919) % (padding_max + 1);
    bytes.resize(bytes.len() + padding as usize, 0);
    bytes.into()
}

fn put(key: u64, number: u64, padding_max: u64) -> Put {
    Put { key: name(key), value: value(number, padding_max), ..Put::default() }
}

/// Swaps if the register has the expected value; 0 means that it was never set.
fn swap(key: u64, expected: u64, new: u64, padding_max: u64) -> Command {
    let operand = match expected {
        0 => Operand::Version(0),
        _ => Operand::Value(value(expected, padding_max)),
    };
    let compare = Compare { key: name(key), range_end: Bytes::new(), relation: Relation::Equal, operand };
    let success = vec![Op::Put(put(key, new, padding_max))];
    Command::Txn(Txn { compare: vec![compare], success, failure: Vec::new() })
}

/// Deletes a register: it reads as 0 again. A marker beside it names the operation.
fn delete(key: u64, operation: u64) -> Command {
    let marker = Put { key: "marker".into(), value: value(operation, 0), ..Put::default() };
    let gone = DeleteRange { key: name(key), ..DeleteRange::default() };
    Command::Txn(Txn { success: vec![Op::Put(marker), Op::DeleteRange(gone)], ..Txn::default() })
}

/// The operation that a command in the log belongs to: the number that it would write first.
fn operation_of(command: &Command) -> Option<u64> {
    match command {
        Command::Put(put) => Some(number(&put.value)),
        Command::Txn(txn) => txn.success.first().and_then(|op| match op {
            Op::Put(put) => Some(number(&put.value)),
            _ => None,
        }),
        _ => None,
    }
}

impl Clients {
    pub(super) fn new(count: usize) -> Self {
        Self { served: vec![0; count], ..Self::default() }
    }

    /// Somebody asks a member for something; nobody waits for it if there is no `client`.
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
        let key = random.below(keys);
        let expected = self.guesses.get(&key).copied().unwrap_or(0);
        let call = match random.below(20) {
            0..=7 => None,
            8 => Some(Call::Put { value: 0 }),
            9..=13 => Some(Call::Put { value: operation }),
            _ => Some(Call::CompareAndSwap { expected, value: operation, succeeded: None }),
        };
        let waiting = match call {
            None => Waiting::Read(Box::pin(async move { handle.linearizable().await })),
            Some(call) => {
                let command = match call {
                    Call::CompareAndSwap { .. } => swap(key, expected, operation, padding_max),
                    Call::Put { value: 0 } => delete(key, operation),
                    _ => Command::Put(put(key, operation, padding_max)),
                };
                Waiting::Write(call, Box::pin(async move { handle.propose(command).await }))
            }
        };
        let called = self.moment();
        self.open.insert(operation, Open { client, key, at, called, waiting });
    }

    /// Somebody lets a member forget history; whether there is so much makes no difference to anybody here.
    pub(super) fn compact(&self, random: &mut Random, handle: &Handle) {
        let revision = handle.published().view.revision().0.saturating_sub(random.between(0, 20) as i64);
        let handle = handle.clone();
        ask(async move { handle.propose(Command::Compact(Compact { revision, physical: false })).await });
    }

    /// Looks at every call to a member that is under way; clients that wait no longer.
    ///
    /// # Errors
    /// An answer says what is not so.
    pub(super) fn look(&mut self, at: MemberId) -> Result<Vec<usize>, Violation> {
        let mut freed = Vec::new();
        let mut context = Context::from_waker(Waker::noop());
        let asked: Vec<u64> = self.open.iter().filter(|(_, open)| open.at == at).map(|(name, _)| *name).collect();
        for operation in asked {
            let Some(open) = self.open.get_mut(&operation) else { continue };
            let is_over = match &mut open.waiting {
                Waiting::Write(call, answer) => match answer.as_mut().poll(&mut context) {
                    Poll::Pending => false,
                    Poll::Ready(outcome) => {
                        let call = *call;
                        self.written(operation, call, outcome)?;
                        true
                    }
                },
                Waiting::Read(answer) => match answer.as_mut().poll(&mut context) {
                    Poll::Pending => false,
                    Poll::Ready(outcome) => {
                        self.read(operation, outcome);
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

    /// The member is gone with all that it was asked; clients that wait no longer.
    pub(super) fn lose(&mut self, at: MemberId) -> Vec<usize> {
        let mut freed = Vec::new();
        for (operation, open) in self.open.extract_if(.., |_, open| open.at == at) {
            if let Waiting::Write(call, _) = open.waiting {
                self.unknown.insert(operation, Unknown { key: open.key, called: open.called, call });
            }
            freed.extend(open.client);
        }
        freed
    }

    fn written(&mut self, operation: u64, call: Call, outcome: Result<Committed, ProposeError>) -> Checked {
        let Open { client, key, called, .. } = self.open[&operation];
        match outcome {
            Ok(Committed { result: Ok(done), .. }) => {
                let (call, took) = match (call, done.response) {
                    (Call::CompareAndSwap { expected, value, .. }, Response::Txn(txn)) => {
                        let succeeded = Some(txn.succeeded);
                        (Call::CompareAndSwap { expected, value, succeeded }, txn.succeeded)
                    }
                    (call, _) => (call, true),
                };
                if took {
                    self.guesses.insert(key, if call == (Call::Put { value: 0 }) { 0 } else { operation });
                }
                self.writes += 1;
                let returned = self.moment();
                self.note(key, Operation { called, returned, call });
                self.serve(client);
                ensure(self.committed.contains_key(&operation), "acknowledged is committed", || {
                    format!("operation {operation} is acknowledged, but not committed")
                })
            }
            Ok(Committed { result: Err(reason), .. }) => Err(Violation {
                invariant: "a sound command is carried out",
                seen: format!("operation {operation}: {reason}"),
            }),
            Err(ProposeError::TimedOut | ProposeError::Stopping) => {
                self.unknown.insert(operation, Unknown { key, called, call });
                Ok(())
            }
            Err(_) => {
                self.denied.insert(operation);
                self.check_denied(operation)
            }
        }
    }

    fn read(&mut self, operation: u64, outcome: Result<Arc<Published>, ReadError>) {
        let Open { client, key, called, .. } = self.open[&operation];
        let Ok(published) = outcome else { return };
        let value = published.view.get(&name(key)).map_or(0, |kv| number(kv.value()));
        self.guesses.insert(key, value);
        self.reads += 1;
        let returned = self.moment();
        self.note(key, Operation { called, returned, call: Call::Get { value } });
        self.serve(client);
    }

    /// An entry was committed for the first time.
    ///
    /// # Errors
    /// It holds what was said never to happen, or what happened before.
    pub(super) fn committed(&mut self, payload: Bytes) -> Checked {
        let batch = Batch::decode(payload)
            .map_err(|reason| Violation { invariant: "entries can be read", seen: reason.to_string() })?;
        for operation in batch.commands.iter().filter_map(|(_, command)| operation_of(command)) {
            let moment = self.moment();
            let before = self.committed.insert(operation, moment);
            ensure(before.is_none(), "a command happens once", || format!("operation {operation} is committed twice"))?;
            self.check_denied(operation)?;
        }
        Ok(())
    }

    fn check_denied(&self, operation: u64) -> Checked {
        let is_lie = self.denied.contains(&operation) && self.committed.contains_key(&operation);
        ensure(!is_lie, "what was said not to be written was not", || {
            format!("operation {operation} was refused with nothing written, but is committed")
        })
    }

    /// Checks all histories. A write without a known outcome has happened if it is committed, and never did otherwise.
    ///
    /// # Errors
    /// One of them cannot be explained.
    pub(super) fn check(mut self) -> Result<u64, Violation> {
        for (operation, open) in std::mem::take(&mut self.open) {
            if let Waiting::Write(call, _) = open.waiting {
                self.unknown.insert(operation, Unknown { key: open.key, called: open.called, call });
            }
        }
        for (operation, Unknown { key, called, call }) in std::mem::take(&mut self.unknown) {
            if let Some(returned) = self.committed.get(&operation).copied() {
                self.note(key, Operation { called, returned, call });
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

    fn note(&mut self, key: u64, operation: Operation) {
        self.histories.entry(key).or_default().push(operation);
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
