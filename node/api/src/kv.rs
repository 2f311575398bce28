//! etcd's KV service. Owns the steps of its calls: parse, admit, call the engine, answer. Does not own decisions
//! (`engine`).

use mvcc::{Command, Outcome, Response, Revision};
use proto::etcdserverpb as pb;
use tonic::Status;

use crate::admission::{Admitted, Answerer, Call, CallContext, refuse_expensive};
use crate::answer::framed;
use crate::framed::Framed;
use crate::heavy;
use crate::observer::{PendingRequest, Request};
use crate::parse::{self, Consistency};
use crate::status::Refusal;

pub(super) async fn put(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let request = call.decode::<pb::PutRequest>()?;
    let admitted = context.admit(call, Answerer::Voter)?;
    let command = Command::Put(parse::put(request));
    context.check_quota(&command).await?;
    command.validate().map_err(Refusal::from)?;
    let outcome = context.commit(call, &admitted, Request::Put, command).await?;
    match &outcome.response {
        Response::Put(result) => framed(&(admitted.header().at(outcome.revision), result)),
        _ => Err(mismatch(&outcome)),
    }
}

pub(super) async fn delete_range(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let request = call.decode::<pb::DeleteRangeRequest>()?;
    let admitted = context.admit(call, Answerer::Voter)?;
    let command = Command::DeleteRange(parse::delete_range(request));
    command.validate().map_err(Refusal::from)?;
    if let Command::DeleteRange(deletion) = &command
        && deletion.prev_kv
    {
        heavy::check_deletion(context, call, context.handle.published(), deletion).await?;
    }
    let outcome = context.commit(call, &admitted, Request::DeleteRange, command).await?;
    match outcome.response {
        response @ Response::DeleteRange(_) => {
            heavy::answer_write(context, admitted.header().at(outcome.revision), response).await
        }
        _ => Err(mismatch(&outcome)),
    }
}

pub(super) async fn txn(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let (request, _operations) = call.decode_txn().await?;
    let admitted = context.admit(call, Answerer::Voter)?;
    let (txn, consistency) = parse::txn(request);
    if txn.is_read_only() {
        return read_only_txn(context, call, &admitted, txn, consistency).await;
    }
    let command = Command::Txn(txn);
    context.check_quota(&command).await?;
    command.validate().map_err(Refusal::from)?;
    if let Command::Txn(txn) = &command {
        let published = context.handle.published();
        refuse_expensive(&published.view, txn)?;
        heavy::check_txn(context, call, published, txn).await?;
    }
    let outcome = context.commit(call, &admitted, Request::Txn, command).await?;
    match outcome.response {
        response @ Response::Txn(_) => {
            heavy::answer_write(context, admitted.header().at(outcome.revision), response).await
        }
        _ => Err(mismatch(&outcome)),
    }
}

/// Executes a transaction that only reads. Such a transaction does not go through the log.
async fn read_only_txn(
    context: &CallContext,
    call: &Call,
    admitted: &Admitted,
    txn: mvcc::Txn,
    consistency: Consistency,
) -> Result<Framed, Status> {
    txn.validate().map_err(Refusal::from)?;
    let pending = PendingRequest::begin(&*context.observer, Request::ReadonlyTxn);
    let published = context.read(consistency).await?;
    let answer = match refuse_expensive(&published.view, &txn) {
        Ok(()) => heavy::read(context, call, admitted.header(), published, txn).await,
        Err(refusal) => Err(refusal.into()),
    };
    pending.end(&answer);
    answer
}

pub(super) async fn range(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let request = call.decode::<pb::RangeRequest>()?;
    let consistency = Consistency::of(request.serializable);
    let answerer = match consistency {
        Consistency::Serializable => Answerer::AnyMember,
        Consistency::Linearizable => Answerer::Voter,
    };
    let admitted = context.admit(call, answerer)?;
    let range = parse::range(request);
    range.validate().map_err(Refusal::from)?;
    let pending = PendingRequest::begin(&*context.observer, Request::Range);
    let published = context.read(consistency).await?;
    let answer = heavy::read(context, call, admitted.header(), published, range).await;
    pending.end(&answer);
    if answer.is_ok() {
        context.observer.range_read();
    }
    answer
}

pub(super) async fn compact(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let request = call.decode::<pb::CompactionRequest>()?;
    let admitted = context.admit(call, Answerer::Voter)?;
    let command = Command::Compact(parse::compact(&request));
    let outcome = context.commit(call, &admitted, Request::Compaction, command).await?;
    if request.physical {
        tokio::select! {
            () = context.handle.removed(Revision(request.revision)) => {}
            () = context.handle.stopping() => return Err(Refusal::Stopped.into()),
        }
    }
    framed(&admitted.header().at(outcome.revision))
}

fn mismatch(outcome: &Outcome) -> Status {
    Status::internal(format!("raft-node: the store's response does not match the request: {:?}", outcome.response))
}
