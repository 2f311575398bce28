//! Tests of members whose log is damaged: they fetch its end from the leader, and take part in nothing before.

use std::path::PathBuf;
use std::time::Duration;

use proto::admin::{Phase, Role};
use proto::etcdserverpb as pb;
use proto::etcdserverpb::maintenance_client::MaintenanceClient;

use crate::cluster::{Cluster, Member, connect};
use crate::until::{pass, until};

const FLAGS: [&str; 4] = ["--election-timeout", "400ms", "--leader-lease", "200ms"];

/// Puts `value-<number>` under each number.
pub(crate) async fn write(cluster: &Cluster, numbers: std::ops::Range<u32>) {
    const TOGETHER: usize = 50;
    let leader = &cluster.members[cluster.leader().await];
    let client = leader.kv().await.unwrap();
    let numbers: Vec<u32> = numbers.collect();
    for group in numbers.chunks(TOGETHER) {
        let puts = group.iter().map(async |number| {
            let (key, value) = (format!("key-{number:06}"), format!("value-{number:06}"));
            let put = pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() };
            let mut client = client.clone();
            until("a put is acknowledged", async || client.put(put.clone()).await.ok()).await;
        });
        futures::future::join_all(puts).await;
    }
}

/// Waits until the member's store holds this number of keys.
pub(crate) async fn holds(member: &Member, keys: i64) {
    until(&format!("{} holds {keys} keys", member.name), async || (member.count().await.ok()? == keys).then_some(()))
        .await;
}

fn segments(member: &Member) -> Vec<PathBuf> {
    let found = std::fs::read_dir(member.dir.join("wal")).unwrap().map(|found| found.unwrap().path());
    let mut paths: Vec<PathBuf> = found.filter(|path| path.extension().is_some_and(|ending| ending == "wal")).collect();
    paths.sort();
    paths
}

/// The segment of a stopped member that holds the record of a put, and its place there.
fn place_of(member: &Member, number: u32) -> (PathBuf, usize) {
    let value = format!("value-{number:06}");
    let place_in = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        Some((path, bytes.windows(value.len()).position(|window| window == value.as_bytes())?))
    };
    let place = segments(member).into_iter().find_map(place_in);
    place.unwrap_or_else(|| panic!("no segment of {} holds {value}", member.name))
}

