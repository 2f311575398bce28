//! The admin service of simulated members, as the operator's client calls it. Owns the conversion between messages and
//! the calls of `members/calls.rs`. Does not own the answers.

use std::convert::Infallible;

use plan::action::Change;
use plan::ids::MemberId;
use plan::observed::failure::FailureCause;
use plan::observed::member::{Configuration, MemberInfo, MemberPhase, RaftRole, Report};
use plan::observed::refusal::RefusalReason;
use prost::Message;
use proto::admin as wire;
use proto::admin::admin_server::{Admin, AdminServer};
use raft_operator::member::client::Members;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use tower::util::{BoxCloneService, ServiceExt};

use super::requests::{Queue, call};
use crate::members::CallError;
use crate::members::calls::{MemberCall, MemberReply};

/// Creates the connections to members. Each call becomes a pending request.
pub(super) fn members(queue: &Queue) -> Members {
    let queue = queue.clone();
    Members::over(move |address| {
        let service = AdminServer::new(AdminService { queue: queue.clone(), address: address.to_owned() });
        let service = ServiceExt::<http::Request<Body>>::map_err(service, |never: Infallible| match never {});
        Ok(BoxCloneService::new(service))
    })
}

/// The admin service at one address.
#[derive(Debug)]
struct AdminService {
    queue: Queue,
    /// Address of a pod, which is the pod's UID.
    address: String,
}

impl AdminService {
    async fn call<T>(&self, request: &Request<T>, made: MemberCall) -> Result<MemberReply, Status> {
        let token = request.metadata().get("raft-token").and_then(|token| token.to_str().ok()).map(str::to_owned);
        call(&self.queue, self.address.clone(), token, made).await.map_err(status)
    }

