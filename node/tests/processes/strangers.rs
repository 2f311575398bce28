//! Tests of callers that are no members, but reach the port of members and know every ID. The port does not authenticate its
//! callers yet, so it must not believe them.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use proto::admin as wire;
use proto::peer::peer_client::PeerClient;
use proto::peer::{Frame, Greeting, SnapshotChunk, SnapshotOffer, frame, snapshot_chunk};
use raft::{Body, EntryId, Index, Message, SnapshotMeta, Term};
use raft_node::descriptors::PEERS_MAX;
use storage::codec::put_snapshot_meta;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

use crate::cluster::{CLUSTER, Cluster, Member};
use crate::until::until;

fn number(id: &str) -> u64 {
    u64::from_str_radix(id, 16).expect("IDs are hexadecimal")
}

/// The greeting of `from` to a member, as a stranger who knows all IDs can send it.
async fn greeting(from: u64, to: &Member) -> Greeting {
    let cluster = u128::from_str_radix(CLUSTER, 16).expect("a cluster ID is hexadecimal").to_be_bytes();
    Greeting {
        cluster_id: Bytes::copy_from_slice(&cluster),
        from,
        to: number(&to.id().await),
        protocol: 1,
        ..Greeting::default()
    }
}

/// Sends a notice that the member was removed. The sender is a stranger.
async fn forge_notice(to: &Member, index: u64) {
    let message = Message { term: Term(1), body: Body::Removed { index: Index(index) } };
    let mut bytes = Vec::new();
    ::wire::put_message(&mut bytes, &message).expect("a notice is small");
    let kinds = [frame::Kind::Greeting(greeting(0xbad, to).await), frame::Kind::Messages(bytes.into())];
    let frames = kinds.map(|kind| Frame { kind: Some(kind) });
    let mut peer = PeerClient::connect(to.peer_url()).await.expect("the port is served");
    // The call ends when the member has passed on the last frame.
    peer.deliver(futures::stream::iter(frames)).await.expect("the frames are accepted");
}

#[tokio::test]
async fn a_forged_notice_of_removal_stops_no_member() {
    let cluster = Cluster::bootstrapped("forged", 3, &[]).await;
    for round in 0..20 {
        for (at, member) in cluster.members.iter().enumerate() {
            forge_notice(member, if round % 2 == 0 { 1_000 + round } else { u64::MAX }).await;
            member.write(&format!("{round}-{at}"), "v").await;
        }
    }
    for member in &cluster.members {
        assert_eq!(member.describe().await.unwrap().phase(), wire::Phase::Member, "{}", member.name);
    }
}

/// It cannot ask, so it takes part in no election. It still answers what needs no quorum, and goes on when it reaches the others.
#[tokio::test]
async fn a_member_that_is_cut_off_survives_a_forged_notice() {
    let mut cluster = Cluster::bootstrapped("forged-alone", 3, &[]).await;
    cluster.members[0].write("key", "v").await;
    cluster.members[1].kill().await;
    cluster.members[2].kill().await;
    let last = &cluster.members[0];
    until("the member knows no leader", async || {
        last.describe().await.ok().filter(|said| said.leader.is_empty()).map(drop)
    })
    .await;
    forge_notice(last, 1_000).await;
    until("the member does not campaign", async || {
        last.describe().await.ok().filter(|said| said.role() == wire::Role::Follower).map(drop)
    })
    .await;
    assert_eq!(last.get("key", true).await.unwrap().as_deref(), Some("v"), "serializable reads go on");
    assert_eq!(last.describe().await.unwrap().phase(), wire::Phase::Member);
    cluster.members[1].start().await;
    cluster.members[2].start().await;
    cluster.members[0].write("later", "v").await;
    assert_eq!(cluster.members[0].describe().await.unwrap().phase(), wire::Phase::Member);
}

fn files(member: &Member) -> BTreeSet<String> {
    let listed = std::fs::read_dir(member.dir.join("snap")).expect("the folder exists");
    listed.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect()
}

/// Only the leader that a member follows may fill its disk.
#[tokio::test]
async fn a_snapshot_is_accepted_from_the_leader_alone() {
    let cluster = Cluster::bootstrapped("offers", 3, &[]).await;
    let leader = cluster.leader().await;
    let (receiver, other) = (&cluster.members[(leader + 1) % 3], &cluster.members[(leader + 2) % 3]);
    let term = until("the receiver follows the leader", async || {
        receiver.describe().await.ok().filter(|said| !said.leader.is_empty()).map(|said| said.term)
    })
    .await;
    let before = files(receiver);
    let mut meta = Vec::new();
    let last = EntryId { term: Term(term), index: Index(1_000) };
    put_snapshot_meta(&mut meta, &SnapshotMeta { last, ..SnapshotMeta::default() }).expect("a small configuration");
    let leader_id = number(&cluster.members[leader].id().await);
    for (from, term) in [(0xbad, term), (number(&other.id().await), term), (leader_id, term + 1)] {
        let offer = SnapshotOffer {
            greeting: Some(greeting(from, receiver).await),
            term,
            meta: meta.clone().into(),
            size_bytes: 1 << 40,
            ..SnapshotOffer::default()
        };
        let data = snapshot_chunk::Kind::Data(vec![0; 1 << 16].into());
        let chunks = [snapshot_chunk::Kind::Offer(offer), data].map(|kind| SnapshotChunk { kind: Some(kind) });
        let mut peer = PeerClient::connect(receiver.peer_url()).await.expect("the port is served");
        let refused = peer.snapshot(futures::stream::iter(chunks)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused}");
        assert_eq!(files(receiver), before);
    }
}

/// A connection on which a call was refused, written out in frames of HTTP/2 so that nothing connects again. The only message of
/// the call is empty.
async fn refused_call(to: &Member, method: &str) -> TcpStream {
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    let path = format!("/raftoperator.peer.v1.Peer/{method}");
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", &path), ("content-type", "application/grpc")];
    let literal = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let block: Vec<u8> =
        fields.iter().flat_map(|(name, value)| [vec![0], literal(name), literal(value)].concat()).collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    let call = [preface, frame(4, 0, 0, &[]), frame(1, 0x4, 1, &block), frame(0, 0x1, 1, &[0; 5])].concat();
    let mut connection = TcpStream::connect(to.peer_address()).await.expect("the port is served");
    connection.write_all(&call).await.expect("the connection is open");
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await.expect("the connection is open");
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        connection.read_exact(&mut payload).await.expect("the connection is open");
        if (head[3], head[8]) == (1, 1) {
            return connection;
        }
    }
}

/// Connections of strangers end first and at once if there are too many, whatever was called on them.
#[tokio::test]
async fn a_refused_call_does_not_keep_its_connection() {
    let cluster = Cluster::bootstrapped("refused", 1, &[]).await;
    let member = &cluster.members[0];
    let mut strangers = Vec::new();
    for method in ["Deliver", "Snapshot", "Greet", "Fetch", "Hash"] {
        strangers.push((method, refused_call(member, method).await));
    }
    let mut newcomers = Vec::new();
    for _ in 0..PEERS_MAX {
        newcomers.push(TcpStream::connect(member.peer_address()).await.expect("the port is served"));
    }
    for (method, mut stranger) in strangers {
        let ends = async { while stranger.read(&mut [0; 64]).await.is_ok_and(|bytes| bytes > 0) {} };
        tokio::time::timeout(Duration::from_secs(8), ends).await.unwrap_or_else(|_| panic!("{method} keeps its place"));
    }
    member.write("key", "v").await;
}