/// Flips a bit in the record of a put of a stopped member.
pub(crate) fn damage(member: &Member, number: u32) {
    let (path, at) = place_of(member, number);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

async fn hash(member: &Member) -> Option<(u32, i64)> {
    let mut client = MaintenanceClient::new(connect(&member.client_url()).await.ok()?);
    let hash = client.hash_kv(pb::HashKvRequest { revision: 0 }).await.ok()?.into_inner();
    Some((hash.hash, hash.header?.revision))
}

/// Waits until all members state the same hash at the same revision.
pub(crate) async fn hashes_are_equal(cluster: &Cluster) {
    until("all hashes are equal", async || {
        let mut hashes = Vec::new();
        for member in &cluster.members {
            hashes.push(hash(member).await?);
        }
        hashes.windows(2).all(|pair| pair[0] == pair[1]).then_some(())
    })
    .await;
}

/// Waits until the member takes part again, and tries that it counts: with one of the others stopped, writes need it.
async fn takes_part(cluster: &mut Cluster, repaired: usize) {
    cluster.members[repaired].in_phase(Phase::Member).await;
    hashes_are_equal(cluster).await;
    let other = (repaired + 1) % 3;
    cluster.members[other].kill().await;
    cluster.members[repaired].write("after", "v").await;
    cluster.members[other].start().await;
    hashes_are_equal(cluster).await;
}

#[tokio::test]
async fn a_follower_repairs_the_newest_segment_of_its_log() {
    let mut cluster = Cluster::bootstrapped("repair-follower", 3, &FLAGS).await;
    write(&cluster, 0..2_000).await;
    let damaged = (cluster.leader().await + 1) % 3;
    holds(&cluster.members[damaged], 2_000).await;
    cluster.members[damaged].kill().await;
    damage(&cluster.members[damaged], 700);
    write(&cluster, 2_000..2_100).await;

    let said = cluster.members[damaged].start().await;
    assert!(matches!(said.phase(), Phase::Repairing | Phase::Member), "{said:?}");
    takes_part(&mut cluster, damaged).await;
    let (a, b) =
        (cluster.members[damaged].content().await.unwrap(), cluster.members[(damaged + 1) % 3].content().await);
    assert_eq!((a.len(), Some(&a)), (2_101, b.as_ref().ok()));
    // What was written is a log like any other one.
    cluster.members[damaged].kill().await;
    assert_eq!(cluster.members[damaged].start().await.phase(), Phase::Member);
    hashes_are_equal(&cluster).await;
}

#[tokio::test]
async fn a_former_leader_repairs_a_segment_before_others() {
    let mut cluster = Cluster::bootstrapped("repair-leader", 3, &FLAGS).await;
    let damaged = cluster.leader().await;
    for part in 0..3 {
        // Each start continues the log in a new segment.
        cluster.members[damaged].kill().await;
        cluster.members[damaged].start().await;
        write(&cluster, part * 200..(part + 1) * 200).await;
        holds(&cluster.members[damaged], i64::from(part + 1) * 200).await;
    }
    cluster.members[damaged].kill().await;
    let paths = segments(&cluster.members[damaged]);
    let is_between = |path: &PathBuf| Some(path) != paths.first() && Some(path) != paths.last();
    let between = (0..600).step_by(25).find(|number| is_between(&place_of(&cluster.members[damaged], *number).0));
    damage(&cluster.members[damaged], between.unwrap_or_else(|| panic!("none is between the ends of {paths:?}")));
    cluster.members[damaged].start().await;
    takes_part(&mut cluster, damaged).await;
}

/// Without the member that repairs, the others have no quorum. If it voted, they would have a leader.
#[tokio::test]
async fn a_member_that_repairs_waits_for_a_leader_and_does_not_vote() {
    let mut cluster = Cluster::bootstrapped("repair-waits", 3, &FLAGS).await;
    write(&cluster, 0..300).await;
    for member in &cluster.members {
        holds(member, 300).await;
    }
    for member in &mut cluster.members {
        member.kill().await;
    }
    damage(&cluster.members[0], 100);
    let said = cluster.members[0].start().await;
    assert_eq!(said.phase(), Phase::Repairing);
    assert!(said.error.contains("checksum"), "{}", said.error);
    cluster.members[1].start().await;
    // Ten election timeouts.
    pass(Duration::from_secs(4)).await;
    let alone = cluster.members[1].describe().await.unwrap();
    assert!(alone.leader.is_empty() && alone.role() != Role::Leader, "{alone:?}");
    let waits = cluster.members[0].describe().await.unwrap();
    assert_eq!(waits.phase(), Phase::Repairing);
    let repair = waits.repair.expect("the repair is reported");
    assert!(repair.stalled_ms >= 1_000 && repair.bytes_done == 0, "{repair:?}");
    assert!(cluster.members[0].put("nowhere", "v").await.is_err());
    assert!(cluster.members[0].get("key-000001", true).await.is_err(), "nor does it serve reads");
    // A process that ends meanwhile repairs again.
    cluster.members[0].kill().await;
    assert_eq!(cluster.members[0].start().await.phase(), Phase::Repairing);
    cluster.members[2].start().await;
    takes_part(&mut cluster, 0).await;
    assert_eq!(cluster.members[0].content().await.unwrap().len(), 301);
}

#[tokio::test]
async fn a_sole_member_cannot_be_mended() {
    let mut cluster = Cluster::bootstrapped("repair-sole", 1, &FLAGS).await;
    write(&cluster, 0..50).await;
    cluster.members[0].kill().await;
    damage(&cluster.members[0], 10);
    assert_eq!(cluster.members[0].start().await.phase(), Phase::Damaged);
}

/// No other member has the log of a sole voter, but it needs none of it before its newest snapshot.
#[tokio::test]
async fn a_sole_voter_starts_although_the_log_before_its_snapshots_is_damaged() {
    // A snapshot for each MiB of the log.
    let flags = [&FLAGS[..], &["--snapshot-threshold", "16"]].concat();
    let mut cluster = Cluster::bootstrapped("repair-sole", 1, &flags).await;
    write(&cluster, 0..10).await;
    for number in 0..30 {
        cluster.members[0].write(&format!("long-{number}"), &"v".repeat(100_000)).await;
    }
    until("a snapshot is taken", async || {
        let found = std::fs::read_dir(cluster.members[0].dir.join("snap")).ok()?;
        found.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".snap")).then_some(())
    })
    .await;
    write(&cluster, 10..20).await;
    cluster.members[0].kill().await;
    damage(&cluster.members[0], 5);
    assert_eq!(cluster.members[0].start().await.phase(), Phase::Member);
    holds(&cluster.members[0], 50).await;
    assert_eq!(cluster.members[0].counter("raft_log_given_up_total").await, Some(1.0));
    write(&cluster, 20..30).await;
}
