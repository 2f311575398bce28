//! Tests of the admin service over a real connection: authentication, idempotence, refusals.

use std::time::Duration;

use proto::admin as wire;
use tonic::{Code, Request};

use crate::member::{CLUSTER, Member, TOKEN, refusal, with_token};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_the_token_a_blank_member_describes_itself_and_a_member_reports_only_its_phase() {
    let member = Member::blank("demo-1");
    let mut admin = member.admin().await;
    let blank = admin.describe(wire::DescribeRequest {}).await.unwrap().into_inner();
    assert_eq!((blank.phase(), blank.cluster_id.as_str()), (wire::Phase::Blank, ""));
    assert_ne!(blank.member_id, "");

    member.bootstrap_alone().await;
    let stranger = admin.describe(wire::DescribeRequest {}).await.unwrap().into_inner();
    let expected = wire::DescribeResponse { phase: wire::Phase::Member as i32, ..wire::DescribeResponse::default() };
    assert_eq!(stranger, expected);
    let wrong = admin.describe(with_token(wire::DescribeRequest {}, "wrong")).await;
    assert_eq!(refusal(wrong).0, Code::Unauthenticated);

    let known = member.describe().await;
    assert_eq!((&known.member_id, known.cluster_id.as_str()), (&blank.member_id, CLUSTER));
    assert_eq!((known.phase(), known.role()), (wire::Phase::Member, wire::Role::Leader));
    assert_eq!((known.name.as_str(), known.revision), ("demo-1", 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_call_needs_the_token() {
    let member = Member::alone().await;
    let mut admin = member.admin().await;
    for token in [None, Some("wrong")] {
        macro_rules! refused {
            ($method:ident, $message:expr) => {{
                let mut request = Request::new($message);
                if let Some(token) = token {
                    request = with_token(request.into_inner(), token);
                }
                let (code, text) = refusal(admin.$method(request).await);
                assert_eq!(code, Code::Unauthenticated, "{}: {text}", stringify!($method));
            }};
        }
        refused!(bootstrap, member.record(vec![]));
        refused!(join, wire::JoinRequest::default());
        refused!(restore, wire::RestoreRequest::default());
        refused!(configuration, wire::ConfigurationRequest {});
        refused!(change_membership, wire::ChangeMembershipRequest::default());
        refused!(transfer_leadership, wire::TransferLeadershipRequest::default());
        refused!(backup, wire::BackupRequest::default());
        refused!(probe_object_store, wire::ProbeObjectStoreRequest::default());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_identity_is_adopted_once_and_the_same_request_succeeds_again() {
    let member = Member::blank("demo-1");
    let mut admin = member.admin().await;
    let record = member.record(vec![member.info().await]);
    let without = admin.bootstrap(record.clone()).await;
    assert_eq!(refusal(without).0, Code::Unauthenticated, "a blank member requires the token too");
    let mut stranger = record.clone();
    stranger.voters[0].id = "ab".to_owned();
    assert_eq!(refusal(admin.bootstrap(with_token(stranger, TOKEN)).await).0, Code::FailedPrecondition);
    let mut broken = record.clone();
    broken.cluster_id = "short".to_owned();
    assert_eq!(
        refusal(admin.bootstrap(with_token(broken, TOKEN)).await),
        (Code::InvalidArgument, "cluster_id: \"short\" is not a cluster ID: give 32 hexadecimal digits".to_owned())
    );
    assert_eq!(member.describe().await.phase(), wire::Phase::Blank, "no refused request had an effect");

    for _ in 0..2 {
        admin.bootstrap(with_token(record.clone(), TOKEN)).await.expect("the same identity again succeeds");
    }
    let mut other = record;
    other.cluster_id = "ff".repeat(16);
    assert_eq!(refusal(admin.bootstrap(with_token(other, TOKEN)).await).0, Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refused_change_names_its_reason() {
    let member = Member::alone().await;
    let mut admin = member.admin().await;
    let known = admin.configuration(with_token(wire::ConfigurationRequest {}, TOKEN)).await.unwrap().into_inner();
    let known = known.configuration.unwrap();
    let info = member.info().await;
    assert_eq!((&known.voters, &known.members), (&vec![info.id.clone()], &vec![info.clone()]));

    let same = wire::ChangeMembershipRequest {
        expected_index: known.index,
        voters: vec![info.id.clone()],
        learners: vec![],
        members: vec![info.clone()],
    };
    let index = admin.change_membership(with_token(same.clone(), TOKEN)).await.unwrap().into_inner().index;
    assert_eq!(index, known.index, "a change whose target is the present configuration adds no entry");

    let reason = async |request: wire::ChangeMembershipRequest| {
        let status = member.admin().await.change_membership(with_token(request, TOKEN)).await.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        let bytes = status.metadata().get_bin("raft-refusal-bin").expect("a refusal has a reason").to_bytes().unwrap();
        let reason = <wire::Refusal as prost::Message>::decode(bytes).expect("a Refusal").reason();
        let name = status.metadata().get("raft-refusal").expect("a refusal has a name").to_str().unwrap().to_owned();
        (reason, name)
    };
    let mut newcomer = info.clone();
    newcomer.id = "ab".to_owned();
    let stale = wire::ChangeMembershipRequest {
        expected_index: known.index + 1,
        learners: vec!["ab".to_owned()],
        members: vec![info.clone(), newcomer.clone()],
        ..same.clone()
    };
    assert_eq!(reason(stale).await, (wire::RefusalReason::Stale, "Stale".to_owned()));
    let voter = wire::ChangeMembershipRequest {
        voters: vec![info.id.clone(), "ab".to_owned()],
        members: vec![info.clone(), newcomer],
        ..same.clone()
    };
    assert_eq!(reason(voter).await, (wire::RefusalReason::NotLearner, "NotLearner".to_owned()));
    let without_voters = wire::ChangeMembershipRequest { voters: vec![], members: vec![], ..same.clone() };
    assert_eq!(reason(without_voters).await, (wire::RefusalReason::NoVoters, "NoVoters".to_owned()));
    let nameless = wire::ChangeMembershipRequest { learners: vec!["ab".to_owned()], ..same };
    assert_eq!(reason(nameless).await, (wire::RefusalReason::UnknownMember, "Unknown".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_transfer_to_an_unknown_member_is_refused() {
    let member = Member::alone().await;
    let mut admin = member.admin().await;
    let to = |target: &str| with_token(wire::TransferLeadershipRequest { target: target.to_owned() }, TOKEN);
    assert_eq!(refusal(admin.transfer_leadership(to("ab")).await).0, Code::FailedPrecondition);
    assert_eq!(
        refusal(admin.transfer_leadership(to("none")).await),
        (
            Code::InvalidArgument,
            "target: \"none\" is not a member ID: give 1 to 16 hexadecimal digits, not all zero".to_owned()
        )
    );
}

/// Anyone can open connections to the port of members. The pings of HTTP/2 keep them open without a call.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn connections_without_an_accepted_call_keep_no_operator_out() {
    const MORE_THAN_ALLOWED: usize = 80;
    let member = Member::alone().await;
    let mut idle = Vec::new();
    for _ in 0..MORE_THAN_ALLOWED {
        let endpoint = tonic::transport::Endpoint::from_shared(member.peer_url()).expect("a URL");
        idle.push(
            endpoint.http2_keep_alive_interval(Duration::from_secs(1)).keep_alive_while_idle(true).connect().await,
        );
    }
    assert!(idle.iter().all(Result::is_ok), "the oldest one ends for each newcomer");
    let said = member.admin().await.describe(with_token(wire::DescribeRequest {}, TOKEN)).await.expect("an answer");
    assert_eq!(said.into_inner().phase(), wire::Phase::Member);
}
