//! Tests of a member's phases, from an empty volume to a damaged one, and of refused starts.

use std::time::Duration;

use proto::admin as wire;

use crate::cluster::{Cluster, TOKEN, with_token};
use crate::until::{pass, until};

#[tokio::test]
async fn blank_members_never_form_a_cluster_by_themselves() {
    let mut cluster = Cluster::new("blank", &["--election-timeout", "300ms", "--leader-lease", "200ms"]);
    for _ in 0..3 {
        cluster.add_blank().await;
    }
    let first = cluster.members[0].id().await;
    // During ten election timeouts, a blank member must not campaign.
    pass(Duration::from_secs(3)).await;
    for member in &cluster.members {
        let said = member.describe().await.unwrap();
        assert_eq!((said.phase(), said.term, said.leader.as_str()), (wire::Phase::Blank, 0, ""));
        assert!(member.put("key", "v").await.is_err(), "a blank member serves no client");
    }
    // The member ID belongs to the volume, so a restart does not change it.
    cluster.members[0].kill().await;
    assert_eq!(cluster.members[0].start().await.member_id, first);
}

#[tokio::test]
async fn bootstrap_succeeds_again_with_the_same_identity_and_is_refused_with_another() {
    let cluster = Cluster::bootstrapped("twice", 1, &[]).await;
    cluster.bootstrap().await;
    let voters = cluster.infos().await;
    let other = wire::BootstrapRequest {
        cluster_id: "ffffffffffffffffffffffffffffffff".to_owned(),
        token: TOKEN.to_owned(),
        voters,
        name: cluster.members[0].name.clone(),
    };
    let mut admin = cluster.members[0].admin().await.unwrap();
    let refusal = admin.bootstrap(with_token(other)).await.unwrap_err();
    assert_eq!(refusal.code(), tonic::Code::FailedPrecondition, "{refusal}");
    cluster.members[0].write("key", "v").await;
}

#[tokio::test]
async fn bootstrap_without_the_member_among_the_voters_leaves_it_blank() {
    let mut cluster = Cluster::new("stranger", &[]);
    cluster.add_blank().await;
    let member = &cluster.members[0];
    let stranger = wire::MemberInfo { id: "abcdef".to_owned(), ..member.info().await };
    let record = wire::BootstrapRequest {
        cluster_id: "ffffffffffffffffffffffffffffffff".to_owned(),
        token: TOKEN.to_owned(),
        voters: vec![stranger],
        name: member.name.clone(),
    };
    member.admin().await.unwrap().bootstrap(with_token(record)).await.unwrap_err();
    assert_eq!(member.describe().await.unwrap().phase(), wire::Phase::Blank);
}

#[tokio::test]
async fn a_member_that_lost_term_and_vote_reports_it_and_does_not_vote() {
    let mut cluster = Cluster::bootstrapped("damaged", 3, &[]).await;
    cluster.members[0].write("before", "v").await;
    cluster.members[1].kill().await;
    // Both copies of the term and the vote: no other member knows them.
    let path = cluster.members[1].dir.join("hard_state");
    let mut bytes = std::fs::read(&path).unwrap();
    for slot in [0, 4096] {
        bytes[slot + 40] ^= 1;
    }
    std::fs::write(&path, bytes).unwrap();

    let said = cluster.members[1].start().await;
    assert_eq!(said.phase(), wire::Phase::Damaged);
    let error = until("the member says what is wrong", async || {
        cluster.members[1].describe().await.ok().map(|said| said.error).filter(|error| !error.is_empty())
    })
    .await;
    assert!(error.contains("hard_state") && error.contains("checksum"), "{error}");
    // The other members continue to serve, and the damaged member stays damaged.
    let leader = cluster.leader().await;
    cluster.members[leader].write("after", "v").await;
    assert_eq!(cluster.members[1].describe().await.unwrap().role(), wire::Role::Follower);
    assert!(cluster.members[1].put("nowhere", "v").await.is_err());
}

#[tokio::test]
async fn a_start_fails_with_the_flag_of_the_port_or_directory_in_use() {
    let mut cluster = Cluster::new("in-use", &[]);
    cluster.add_blank().await;
    let (code, said) = cluster.members[0].run_to_end().await;
    assert_eq!(code, Some(1));
    assert!(said.contains("--client-addr") || said.contains("--peer-addr"), "{said}");
}

#[tokio::test]
async fn wrong_flags_are_refused_with_their_name() {
    let mut cluster = Cluster::new("flags", &[]);
    cluster.add_blank().await;
    cluster.members[0].kill().await;
    for (flags, named) in [
        (["--heartbeat-interval", "800ms"], "--election-timeout"),
        (["--leader-lease", "990ms"], "--leader-lease"),
        (["--snapshots-retain", "0"], "--snapshots-retain"),
        (["--commit-timeout", "5"], "--commit-timeout"),
        (["--advertise-peer-url", "demo-1:2380"], "--advertise-peer-url"),
    ] {
        let (code, said) = cluster.members[0].run_with(&flags).await;
        assert_eq!(code, Some(2), "{flags:?}");
        assert!(said.contains(named), "{flags:?}: {said}");
    }
}

#[tokio::test]
async fn a_member_is_ready_once_it_serves() {
    let mut cluster = Cluster::new("ready", &[]);
    cluster.add_blank().await;
    let url = format!("http://{}/readyz", cluster.members[0].http_address());
    let probe = async || status_of(&url).await;
    assert_eq!(probe().await, Some(503), "a blank member is not ready");
    cluster.bootstrap().await;
    until("the member is ready", async || probe().await.filter(|status| *status == 200)).await;
}

/// Status code of a GET request.
async fn status_of(url: &str) -> Option<u16> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let uri: http::Uri = url.parse().unwrap();
    let authority = uri.authority().unwrap().as_str();
    let mut stream = tokio::net::TcpStream::connect(authority).await.ok()?;
    let request = format!("GET {} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n", uri.path());
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}
