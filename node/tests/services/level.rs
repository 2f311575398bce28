//! Tests of the feature level over the members' ports: the calls of the operator, what connected members say, the
//! refusal of members that are too old, and the phase of a member whose disk is too new for its program.

use proto::admin as wire;
use proto::peer::peer_client::PeerClient;
use proto::peer::{Frame, Greeting, frame};
use tonic::Code;

use crate::cluster::{change, join_request};
use crate::member::{CLUSTER, Member, TOKEN, eventually, refusal, with_token};

async fn raise(member: &Member, to: u32) -> Result<u32, tonic::Status> {
    let request = with_token(wire::RaiseFeatureLevelRequest { to }, TOKEN);
    Ok(member.admin().await.raise_feature_level(request).await?.into_inner().level)
}

fn reason(status: &tonic::Status) -> &str {
    status.metadata().get("raft-refusal").map_or("", |reason| reason.to_str().expect("a word"))
}

async fn levels(member: &Member) -> (u32, u32) {
    let described = member.describe().await;
    (described.feature_level, described.feature_level_supported)
}

/// Starts a cluster of these members, all of them voters, and returns when the first one leads.
async fn bootstrap(members: &[&Member]) {
    let mut voters = Vec::new();
    for member in members {
        voters.push(member.info().await);
    }
    for member in members {
        let record = member.record(voters.clone());
        member.admin().await.bootstrap(with_token(record, TOKEN)).await.expect("a blank member accepts an identity");
    }
    let first = &voters[0].id;
    eventually("the first member leads", async || {
        for member in members {
            let leader = member.describe().await.leader;
            if leader == *first {
                return Ok(());
            }
            let target = wire::TransferLeadershipRequest { target: first.clone() };
            if !leader.is_empty() {
                let _ = member.admin().await.transfer_leadership(with_token(target, TOKEN)).await;
            }
        }
        Err("another member leads")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_level_is_raised_once_every_member_supports_it() {
    let (leader, mut other) = (Member::blank("demo-1"), Member::supporting("demo-2", 1));
    bootstrap(&[&leader, &other]).await;
    assert_eq!((levels(&leader).await, levels(&other).await), ((1, 2), (1, 1)));
    let held = eventually("the former program holds the level", async || match raise(&leader, 2).await {
        Err(status) if status.message().contains("supports only feature level 1") => Ok(status),
        other => Err(other),
    })
    .await;
    assert_eq!((held.code(), reason(&held)), (Code::FailedPrecondition, "LevelHeld"));
    assert!(held.message().contains("demo-2"), "{held}");
    assert_eq!(raise(&leader, 0).await.expect("the highest level of all is the first one"), 1);
    leader.put("k", "v").await;

    other.restart_supporting(2);
    let raised = eventually("the level is raised", async || raise(&leader, 0).await).await;
    assert_eq!(raised, 2);
    assert_eq!(raise(&leader, 1).await.expect("a level below succeeds"), 2);
    eventually("the other member follows", async || match levels(&other).await {
        (2, 2) => Ok(()),
        other => Err(other),
    })
    .await;
    let page = leader.probe("GET", "/metrics").await.body;
    assert!(page.contains("raft_feature_level 2") && page.contains("raft_feature_level_supported 2"), "{page}");

    // The first program does not read what the second one has written.
    other.restart_supporting(1);
    let described = other.describe().await;
    assert_eq!(described.phase(), wire::Phase::TooNew, "{described:?}");
    assert!(described.error.ends_with("start a newer version"), "{}", described.error);
    assert_eq!(other.probe("GET", "/livez").await.code, 200);
    assert_eq!(other.probe("GET", "/readyz").await.code, 503);
    other.restart_supporting(2);
    eventually("the newer program goes on", async || match levels(&other).await {
        (2, 2) => Ok(()),
        other => Err(other),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_member_that_is_too_old_is_refused_by_name() {
    let leader = Member::alone().await;
    assert_eq!(raise(&leader, 2).await.expect("it is alone"), 2);
    let old = Member::supporting("demo-2", 1);
    let request = wire::JoinRequest { feature_level: 2, ..join_request(&old).await };
    let refused = old.admin().await.join(with_token(request, TOKEN)).await.expect_err("it is too old");
    assert_eq!((refused.code(), reason(&refused)), (Code::FailedPrecondition, "TooOld"));
    assert_eq!(old.describe().await.phase(), wire::Phase::Blank);

    // A former operator does not say the level, so the member joins. The leader asks it before it adds it.
    old.admin().await.join(with_token(join_request(&old).await, TOKEN)).await.expect("a blank member joins");
    let (one, two) = (leader.info().await, old.info().await);
    let refused = eventually("the leader asks the new member", async || {
        match change(&leader, vec![one.clone()], vec![two.clone()]).await {
            Err(status) if reason(&status) == "TooOld" => Ok(status),
            other => Err(other),
        }
    })
    .await;
    assert!(refused.message().starts_with("demo-2"), "{refused}");
}

/// A member answers from its committed configuration, also to a caller that the configuration does not contain.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_greeting_is_answered() {
    let member = Member::alone().await;
    let id = u64::from_str_radix(&member.info().await.id, 16).unwrap();
    let cluster: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&CLUSTER[2 * at..2 * at + 2], 16).unwrap()).collect();
    let mut peer = PeerClient::connect(member.peer_url()).await.expect("the port is served");
    let good = Greeting { cluster_id: cluster.into(), from: 7, to: id, protocol: 1, ..Greeting::default() };
    let answer = peer.greet(good.clone()).await.expect("it is answered").into_inner();
    assert_eq!((answer.feature_level, answer.contains, answer.removed), (2, false, false));
    let (code, text) = refusal(peer.greet(Greeting { to: 8, ..good }).await);
    assert_eq!(code, Code::FailedPrecondition);
    assert!(!text.contains(&member.info().await.id), "{text}");
    let blank = Member::blank("demo-2");
    let mut peer = PeerClient::connect(blank.peer_url()).await.expect("the port is served");
    assert_eq!(refusal(peer.greet(Greeting::default()).await).0, Code::Unavailable);
}

/// Nothing above the level is sent, so this does not happen unless something is wrong. The stream ends, and the member
/// says why.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_entry_of_an_unknown_kind_is_reported() {
    let member = Member::alone().await;
    let id = u64::from_str_radix(&member.info().await.id, 16).unwrap();
    let cluster: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&CLUSTER[2 * at..2 * at + 2], 16).unwrap()).collect();
    let good = Greeting { cluster_id: cluster.into(), from: 7, to: id, protocol: 1, ..Greeting::default() };
    // Kind 5 is an append: term, previous entry, commit, round, one entry of kind 9 without a payload.
    let entry = [&[0; 24][..], &[9], &[0; 4]].concat();
    let append = [&[5][..], &[0; 8], &[0; 16], &[0; 8], &[0; 8], &1u32.to_le_bytes(), &entry].concat();
    let message = [&(append.len() as u32).to_le_bytes()[..], &append].concat();
    let frames = [frame::Kind::Greeting(good), frame::Kind::Messages(message.into())];
    let frames = frames.map(|kind| Frame { kind: Some(kind) });
    let mut peer = PeerClient::connect(member.peer_url()).await.expect("the port is served");
    assert_eq!(refusal(peer.deliver(futures::stream::iter(frames)).await).0, Code::DataLoss);
    eventually("the member says what it does not know", async || {
        member.put("k", "v").await;
        let error = member.describe().await.error;
        let is_named = error.contains("payload kind 9") && error.ends_with("start a newer version");
        if is_named { Ok(()) } else { Err(error) }
    })
    .await;
}
