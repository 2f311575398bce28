//! Tests of etcd's Cluster service and of membership changes: which requests a learner serves, and the promotion of a
//! learner.

use proto::admin as wire;
use proto::etcdserverpb as pb;
use proto::etcdserverpb::cluster_client::ClusterClient;
use proto::peer::peer_client::PeerClient;
use proto::peer::{Frame, Greeting, frame};
use tonic::Code;
use tonic::transport::Channel;

use crate::member::{CLUSTER, Member, TOKEN, eventually, refusal, with_token};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn members_are_listed_and_changed_only_by_the_operator() {
    let member = Member::alone().await;
    let mut cluster = member.cluster().await;
    let info = member.info().await;
    let expected = pb::Member {
        id: u64::from_str_radix(&info.id, 16).unwrap(),
        name: "demo-1".to_owned(),
        peer_ur_ls: vec![info.peer_url],
        client_ur_ls: vec![info.client_url],
        is_learner: false,
    };
    for linearizable in [true, false] {
        let list = listed(&mut cluster, linearizable).await;
        assert_eq!(list.members, std::slice::from_ref(&expected));
        assert_eq!(list.header.unwrap().revision, 0, "answers about the cluster have no revision");
    }

    let text = "raft-node: the operator owns membership: scale the RaftCluster instead, as by kubectl scale";
    let refused = (Code::FailedPrecondition, text.to_owned());
    let add = pb::MemberAddRequest { peer_ur_ls: vec!["http://x:2380".to_owned()], is_learner: false };
    assert_eq!(refusal(cluster.member_add(add).await), refused);
    assert_eq!(refusal(cluster.member_remove(pb::MemberRemoveRequest { id: expected.id }).await), refused);
    let update = pb::MemberUpdateRequest { id: expected.id, peer_ur_ls: vec![] };
    assert_eq!(refusal(cluster.member_update(update).await), refused);
    assert_eq!(refusal(cluster.member_promote(pb::MemberPromoteRequest { id: expected.id }).await), refused);
}

/// The port of members does not authenticate its callers yet, so it does not tell them the IDs that they would need.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_refused_greeting_is_not_told_who_refused_it() {
    let member = Member::alone().await;
    let id = u64::from_str_radix(&member.info().await.id, 16).unwrap();
    let cluster: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&CLUSTER[2 * at..2 * at + 2], 16).unwrap()).collect();
    let good = Greeting { cluster_id: cluster.into(), from: 7, to: id, protocol: 1, ..Greeting::default() };
    let wrong = [
        Greeting { cluster_id: vec![9; 16].into(), ..good.clone() },
        Greeting { to: 8, ..good.clone() },
        Greeting { from: 0, ..good.clone() },
        Greeting { protocol: 9, ..good },
    ];
    let mut refusals = Vec::new();
    for greeting in wrong {
        let mut peer = PeerClient::connect(member.peer_url()).await.expect("the port is served");
        let frame = Frame { kind: Some(frame::Kind::Greeting(greeting)) };
        refusals.push(refusal(peer.deliver(futures::stream::iter([frame])).await));
    }
    let (code, text) = refusals[0].clone();
    assert_eq!(code, Code::FailedPrecondition);
    assert!(!text.contains(CLUSTER) && !text.contains(&member.info().await.id), "{text}");
    assert!(refusals.iter().all(|refused| *refused == refusals[0]), "{refusals:?}");
}

/// Returns the list of members. The call is repeated until it succeeds, because a linearizable list has a timeout of
/// one second, which a busy machine may exceed.
async fn listed(cluster: &mut ClusterClient<Channel>, linearizable: bool) -> pb::MemberListResponse {
    let request = pb::MemberListRequest { linearizable };
    eventually("members are listed", async || cluster.member_list(request).await).await.into_inner()
}

pub(crate) async fn change(
    leader: &Member,
    voters: Vec<wire::MemberInfo>,
    learners: Vec<wire::MemberInfo>,
) -> Result<u64, tonic::Status> {
    let mut admin = leader.admin().await;
    let request = with_token(wire::ConfigurationRequest {}, TOKEN);
    let known = admin.configuration(request).await?.into_inner().configuration.unwrap_or_default();
    let ids = |members: &[wire::MemberInfo]| members.iter().map(|member| member.id.clone()).collect();
    let wanted = wire::ChangeMembershipRequest {
        expected_index: known.index,
        voters: ids(&voters),
        learners: ids(&learners),
        members: voters.into_iter().chain(learners).collect(),
    };
    Ok(admin.change_membership(with_token(wanted, TOKEN)).await?.into_inner().index)
}

