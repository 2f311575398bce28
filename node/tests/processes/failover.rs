//! Tests what clients observe while members are killed, stopped and started.

use std::time::Duration;

use crate::cluster::{Cluster, Member};
use crate::until::{median_stays_within, until};
use crate::writer::{Account, Writer};

/// Asserts that the first linearizable read that `member` answers returns all keys. Only this read is checked, because
/// a later read could return all keys although this read was stale.
async fn holds_all(member: &Member, keys: &[String]) {
    let content = until(&format!("{} answers", member.name), async || member.content().await.ok()).await;
    let lost: Vec<_> = keys.iter().filter(|&key| content.get(key).is_none_or(|value| value != "v")).collect();
    assert!(lost.is_empty(), "acknowledged keys are missing in {}: {lost:?}", member.name);
}

#[tokio::test]
async fn any_member_accepts_writes_and_every_member_reads_them() {
    let cluster = Cluster::bootstrapped("any-member", 3, &[]).await;
    for (number, member) in cluster.members.iter().enumerate() {
        let key = format!("key-{number}");
        member.write(&key, "written").await;
        for reader in &cluster.members {
            let found = until(&format!("{} answers", reader.name), async || reader.get(&key, false).await.ok()).await;
            assert_eq!(found.as_deref(), Some("written"), "{} through {}", member.name, reader.name);
        }
    }
}

/// Another leader must serve within 3 s after the leader is killed.
#[tokio::test]
async fn killing_the_leader_loses_no_write_and_interrupts_service_for_three_seconds_at_most() {
    let mut cluster = Cluster::bootstrapped("kill-leader", 3, &[]).await;
    let limit = Duration::from_secs(3);
    median_stays_within(limit, "a killed leader", async |round| kill_the_leader(&mut cluster, round).await).await;
}

async fn kill_the_leader(cluster: &mut Cluster, round: usize) -> Duration {
    let leader = cluster.leader().await;
    // These are the URLs of the members that are not killed; connections to them do not break.
    let others = (1..3).map(|step| cluster.members[(leader + step) % 3].client_url()).collect();
    let writer = Writer::start(&format!("round-{round}"), others);
    writer.acknowledged(20).await;
    cluster.members[leader].kill().await;
    let successor = cluster.leader().await;
    assert_ne!(successor, leader);
    let mark = format!("after election {round}");
    cluster.members[successor].write(&mark, "v").await;
    let Account { mut acknowledged, longest_gap } = writer.finish().await;

    // The restarted member must hold the entries that it had acknowledged, and receive the entries that it missed.
    acknowledged.push(mark);
    cluster.members[leader].start().await;
    holds_all(&cluster.members[leader], &acknowledged).await;
    longest_gap
}

#[tokio::test]
async fn killing_all_members_at_once_loses_no_acknowledged_write() {
    let mut cluster = Cluster::bootstrapped("kill-all", 3, &["--snapshot-threshold", "1"]).await;
    let writer = Writer::start("key", cluster.members.iter().map(Member::client_url).collect());
    writer.acknowledged(300).await;
    for member in &mut cluster.members {
        member.kill().await;
    }
    let account = writer.finish().await;
    for member in &mut cluster.members {
        member.start().await;
    }
    for member in &cluster.members {
        holds_all(member, &account.acknowledged).await;
    }
}

/// A planned leadership transfer may interrupt service for at most one second, even for clients that are connected to
/// the leader.
#[tokio::test]
async fn a_leader_transfers_leadership_before_it_stops() {
    let mut cluster = Cluster::bootstrapped("drain", 3, &[]).await;
    let limit = Duration::from_secs(1);
    median_stays_within(limit, "a drained leader", async |round| drain_the_leader(&mut cluster, round).await).await;
}

async fn drain_the_leader(cluster: &mut Cluster, round: usize) -> Duration {
    let leader = cluster.leader().await;
    let urls = (0..3).map(|step| cluster.members[(leader + step) % 3].client_url()).collect();
    let writer = Writer::start(&format!("round-{round}"), urls);
    writer.acknowledged(20).await;
    cluster.members[leader].terminate();
    assert_eq!(cluster.members[leader].ended().await, Some(0), "the member exits cleanly");
    let successor = cluster.leader().await;
    cluster.members[successor].write(&format!("after transfer {round}"), "v").await;
    let account = writer.finish().await;
    holds_all(&cluster.members[successor], &account.acknowledged).await;
    cluster.members[leader].start().await;
    account.longest_gap
}

#[tokio::test]
async fn without_a_majority_writes_fail_and_serializable_reads_still_work() {
    let mut cluster = Cluster::bootstrapped("minority", 3, &["--commit-timeout", "500ms"]).await;
    cluster.members[0].write("key", "v").await;
    until("the write is everywhere", async || cluster.members[2].get("key", true).await.ok().flatten()).await;
    cluster.members[0].kill().await;
    cluster.members[1].kill().await;
    let alone = &cluster.members[2];
    until("the remaining member has no leader", async || {
        alone.describe().await.ok().filter(|said| said.leader.is_empty())
    })
    .await;
    assert!(alone.put("other", "v").await.is_err());
    assert!(alone.get("key", false).await.is_err(), "a linearizable read needs a majority");
    assert_eq!(alone.get("key", true).await.unwrap().as_deref(), Some("v"));
    cluster.members[0].start().await;
    cluster.members[2].write("other", "v").await;
}
