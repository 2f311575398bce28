//! Tests of members that compare their keyspaces after a compaction. The difference is planted in a snapshot of a stopped member, with
//! checksums that match.

use std::io::Write;
use std::sync::Arc;

use mvcc::{Batch, Command, Store};
use proto::admin::{Phase, Role};
use proto::etcdserverpb as pb;
use raft::{MemberId, Payload, SnapshotMeta};
use storage::{FileDisk, Options, Storage};

use crate::cluster::{Cluster, Member};
use crate::until::until;

const FLAGS: [&str; 4] = ["--election-timeout", "400ms", "--leader-lease", "200ms"];
const KEYS: i64 = 20;

async fn three_with_keys(name: &str) -> Cluster {
    let cluster = Cluster::bootstrapped(name, 3, &FLAGS).await;
    let leader = cluster.leader().await;
    for number in 0..KEYS {
        cluster.members[leader].write(&format!("key-{number}"), "right").await;
    }
    for member in &cluster.members {
        until("the member has all keys", async || (member.count().await.ok()? == KEYS).then_some(())).await;
    }
    cluster
}

/// Gives a stopped member a snapshot of its whole log in which one value is `value` instead.
fn plant(member: &Member, value: &'static str) {
    let opened = Storage::open(Arc::new(FileDisk), &member.dir, Options::new(MemberId(1), 7)).unwrap();
    assert!(opened.snapshot.is_none(), "the log begins with the first entry");
    let mut store = Store::new();
    let first = opened.identity.cluster.as_ref().unwrap().first_configuration.clone();
    let mut meta = SnapshotMeta { configuration: Arc::new(first), ..opened.raft.snapshot.clone() };
    let mut planted = 0;
    for entry in &opened.raft.log.tail {
        (meta.last, meta.time_ms) = (entry.id, entry.time_ms);
        match &entry.payload {
            Payload::Configuration(configuration) => {
                meta.configuration = Arc::clone(configuration);
                meta.configuration_index = entry.id.index;
            }
            Payload::Normal(bytes) => {
                for (_, mut command) in Batch::decode(bytes.clone()).unwrap().commands {
                    if let Command::Put(put) = &mut command
                        && put.key[..] == *b"key-5"
                    {
                        put.value = value.into();
                        planted += 1;
                    }
                    store.apply(entry.time_ms, &command).unwrap();
                }
            }
            _ => {}
        }
    }
    assert_eq!(planted, 1);
    let index = meta.last.index.0;
    let mut writer = opened.storage.snapshots().begin(meta).unwrap();
    mvcc::image::write(&store.view(), index, mvcc::image::ImageFormat::V1, &mut writer).unwrap();
    writer.flush().unwrap();
    writer.finish().unwrap();
}

/// Compacts at the newest revision, through a member.
async fn compact(member: &Member) {
    until("the compaction succeeds", async || {
        let range = pb::RangeRequest { key: "key-0".into(), ..Default::default() };
        let mut kv = member.kv().await.ok()?;
        let revision = kv.range(range).await.ok()?.into_inner().header?.revision;
        kv.compact(pb::CompactionRequest { revision, physical: false }).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_member_that_differs_from_the_majority_isolates_itself() {
    let mut cluster = three_with_keys("differs").await;
    let wrong = (cluster.leader().await + 1) % 3;
    cluster.members[wrong].kill().await;
    plant(&cluster.members[wrong], "wrong");
    assert_eq!(cluster.members[wrong].start().await.phase(), Phase::Member);
    until("the planted value is read", async || {
        let read = cluster.members[wrong].get("key-5", true).await.ok()?;
        (read.as_deref() == Some("wrong")).then_some(())
    })
    .await;
    let leader = cluster.leader().await;
    compact(&cluster.members[leader]).await;

    let said = cluster.members[wrong].in_phase(Phase::Damaged).await;
    assert!(said.error.contains("differs from that of a majority"), "{}", said.error);
    assert!(cluster.members[wrong].get("key-5", true).await.is_err(), "it serves nothing");
    for right in (0..3).filter(|place| *place != wrong) {
        assert_eq!(cluster.members[right].describe().await.unwrap().phase(), Phase::Member);
        cluster.members[right].write("after", "v").await;
        assert_eq!(cluster.members[right].get("key-5", false).await.unwrap().as_deref(), Some("right"));
    }
    // The two others lose their leader: without the vote of the isolated member they have no quorum.
    let leader = cluster.leader().await;
    assert_ne!(leader, wrong);
    let rest = (0..3).find(|place| *place != wrong && *place != leader).unwrap();
    cluster.members[leader].kill().await;
    crate::until::pass(std::time::Duration::from_secs(3)).await;
    assert_ne!(cluster.members[rest].describe().await.unwrap().role(), Role::Leader, "the isolated member voted");

    // A restart does not revoke the verdict.
    cluster.members[leader].start().await;
    cluster.members[wrong].kill().await;
    let said = cluster.members[wrong].start().await;
    assert_eq!(said.phase(), Phase::Damaged);
    assert!(said.error.contains("differs from that of a majority"), "{}", said.error);
    // A person may revoke it. The next comparison reaches it again.
    cluster.members[wrong].kill().await;
    std::fs::remove_file(cluster.members[wrong].dir.join("isolated")).unwrap();
    assert_eq!(cluster.members[wrong].start().await.phase(), Phase::Member);
    cluster.members[wrong].in_phase(Phase::Damaged).await;
}

#[tokio::test]
async fn members_serve_on_if_no_majority_has_the_same_keyspace() {
    let mut cluster = three_with_keys("no-majority").await;
    for (place, value) in [(0, "one"), (1, "two")] {
        cluster.members[place].kill().await;
        plant(&cluster.members[place], value);
        cluster.members[place].start().await;
    }
    let leader = cluster.leader().await;
    compact(&cluster.members[leader]).await;
    let logs = cluster.dir().to_path_buf();
    until("a member reports the difference", async || {
        let texts = (1..=3).map(|number| std::fs::read_to_string(logs.join(format!("m-{number}.log"))).unwrap());
        texts.into_iter().all(|text| text.contains("no majority has the same one")).then_some(())
    })
    .await;
    for member in &cluster.members {
        assert_eq!(member.describe().await.unwrap().phase(), Phase::Member);
        member.write("after", "v").await;
    }
}