    async fn order<T>(&self, request: &Request<T>, made: MemberCall) -> Result<(), Status> {
        self.call(request, made).await.map(drop)
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn describe(
        &self,
        request: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DescribeResponse>, Status> {
        match self.call(&request, MemberCall::Describe).await? {
            MemberReply::Report(report) => Ok(Response::new(describe(&report))),
            MemberReply::Configuration(_) | MemberReply::Done => unreachable!("it asked for a report"),
        }
    }

    async fn configuration(
        &self,
        request: Request<wire::ConfigurationRequest>,
    ) -> Result<Response<wire::ConfigurationResponse>, Status> {
        match self.call(&request, MemberCall::Configuration).await? {
            MemberReply::Configuration(found) => {
                Ok(Response::new(wire::ConfigurationResponse { configuration: Some(configuration(&found)) }))
            }
            MemberReply::Report(_) | MemberReply::Done => unreachable!("it asked for a configuration"),
        }
    }

    async fn bootstrap(
        &self,
        request: Request<wire::BootstrapRequest>,
    ) -> Result<Response<wire::BootstrapResponse>, Status> {
        let message = request.get_ref();
        let made = MemberCall::Bootstrap {
            cluster: parse(&message.cluster_id)?,
            token: message.token.clone(),
            voters: message.voters.iter().map(member).collect::<Result<_, _>>()?,
        };
        self.order(&request, made).await?;
        Ok(Response::new(wire::BootstrapResponse {}))
    }

    async fn restore(&self, request: Request<wire::RestoreRequest>) -> Result<Response<wire::RestoreResponse>, Status> {
        let message = request.get_ref();
        let (id, info) = member(message.self_.as_ref().unwrap_or(&wire::MemberInfo::default()))?;
        let (cluster, token) = (parse(&message.cluster_id)?, message.token.clone());
        self.order(&request, MemberCall::Restore { cluster, token, id, info }).await?;
        Ok(Response::new(wire::RestoreResponse {}))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        let message = request.get_ref();
        let (id, _) = member(message.self_.as_ref().unwrap_or(&wire::MemberInfo::default()))?;
        let (cluster, token) = (parse(&message.cluster_id)?, message.token.clone());
        let level = message.feature_level.max(1);
        self.order(&request, MemberCall::Join { cluster, token, id, level }).await?;
        Ok(Response::new(wire::JoinResponse {}))
    }

    async fn change_membership(
        &self,
        request: Request<wire::ChangeMembershipRequest>,
    ) -> Result<Response<wire::ChangeMembershipResponse>, Status> {
        let message = request.get_ref();
        let change = Change {
            expected: message.expected_index,
            // The request does not contain it: only the planner uses it.
            present_voters: 0,
            voters: ids(&message.voters)?,
            learners: ids(&message.learners)?,
            members: message.members.iter().map(member).collect::<Result<_, _>>()?,
        };
        self.order(&request, MemberCall::ChangeMembership(change)).await?;
        Ok(Response::new(wire::ChangeMembershipResponse::default()))
    }

    async fn transfer_leadership(
        &self,
        request: Request<wire::TransferLeadershipRequest>,
    ) -> Result<Response<wire::TransferLeadershipResponse>, Status> {
        let target = parse(&request.get_ref().target)?;
        self.order(&request, MemberCall::TransferLeadership(target)).await?;
        Ok(Response::new(wire::TransferLeadershipResponse::default()))
    }

    async fn raise_feature_level(
        &self,
        request: Request<wire::RaiseFeatureLevelRequest>,
    ) -> Result<Response<wire::RaiseFeatureLevelResponse>, Status> {
        let level = request.get_ref().to;
        self.order(&request, MemberCall::RaiseFeatureLevel(level)).await?;
        Ok(Response::new(wire::RaiseFeatureLevelResponse { level }))
    }

    async fn backup(&self, _: Request<wire::BackupRequest>) -> Result<Response<wire::BackupResponse>, Status> {
        Err(Status::unimplemented("simulated members make no backups"))
    }

    async fn probe_object_store(
        &self,
        _: Request<wire::ProbeObjectStoreRequest>,
    ) -> Result<Response<wire::ProbeObjectStoreResponse>, Status> {
        Err(Status::unimplemented("simulated members have no object store"))
    }
}

/// Returns the status of a failed call, with the trailers that a member sends.
fn status(error: CallError) -> Status {
    match error {
        CallError::Unreachable => Status::unavailable("no answer"),
        CallError::Unauthenticated => Status::unauthenticated("raft-token is not this cluster's token"),
        CallError::Refused(RefusalReason::Other) => Status::failed_precondition("the member has another identity"),
        CallError::Refused(reason) => {
            let mut status = Status::new(Code::FailedPrecondition, format!("refused: {}", reason.name()));
            let bytes = wire::Refusal { reason: number(reason) }.encode_to_vec();
            status.metadata_mut().insert_bin("raft-refusal-bin", MetadataValue::from_bytes(&bytes));
            status
        }
    }
}

fn number(reason: RefusalReason) -> i32 {
    use wire::RefusalReason as Wire;
    let reason = match reason {
        RefusalReason::NotLeader => Wire::NotLeader,
        RefusalReason::Stale => Wire::Stale,
        RefusalReason::InFlight => Wire::InFlight,
        RefusalReason::TermNotCommitted => Wire::TermNotCommitted,
        RefusalReason::Transferring => Wire::Transferring,
        RefusalReason::NoVoters => Wire::NoVoters,
        RefusalReason::TooManyVoters => Wire::TooManyVoters,
        RefusalReason::Overlap => Wire::Overlap,
        RefusalReason::UnknownMember => Wire::UnknownMember,
        RefusalReason::WasRemoved => Wire::WasRemoved,
        RefusalReason::NotLearner => Wire::NotLearner,
        RefusalReason::LearnerBehind => Wire::LearnerBehind,
        RefusalReason::QuorumAtRisk => Wire::QuorumAtRisk,
        RefusalReason::NotServing => Wire::NotServing,
        RefusalReason::TooOld => Wire::TooOld,
        RefusalReason::LevelHeld => Wire::LevelHeld,
        RefusalReason::Other | RefusalReason::Unrecognized { .. } => Wire::Unspecified,
    };
    reason as i32
}

fn describe(report: &Report) -> wire::DescribeResponse {
    let phase = match report.phase {
        MemberPhase::Blank => wire::Phase::Blank,
        MemberPhase::Restoring => wire::Phase::Restoring,
        MemberPhase::Member => wire::Phase::Member,
        MemberPhase::Removed => wire::Phase::Removed,
        MemberPhase::Damaged => wire::Phase::Damaged,
        MemberPhase::TooNew => wire::Phase::TooNew,
        MemberPhase::Repairing => wire::Phase::Repairing,
    };
    let role = match report.role {
        RaftRole::Unknown => wire::Role::Unspecified,
        RaftRole::Follower => wire::Role::Follower,
        RaftRole::Learner => wire::Role::Learner,
        RaftRole::PreCandidate => wire::Role::PreCandidate,
        RaftRole::Candidate => wire::Role::Candidate,
        RaftRole::Leader => wire::Role::Leader,
        RaftRole::ShuttingDown => wire::Role::ShuttingDown,
    };
    let progress = report.progress.iter().map(|(id, about)| wire::Progress {
        member_id: id.to_string(),
        matched_index: about.matched,
        active: about.active,
        snapshotting: about.snapshotting,
    });
    wire::DescribeResponse {
        member_id: report.id.map(|id| id.to_string()).unwrap_or_default(),
        phase: phase as i32,
        cluster_id: report.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(),
        role: role as i32,
        leader: report.leader.map(|leader| leader.to_string()).unwrap_or_default(),
        term: report.term,
        commit_index: report.commit,
        last_index: report.last,
        configuration: report.configuration.as_ref().map(configuration),
        progress: progress.collect(),
        version: report.version.clone(),
        error: report.error.clone().unwrap_or_default(),
        restore: report.restore.as_ref().map(|restore| wire::RestoreProgress {
            bytes_done: restore.bytes_done,
            bytes_total: restore.bytes_total,
            cause_code: restore.cause.map_or(0, cause),
            ..wire::RestoreProgress::default()
        }),
        feature_level: report.level,
        feature_level_supported: report.supports,
        repair: report.repair.as_ref().map(|repair| wire::Repair {
            bytes_done: repair.bytes_done,
            bytes_total: repair.bytes_total,
            stalled_ms: u64::try_from(repair.stalled.as_millis()).unwrap_or(u64::MAX),
            what: repair.what.clone(),
        }),
        ..wire::DescribeResponse::default()
    }
}

/// The only cause for which a simulated restore fails is a store that does not answer.
fn cause(cause: FailureCause) -> i32 {
    assert_eq!(cause, FailureCause::StoreUnreachable, "a simulated restore fails for one reason only");
    wire::FailureCause::StoreUnreachable as i32
}

fn configuration(of: &Configuration) -> wire::Configuration {
    let texts = |ids: &std::collections::BTreeSet<MemberId>| ids.iter().map(MemberId::to_string).collect();
    let members = of.members.iter().map(|(id, info)| wire::MemberInfo {
        id: id.to_string(),
        name: info.name.clone(),
        peer_url: info.peer_url.clone(),
        client_url: info.client_url.clone(),
    });
    wire::Configuration {
        index: of.index,
        voters: texts(&of.voters),
        outgoing: texts(&of.outgoing),
        learners: texts(&of.learners),
        learners_next: texts(&of.learners_next),
        members: members.collect(),
        removed: texts(&of.removed),
    }
}

fn member(of: &wire::MemberInfo) -> Result<(MemberId, MemberInfo), Status> {
    let info = MemberInfo { name: of.name.clone(), peer_url: of.peer_url.clone(), client_url: of.client_url.clone() };
    Ok((parse(&of.id)?, info))
}

fn ids(texts: &[String]) -> Result<Vec<MemberId>, Status> {
    texts.iter().map(|text| parse(text)).collect()
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Status>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Status::invalid_argument(error.to_string()))
}
