//! etcd's Maintenance service. Owns the steps of its calls: parse, admit, call the engine, answer. Does not own
//! decisions (`engine`).

use mvcc::{Alarm, AlarmAction, AlarmChange, AlarmKind, Command, Response, View};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::alarm_request::AlarmAction as WireAction;
use raft::{MemberId, Role};
use tokio::sync::Mutex;
use tonic::Status;

use crate::admission::{Admitted, Answerer, Call, CallContext};
use crate::framed::Framed;
use crate::grpc::frame_message;
use crate::heavy;
use crate::observer::Request;
use crate::parse::Consistency;
use crate::status::Refusal;
use crate::version;

/// Maximum number of raised alarms. Every write looks at all of them.
const ALARMS_MAX: usize = 64;
/// Held while an alarm of a client is raised, also if the client does not wait. Each member has its own, so that the
/// members of a cluster may exceed the limit by one alarm each.
static ACTIVATION: Mutex<()> = Mutex::const_new(());

pub(super) fn status(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    call.decode::<pb::StatusRequest>()?;
    let admitted = context.admit(call, Answerer::AnyMember)?;
    let member = &admitted.status;
    let published = context.handle.published();
    let view = &published.view;
    // The size is at least 1, because etcdctl divides by it, and because etcd's database is never empty.
    let size = i64::try_from(view.size_bytes()).unwrap_or(i64::MAX).max(1);
    frame_message(&pb::StatusResponse {
        header: Some(admitted.header().at(view.revision()).into()),
        version: version::API.to_owned(),
        db_size: size,
        leader: member.leader.map_or(0, |leader| leader.0),
        // The reported commit index may lag, but every applied entry is committed.
        raft_index: member.commit.max(published.applied).0,
        raft_term: member.term.0,
        // The applied index is that of the view, because it must cover the revision in the header.
        raft_applied_index: published.applied.0,
        errors: errors(member.leader, view),
        db_size_in_use: size,
        is_learner: member.role == Role::Learner,
        storage_version: version::STORAGE.to_owned(),
        db_size_quota: i64::try_from(context.settings.quota_bytes).unwrap_or(i64::MAX),
        downgrade_info: Some(pb::DowngradeInfo::default()),
    })
}

fn errors(leader: Option<MemberId>, view: &View) -> Vec<String> {
    let no_leader = leader.is_none().then(|| Refusal::NoLeader.text().to_owned());
    no_leader.into_iter().chain(view.alarms().map(alarm_text)).collect()
}

/// Text of an alarm, as Go prints the message. Fields with the value 0 are omitted.
fn alarm_text(alarm: Alarm) -> String {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    };
    if alarm.member == 0 { format!("alarm:{kind}") } else { format!("memberID:{} alarm:{kind}", alarm.member) }
}

pub(super) async fn alarm(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let request = call.decode::<pb::AlarmRequest>()?;
    let admitted = context.admit(call, Answerer::Voter)?;
    let action = WireAction::try_from(request.action).map_err(|_| Refusal::UnknownAlarm)?;
    let kind = alarm_kind(request.alarm)?;
    match (action, kind) {
        (WireAction::Get, kind) => {
            let published = context.read(Consistency::Linearizable).await?;
            let raised = published.view.alarms().filter(|alarm| kind.is_none_or(|kind| kind == alarm.kind));
            respond(&admitted, &published.view, raised)
        }
        // As in etcd, a call without an alarm type succeeds and does nothing.
        (_, None) => respond(&admitted, &context.handle.published().view, []),
        (WireAction::Activate, Some(kind)) => {
            change_alarm(context, call, &admitted, AlarmAction::Activate, Alarm { kind, member: request.member_id })
                .await
        }
        (WireAction::Deactivate, Some(kind)) => {
            change_alarm(context, call, &admitted, AlarmAction::Deactivate, Alarm { kind, member: request.member_id })
                .await
        }
    }
}

async fn change_alarm(
    context: &CallContext,
    call: &Call,
    admitted: &Admitted,
    action: AlarmAction,
    alarm: Alarm,
) -> Result<Framed, Status> {
    let command = Command::Alarm(AlarmChange { action, alarm });
    let outcome = match action {
        AlarmAction::Activate => {
            // One at a time, so that calls at the same time do not exceed the limit together.
            let turn = ACTIVATION.lock().await;
            let published = context.handle.published();
            let is_raised = published.view.alarms().any(|raised| raised == alarm);
            if !is_raised && published.view.alarms().len() >= ALARMS_MAX {
                return Err(Refusal::TooManyAlarms.into());
            }
            context.commit_in_turn(call, admitted, Request::Alarm, command, turn).await?
        }
        AlarmAction::Deactivate => context.commit(call, admitted, Request::Alarm, command).await?,
    };
    let changed = match outcome.response {
        Response::Alarm(changed) => changed,
        other => {
            return Err(Status::internal(format!(
                "raft-node: the store's response does not match the request: {other:?}"
            )));
        }
    };
    frame_message(&pb::AlarmResponse {
        header: Some(admitted.header().at(outcome.revision).into()),
        alarms: changed.into_iter().map(wire_alarm).collect(),
    })
}

