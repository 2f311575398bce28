//! Members on small volumes: tmpfs file systems in mount namespaces of their own, whose sizes the test changes. Owns the tests of
//! leadership and of refused writes while space is short.

use std::time::Duration;

use proto::admin as wire;
use proto::etcdserverpb as pb;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::cluster::{Cluster, Member, with_token};
use crate::until::until;

/// A volume that is never short of space, in MiB, with segments of 64 MiB. A tmpfs takes memory only for what it holds.
const LARGE: u64 = 5_000;
/// A volume on which less than the reserve is free: two segments take 128 MiB.
const BELOW: u64 = 110;
/// A volume on which less than one segment of 64 MiB is free.
const EXHAUSTED: u64 = 50;
/// Longest time for an answer that no timeout of a member causes. A member's own timeout is 5 s.
const AT_ONCE: Duration = Duration::from_secs(3);

async fn cluster(name: &str) -> Cluster {
    let mut cluster = Cluster::new(name, &[]).on_volumes(LARGE);
    cluster.form(3).await;
    // Members say from level 2 on that they are short of space.
    until("the level is raised", async || {
        let mut admin = cluster.members[cluster.leader().await].admin().await.ok()?;
        admin.raise_feature_level(with_token(wire::RaiseFeatureLevelRequest::default())).await.ok()
    })
    .await;
    cluster
}

async fn space(member: &Member) -> wire::Space {
    until("the member has measured its volume", async || member.describe().await.ok()?.space).await
}

/// Waits until the member says whether it is below its reserve.
async fn stands(member: &Member, below: bool) {
    until(&format!("{} is below its reserve: {below}", member.name), async || {
        (space(member).await.below == below).then_some(())
    })
    .await;
}

/// Waits until the member says whether it is a leader that refuses puts.
async fn refuses(member: &Member, refuses: bool) {
    until(&format!("{} refuses puts: {refuses}", member.name), async || {
        (space(member).await.writes_refused == refuses).then_some(())
    })
    .await;
}

fn is_no_space(outcome: &Result<(), Status>) -> bool {
    let text = "etcdserver: mvcc: database space exceeded";
    matches!(outcome, Err(status) if status.code() == Code::ResourceExhausted && status.message() == text)
}

/// Waits until every member refuses puts for lack of space, each within a short time.
async fn all_refuse(cluster: &Cluster) {
    for member in &cluster.members {
        until(&format!("{} refuses puts", member.name), async || {
            let began = Instant::now();
            let outcome = member.put("refused", "v").await;
            (is_no_space(&outcome) && began.elapsed() < AT_ONCE).then_some(())
        })
        .await;
    }
}

async fn delete(member: &Member, everything: bool) -> Result<(), Status> {
    let range_end = if everything { vec![0] } else { Vec::new() };
    let key = if everything { vec![0] } else { b"a".to_vec() };
    let request = pb::DeleteRangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() };
    member.kv().await?.delete_range(request).await.map(drop)
}

async fn txn(member: &Member, op: pb::request_op::Request) -> Result<(), Status> {
    let failure = vec![pb::RequestOp { request: Some(op) }];
    member.kv().await?.txn(pb::TxnRequest { failure, ..Default::default() }).await.map(drop)
}

#[tokio::test]
async fn leadership_moves_away_and_writes_are_refused_only_without_a_quorum_above_its_reserve() {
    let cluster = cluster("space").await;
    let members = &cluster.members;
    members[0].write("a", "v").await;

    // One member is below its reserve: it does not lead, and every member accepts puts.
    let first = cluster.leader().await;
    members[first].resize(BELOW);
    stands(&members[first], true).await;
    until("another member leads", async || (cluster.leader().await != first).then_some(())).await;
    for member in members {
        member.write("a", "w").await;
    }

    // Two are: only what frees space is accepted.
    let second = cluster.leader().await;
    members[second].resize(BELOW);
    stands(&members[second], true).await;
    all_refuse(&cluster).await;
    let third = 3 - first - second;
    until("the only member above its reserve leads", async || (cluster.leader().await == third).then_some(())).await;
    refuses(&members[third], true).await;
    for member in members {
        let read = until("a read", async || member.get("a", false).await.ok()).await;
        assert!(read.is_none_or(|value| value == "w"), "only the deletions below change it");
        let put = || pb::request_op::Request::RequestPut(pb::PutRequest { key: "b".into(), ..Default::default() });
        until("a transaction with a put is refused", async || is_no_space(&txn(member, put()).await).then_some(()))
            .await;
        let deletion = pb::DeleteRangeRequest { key: "b".into(), ..Default::default() };
        let free = || pb::request_op::Request::RequestDeleteRange(deletion.clone());
        until("a transaction without a put", async || txn(member, free()).await.ok()).await;
        until("a deletion", async || delete(member, false).await.ok()).await;
    }

    // Hardly any space is left: everything is refused, and at once.
    members[first].resize(EXHAUSTED);
    members[second].resize(EXHAUSTED);
    until("deletions are refused", async || {
        let began = Instant::now();
        let outcome = delete(&members[first], false).await;
        (is_no_space(&outcome) && began.elapsed() < AT_ONCE).then_some(())
    })
    .await;

    // Nothing has to be cleared or started again.
    members[first].resize(LARGE);
    stands(&members[first], false).await;
    for member in members {
        member.write("a", "x").await;
    }
    refuses(&members[cluster.leader().await], false).await;
}

/// What a deletion and a compaction free is enough: the members take a snapshot early, and remove the log before it.
#[tokio::test]
async fn a_deletion_and_a_compaction_make_space_without_a_restart() {
    let cluster = cluster("space-freed").await;
    let members = &cluster.members;
    let value = "v".repeat(1_000_000);
    for number in 0..60 {
        members[0].write(&format!("key-{number}"), &value).await;
    }
    for member in members {
        // The log takes about 60 MB, the reserve 128 MiB and 60 MB.
        until("the member has applied all", async || (member.count().await.ok()? == 60).then_some(())).await;
        member.resize(236);
    }
    all_refuse(&cluster).await;
    let member = &members[cluster.leader().await];
    until("a deletion of everything", async || delete(member, true).await.ok()).await;
    let revision = until("the revision", async || Some(member.describe().await.ok()?.revision)).await;
    // A repeated compaction at the same revision is refused, and has been carried out.
    until("a compaction", async || {
        let compact = pb::CompactionRequest { revision, physical: true };
        let outcome = member.kv().await.ok()?.compact(compact).await.map(drop);
        outcome.or_else(|status| if status.code() == Code::OutOfRange { Ok(()) } else { Err(status) }).ok()
    })
    .await;
    for member in members {
        member.write("after", "v").await;
        // A write may be accepted before this member has written its own.
        until("a snapshot is taken early", async || {
            member.describe().await.ok().filter(|said| said.snapshot_index > 0).map(drop)
        })
        .await;
    }
}