async fn joined(name: &str, flags: &[&str]) -> Member {
    let member = Member::blank_with(name, flags);
    member.admin().await.join(with_token(join_request(&member).await, TOKEN)).await.expect("a blank member joins");
    member
}

/// The Join request for a blank member, as a former operator sends it.
pub(crate) async fn join_request(member: &Member) -> wire::JoinRequest {
    wire::JoinRequest {
        cluster_id: CLUSTER.to_owned(),
        token: TOKEN.to_owned(),
        self_: Some(member.info().await),
        ..wire::JoinRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_learner_serves_local_reads_only_until_it_becomes_a_voter() {
    // The timeouts are long, so that an election on a busy machine is unlikely.
    let flags = ["--election-timeout=1s", "--heartbeat-interval=100ms"];
    let leader = Member::blank_with("demo-1", &flags);
    leader.bootstrap_alone().await;
    leader.put("k", "v").await;
    let second = joined("demo-2", &flags).await;
    let read = |serializable| pb::RangeRequest { key: "k".into(), serializable, ..pb::RangeRequest::default() };
    let waiting = second.kv().await.range(read(true)).await;
    assert_eq!(
        refusal(waiting),
        (Code::Unavailable, "raft-node: this member belongs to no cluster yet: connect to another member".to_owned()),
        "a member that was not added yet must not answer as if it were empty"
    );
    assert_eq!(second.probe("GET", "/readyz?exclude=linearizable_read&exclude=non_learner").await.code, 503);

    let (one, two) = (leader.info().await, second.info().await);
    change(&leader, vec![one.clone()], vec![two.clone()]).await.unwrap();
    let mut kv = second.kv().await;
    eventually("the learner has the key", async || match kv.range(read(true)).await {
        Ok(answer) if answer.get_ref().count == 1 => Ok(()),
        other => Err(other),
    })
    .await;
    let unsupported = (Code::FailedPrecondition, "etcdserver: rpc not supported for learner".to_owned());
    assert_eq!(refusal(kv.range(read(false)).await), unsupported);
    let put = pb::PutRequest { key: "k".into(), ..pb::PutRequest::default() };
    assert_eq!(refusal(kv.put(put.clone()).await), unsupported);
    assert_eq!(refusal(kv.range_stream(read(true)).await.map(|_| ())), unsupported);
    let list = pb::MemberListRequest { linearizable: false };
    assert_eq!(refusal(second.cluster().await.member_list(list).await), unsupported);
    let status = second.maintenance().await.unwrap().status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert!(status.is_learner);
    let ready = second.probe("GET", "/readyz/non_learner").await;
    assert_eq!((ready.code, ready.body.as_str()), (503, "[-]non_learner failed: not supported for learner\n\n"));
    assert_eq!(second.probe("GET", "/readyz?exclude=linearizable_read&exclude=non_learner").await.code, 200);

    eventually("the learner is promoted", async || change(&leader, vec![one.clone(), two.clone()], vec![]).await).await;
    eventually("the new voter writes", async || kv.put(put.clone()).await).await;
    let members = listed(&mut leader.cluster().await, true).await.members;
    assert_eq!(members.len(), 2);
    assert!(members.iter().all(|member| !member.is_learner), "{members:?}");
    assert!(members.is_sorted_by_key(|member| member.id), "{members:?}");

    let transfer = async |from: &Member, to: &wire::MemberInfo| {
        let target_id = u64::from_str_radix(&to.id, 16).unwrap();
        from.maintenance().await?.move_leader(pb::MoveLeaderRequest { target_id }).await
    };
    eventually("leadership is transferred", async || {
        let refusal = match transfer(&leader, &two).await {
            Ok(_) => return Ok(()),
            Err(refusal) => refusal,
        };
        // An election may have made the second member the leader already. In that case it must first transfer
        // leadership to the first member.
        let _ = transfer(&second, &one).await;
        Err(refusal)
    })
    .await;
    second.leads().await;
}