fn respond(admitted: &Admitted, view: &View, alarms: impl IntoIterator<Item = Alarm>) -> Result<Framed, Status> {
    frame_message(&pb::AlarmResponse {
        header: Some(admitted.header().at(view.revision()).into()),
        alarms: alarms.into_iter().map(wire_alarm).collect(),
    })
}

fn alarm_kind(number: i32) -> Result<Option<AlarmKind>, Refusal> {
    match pb::AlarmType::try_from(number) {
        Ok(pb::AlarmType::None) => Ok(None),
        Ok(pb::AlarmType::Nospace) => Ok(Some(AlarmKind::NoSpace)),
        Ok(pb::AlarmType::Corrupt) => Ok(Some(AlarmKind::Corrupt)),
        Err(_) => Err(Refusal::UnknownAlarm),
    }
}

fn wire_alarm(alarm: Alarm) -> pb::AlarmMember {
    let kind = match alarm.kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    };
    pb::AlarmMember { member_id: alarm.member, alarm: kind as i32 }
}

/// Answers with the hash of the store at the newest revision. etcd hashes the file of its storage engine instead.
/// Here, members with equal content have equal hashes.
pub(super) async fn hash(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    call.decode::<pb::HashRequest>()?;
    let admitted = context.admit(call, Answerer::Voter)?;
    let result = heavy::hash(context, 0).await?;
    frame_message(&pb::HashResponse { header: Some(admitted.header().at(result.revision).into()), hash: result.hash })
}

pub(super) async fn hash_kv(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let request = call.decode::<pb::HashKvRequest>()?;
    let admitted = context.admit(call, Answerer::Voter)?;
    let result = heavy::hash(context, request.revision).await?;
    frame_message(&pb::HashKvResponse {
        header: Some(admitted.header().at(result.revision).into()),
        hash: result.hash,
        compact_revision: result.compact_revision.0,
        hash_revision: result.hash_revision.0,
    })
}

pub(super) async fn move_leader(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    let request = call.decode::<pb::MoveLeaderRequest>()?;
    let admitted = context.admit(call, Answerer::Voter)?;
    let member = &admitted.status;
    if member.leader != Some(member.member) {
        return Err(Refusal::NotLeader.into());
    }
    let target = MemberId(request.target_id);
    if !member.configuration.voters.contains(&target) {
        return Err(Refusal::BadTransferee.into());
    }
    if target != member.member {
        context.handle.transfer(Some(target)).await.map_err(Refusal::from)?;
    }
    frame_message(&pb::MoveLeaderResponse::default())
}

/// Succeeds without doing anything, because the store never fragments: it frees memory immediately, and the log is
/// purged automatically.
pub(super) fn defragment(context: &CallContext, call: &Call) -> Result<Framed, Status> {
    call.decode::<pb::DefragmentRequest>()?;
    context.admit(call, Answerer::Voter)?;
    frame_message(&pb::DefragmentResponse::default())
}

/// Refuses a method of etcd that this version does not implement.
pub(super) fn refuse_absent(context: &CallContext, call: &Call, refusal: Refusal) -> Result<Framed, Status> {
    context.admit(call, Answerer::Voter)?;
    Err(refusal.into())
}

#[cfg(test)]
mod tests {
    use mvcc::Store;

    use super::*;

    fn raised(kind: AlarmKind) -> View {
        let mut store = Store::new();
        let alarm = Alarm { kind, member: 7 };
        store.apply(1, &Command::Alarm(AlarmChange { action: AlarmAction::Activate, alarm })).unwrap();
        store.view()
    }

    /// The expected errors are those of etcd's API, `StatusResponse.errors`.
    #[test]
    fn status_lists_alarms_and_a_missing_leader() {
        assert_eq!(errors(Some(MemberId(1)), &Store::new().view()), Vec::<String>::new());
        assert_eq!(errors(None, &Store::new().view()), ["etcdserver: no leader"]);
        assert_eq!(errors(None, &raised(AlarmKind::NoSpace)), ["etcdserver: no leader", "memberID:7 alarm:NOSPACE"]);
        assert_eq!(errors(Some(MemberId(1)), &raised(AlarmKind::Corrupt)), ["memberID:7 alarm:CORRUPT"]);
    }

    #[test]
    fn alarm_kinds_have_the_numbers_of_etcd() {
        assert_eq!(alarm_kind(0), Ok(None));
        assert_eq!(alarm_kind(1), Ok(Some(AlarmKind::NoSpace)));
        assert_eq!(alarm_kind(2), Ok(Some(AlarmKind::Corrupt)));
        assert_eq!(alarm_kind(3), Err(Refusal::UnknownAlarm));
        let alarm = Alarm { kind: AlarmKind::Corrupt, member: 7 };
        assert_eq!(wire_alarm(alarm), pb::AlarmMember { member_id: 7, alarm: 2 });
    }
}
