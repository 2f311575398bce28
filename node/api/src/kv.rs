//! etcd's KV service. Parses, asks, answers; owns no decision.

use std::time::Instant;

use bytes::Bytes;
use mvcc::{Command, Outcome, Response};
use proto::etcdserverpb as pb;
use tonic::Status;

use crate::answer::framed;
use crate::door::{Admitted, Answerer, Call, Door};
use crate::observer::{Request, Success};
use crate::parse::{self, Consistency};
use crate::status::Refusal;

pub(super) async fn put(door: &Door, call: &Call) -> Result<Bytes, Status> {
    let request = call.decode::<pb::PutRequest>()?;
    let admitted = door.admit(call, Answerer::Voter)?;
    let command = Command::Put(parse::put(request));
    door.check_quota(&command).await?;
    command.validate().map_err(Refusal::from)?;
    let outcome = door.commit(call, &admitted, Request::Put, command).await?;
    match &outcome.response {
        Response::Put(result) => framed(&(admitted.header().at(outcome.revision), result)),
        _ => Err(mismatch(&outcome)),
    }
}

pub(super) async fn delete_range(door: &Door, call: &Call) -> Result<Bytes, Status> {
    let request = call.decode::<pb::DeleteRangeRequest>()?;
    let admitted = door.admit(call, Answerer::Voter)?;
    let command = Command::DeleteRange(parse::delete_range(request));
    command.validate().map_err(Refusal::from)?;
    let outcome = door.commit(call, &admitted, Request::DeleteRange, command).await?;
    match &outcome.response {
        Response::DeleteRange(result) => framed(&(admitted.header().at(outcome.revision), result)),
        _ => Err(mismatch(&outcome)),
    }
}

pub(super) async fn txn(door: &Door, call: &Call) -> Result<Bytes, Status> {
    let request = call.decode::<pb::TxnRequest>()?;
    let admitted = door.admit(call, Answerer::Voter)?;
    let (txn, consistency) = parse::txn(request);
    if txn.is_read_only() {
        return read_only_txn(door, &admitted, &txn, consistency).await;
    }
    let command = Command::Txn(txn);
    door.check_quota(&command).await?;
    command.validate().map_err(Refusal::from)?;
    let outcome = door.commit(call, &admitted, Request::Txn, command).await?;
    match &outcome.response {
        Response::Txn(result) => framed(&(admitted.header().at(outcome.revision), result)),
        _ => Err(mismatch(&outcome)),
    }
}

/// A transaction of ranges alone needs no log.
async fn read_only_txn(
    door: &Door,
    admitted: &Admitted,
    txn: &mvcc::Txn,
    consistency: Consistency,
) -> Result<Bytes, Status> {
    txn.validate().map_err(Refusal::from)?;
    let asked = Instant::now();
    let published = door.read(consistency).await?;
    let result = published.view.txn(txn).map_err(Refusal::from);
    door.observer.request(Request::ReadonlyTxn, Success::of(&result), asked.elapsed());
    let result = result?;
    door.observer.transaction(&result);
    framed(&(admitted.header().at(published.view.revision()), &result))
}

pub(super) async fn range(door: &Door, call: &Call) -> Result<Bytes, Status> {
    let request = call.decode::<pb::RangeRequest>()?;
    let consistency = Consistency::of(request.serializable);
    let answerer = match consistency {
        Consistency::Serializable => Answerer::Anyone,
        Consistency::Linearizable => Answerer::Voter,
    };
    let admitted = door.admit(call, answerer)?;
    let range = parse::range(request);
    range.validate().map_err(Refusal::from)?;
    let asked = Instant::now();
    let result = match door.read(consistency).await {
        Ok(published) => published.view.range(&range).map_err(Refusal::from),
        Err(refusal) => Err(refusal),
    };
    door.observer.request(Request::Range, Success::of(&result), asked.elapsed());
    let result = result?;
    door.observer.range_read();
    framed(&(admitted.header().at(result.revision), &result))
}

pub(super) async fn compact(door: &Door, call: &Call) -> Result<Bytes, Status> {
    let request = call.decode::<pb::CompactionRequest>()?;
    let admitted = door.admit(call, Answerer::Voter)?;
    let command = Command::Compact(parse::compact(&request));
    let outcome = door.commit(call, &admitted, Request::Compaction, command).await?;
    framed(&admitted.header().at(outcome.revision))
}

fn mismatch(outcome: &Outcome) -> Status {
    Status::internal(format!("raft-node: the store answered another request: {:?}", outcome.response))
}
