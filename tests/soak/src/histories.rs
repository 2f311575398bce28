//! Clients of a few registers, and the history of their calls. Owns the calls and the translation of their answers.
//! Each minute has registers of its own, so that each check is short. Does not own the checks (`check.rs`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::{compare, request_op, response_op};
use proto::mvccpb::KeyValue;
use simulator::check::model::Call;
use simulator::command::{Action, Answer, Compare, LeaseId, Step};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use world::seed::{Random, Seed};

use crate::cluster::Cluster;
use crate::findings::Findings;

/// Registers of each minute.
const REGISTERS: u64 = 16;
/// Time after which the outcome of a call counts as unknown.
const LIMIT: Duration = Duration::from_secs(1);
/// Pause of a client between two calls. With eight clients, a register then has fewer than 600 calls.
const PAUSE: Duration = Duration::from_millis(50);

/// What a client calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Put,
    Delete,
    Swap,
    Read,
    SerializableRead,
}

/// Content of a register, and the revision of its last change; zeros if it is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) value: u64,
    pub(crate) revision: i64,
}

/// One call and its answer.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) register: u64,
    pub(crate) client: usize,
    pub(crate) member: usize,
    /// Position of the call among all calls and returns.
    pub(crate) called: u64,
    /// Position of the return; `None` if there was no answer.
    pub(crate) returned: Option<u64>,
    /// The call in the terms of the model; `None` for a serializable read.
    pub(crate) call: Option<Call>,
    /// Revision of the store in the answer.
    pub(crate) revision: Option<i64>,
    /// What was read, before the call's own change.
    pub(crate) seen: Option<Seen>,
    /// The value that the call writes, if it writes.
    pub(crate) writes: Option<u64>,
    /// Whether the answer says that the register was written or deleted.
    pub(crate) changed: bool,
}

/// An answer.
#[derive(Clone, Copy, Debug)]
struct Answered {
    revision: i64,
    seen: Option<Seen>,
    succeeded: bool,
    changed: bool,
}

/// The history of all clients.
#[derive(Debug)]
pub(crate) struct Histories {
    findings: Arc<Findings>,
    moments: AtomicU64,
    values: AtomicU64,
    minutes: Mutex<BTreeMap<u64, Vec<Record>>>,
}

impl Histories {
    pub(crate) fn new(findings: &Arc<Findings>) -> Self {
        let (moments, values) = (AtomicU64::new(1), AtomicU64::new(1));
        Self { findings: Arc::clone(findings), moments, values, minutes: Mutex::default() }
    }

    /// The minute of the run.
    pub(crate) fn minute(&self) -> u64 {
        self.findings.elapsed().as_secs() / 60
    }

    /// Takes the history of a minute.
    pub(crate) fn take(&self, minute: u64) -> Vec<Record> {
        self.lock().remove(&minute).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<Record>>> {
        // One record is added at a time, so the lists are consistent even if another thread panicked.
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls random members until `stop` holds true.
    pub(crate) async fn client(&self, number: usize, seed: u64, cluster: &Cluster, stop: watch::Receiver<bool>) {
        let mut random = Random::new(Seed(seed ^ (number as u64 + 1) << 32));
        let mut connections: Vec<Option<KvClient<Channel>>> = cluster.members.iter().map(|_| None).collect();
        let mut known: BTreeMap<u64, Seen> = BTreeMap::new();
        // The number of starts of each member and the highest revision that this connection read there.
        let mut read: Vec<(u64, i64)> = vec![(0, 0); cluster.members.len()];
        while !*stop.borrow() {
            sleep(PAUSE).await;
            let minute = self.minute();
            known.retain(|register, _| register / REGISTERS == minute);
            let register = minute * REGISTERS + random.below(REGISTERS);
            let place = random.below(cluster.members.len() as u64) as usize;
            let kind = Kind::draw(&mut random);
            let before = known.get(&register).copied().unwrap_or_default();
            let value = if kind == Kind::Delete { 0 } else { self.values.fetch_add(1, Ordering::SeqCst) };
            let member = &cluster.members[place];
            let starts = member.starts();
            let Some(mut client) = (match connections[place].take() {
                Some(client) => Some(client),
                None => timeout(LIMIT, traffic::writer::connect(&member.client_url())).await.ok().and_then(Result::ok),
            }) else {
                continue;
            };
            let called = self.moments.fetch_add(1, Ordering::SeqCst);
            let answer = timeout(LIMIT, call(&mut client, kind, register, value, before)).await;
            let moment = self.moments.fetch_add(1, Ordering::SeqCst);
            let answer = match answer {
                Ok(Ok(answer)) => Some(answer),
                // A learner refuses most calls: that is an outcome, and the call had no effect.
                Ok(Err(reason)) if is_refusal(&reason) => {
                    connections[place] = Some(client);
                    continue;
                }
                _ => None,
            };
            connections[place] = answer.map(|_| client);
            let is_read = matches!(kind, Kind::Read | Kind::SerializableRead);
            if answer.is_none() && is_read {
                continue;
            }
            if let Some(Answered { revision, seen, succeeded, .. }) = answer {
                let own = Seen { value, revision: if value == 0 { 0 } else { revision } };
                known.insert(register, if is_read || !succeeded { seen.unwrap_or_default() } else { own });
                if kind == Kind::SerializableRead && starts == member.starts() {
                    if read[place].0 == starts && revision < read[place].1 {
                        let highest = read[place].1;
                        self.findings.violation(&format!(
                            "client {number} read revision {revision} from {} after {highest}",
                            member.name()
                        ));
                    }
                    read[place] = (starts, revision);
                }
            }
            let record = Record {
                register,
                client: number,
                member: place,
                called,
                returned: answer.map(|_| moment),
                call: (kind != Kind::SerializableRead).then(|| model(kind, register, value, before, answer)),
                revision: answer.map(|answer| answer.revision),
                seen: answer.and_then(|answer| answer.seen),
                writes: (!is_read).then_some(value),
                changed: answer.is_some_and(|answer| answer.changed),
            };
            self.lock().entry(minute).or_default().push(record);
        }
    }
}

impl Kind {
    fn draw(random: &mut Random) -> Self {
        match random.below(100) {
            0..=29 => Self::Put,
            30..=34 => Self::Delete,
            35..=59 => Self::Swap,
            60..=89 => Self::Read,
            _ => Self::SerializableRead,
        }
    }
}

fn is_refusal(reason: &anyhow::Error) -> bool {
    reason.downcast_ref::<tonic::Status>().is_some_and(|status| status.code() == tonic::Code::FailedPrecondition)
}

/// The call in the terms of the checker's model. A register that is not set has the value 0 there.
fn model(kind: Kind, register: u64, value: u64, before: Seen, answer: Option<Answered>) -> Call {
    let seen = answer.and_then(|answer| answer.seen).unwrap_or_default().value;
    let (get, put) = (Step::Get { key: register }, Step::Put { key: register, value, lease: LeaseId::NONE });
    let (compares, then, otherwise, read) = match kind {
        Kind::Read | Kind::SerializableRead => return Call::Read { found: vec![(register, seen)] },
        Kind::Put | Kind::Delete => (Vec::new(), vec![get, put], Vec::new(), vec![seen]),
        Kind::Swap => {
            let read = if answer.is_some_and(|answer| answer.succeeded) { Vec::new() } else { vec![seen] };
            (vec![Compare { key: register, value: before.value }], vec![put], vec![get], read)
        }
    };
    let answer = answer.map(|answer| Answer::Transaction { succeeded: answer.succeeded, read });
    Call::Act { action: Action::Transaction { compares, then, otherwise }, answer }
}

async fn call(client: &mut KvClient<Channel>, kind: Kind, register: u64, value: u64, before: Seen) -> Result<Answered> {
    let key: tonic::codegen::Bytes = format!("/register/{register:08}").into_bytes().into();
    let text = value.to_string().into_bytes();
    let revision = |header: Option<pb::ResponseHeader>| header.map(|header| header.revision).context("no header");
    match kind {
        Kind::Put => {
            let put = pb::PutRequest { key, value: text.into(), prev_kv: true, ..Default::default() };
            let answer = client.put(put).await?.into_inner();
            let (revision, seen) = (revision(answer.header)?, Some(seen(answer.prev_kv.as_ref())?));
            Ok(Answered { revision, seen, succeeded: true, changed: true })
        }
        Kind::Delete => {
            let delete = pb::DeleteRangeRequest { key, prev_kv: true, ..Default::default() };
            let answer = client.delete_range(delete).await?.into_inner();
            let (revision, seen) = (revision(answer.header)?, Some(seen(answer.prev_kvs.first())?));
            Ok(Answered { revision, seen, succeeded: true, changed: answer.deleted > 0 })
        }
        Kind::Swap => {
            let put = pb::PutRequest { key: key.clone(), value: text.into(), ..Default::default() };
            let get = pb::RangeRequest { key: key.clone(), ..Default::default() };
            let target = compare::CompareTarget::Mod as i32;
            let target_union = Some(compare::TargetUnion::ModRevision(before.revision));
            let transaction = pb::TxnRequest {
                compare: vec![pb::Compare { key, target, target_union, ..Default::default() }],
                success: vec![pb::RequestOp { request: Some(request_op::Request::RequestPut(put)) }],
                failure: vec![pb::RequestOp { request: Some(request_op::Request::RequestRange(get)) }],
            };
            let answer = client.txn(transaction).await?.into_inner();
            let found = match answer.responses.first().and_then(|response| response.response.as_ref()) {
                Some(response_op::Response::ResponseRange(range)) => Some(seen(range.kvs.first())?),
                _ => None,
            };
            let (revision, succeeded) = (revision(answer.header)?, answer.succeeded);
            Ok(Answered { revision, seen: found, succeeded, changed: succeeded })
        }
        Kind::Read | Kind::SerializableRead => {
            let serializable = kind == Kind::SerializableRead;
            let answer = client.range(pb::RangeRequest { key, serializable, ..Default::default() }).await?.into_inner();
            let (revision, seen) = (revision(answer.header)?, Some(seen(answer.kvs.first())?));
            Ok(Answered { revision, seen, succeeded: true, changed: false })
        }
    }
}

fn seen(found: Option<&KeyValue>) -> Result<Seen> {
    let Some(found) = found else { return Ok(Seen::default()) };
    Ok(Seen { value: std::str::from_utf8(&found.value)?.parse()?, revision: found.mod_revision })
}
