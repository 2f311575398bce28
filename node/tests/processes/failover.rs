//! What clients notice when members come and go.

use std::time::Duration;

use crate::cluster::{Cluster, Member};
use crate::until::until;
use crate::writer::Writer;

async fn holds_all(member: &Member, keys: &[String]) {
    for key in keys {
        let found = until(&format!("{} answers", member.name), async || member.get(key, false).await.ok()).await;
        assert_eq!(found.as_deref(), Some("v"), "{key} was acknowledged");
    }
}

#[tokio::test]
async fn any_member_takes_writes_and_every_member_reads_them() {
    let cluster = Cluster::bootstrapped("any-member", 3, &[]).await;
    for (number, member) in cluster.members.iter().enumerate() {
        member.put(&format!("key-{number}"), "written").await.unwrap();
        for reader in &cluster.members {
            let found = reader.get(&format!("key-{number}"), false).await.unwrap();
            assert_eq!(found.as_deref(), Some("written"), "{} through {}", member.name, reader.name);
        }
    }
}

/// The bar: another leader serves within 3 s.
#[tokio::test]
async fn killing_the_leader_loses_nothing_and_costs_three_seconds_at_most() {
    let mut cluster = Cluster::bootstrapped("kill-leader", 3, &[]).await;
    let leader = cluster.leader().await;
    // Where a client is when it notices least.
    let others = (1..3).map(|step| cluster.members[(leader + step) % 3].client_url()).collect();
    let writer = Writer::start("key", others);
    until("a first write", async || cluster.members[leader].get("key-20", false).await.ok().flatten()).await;
    cluster.members[leader].kill().await;
    let successor = cluster.leader().await;
    assert_ne!(successor, leader);
    let mark = "after the election";
    until("a write after it", async || cluster.members[successor].put(mark, "v").await.ok()).await;
    let account = writer.finish().await;
    assert!(account.longest_gap < Duration::from_secs(3), "nobody served for {:?}", account.longest_gap);

    // What it had, it has again, and what it missed, it gets.
    cluster.members[leader].start().await;
    holds_all(&cluster.members[leader], &account.acknowledged).await;
    assert_eq!(cluster.members[leader].get(mark, false).await.unwrap().as_deref(), Some("v"));
}

#[tokio::test]
async fn killing_everybody_at_once_loses_nothing_acknowledged() {
    let mut cluster = Cluster::bootstrapped("kill-all", 3, &["--snapshot-threshold", "50"]).await;
    let writer = Writer::start("key", cluster.members.iter().map(Member::client_url).collect());
    until("enough writes", async || cluster.members[0].get("key-300", true).await.ok().flatten()).await;
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

/// The bar: a planned hand-over costs a second at most; here the leader's own clients move on, too.
#[tokio::test]
async fn a_leader_that_is_told_to_stop_hands_over_first() {
    let mut cluster = Cluster::bootstrapped("drain", 3, &[]).await;
    let leader = cluster.leader().await;
    let urls = (0..3).map(|step| cluster.members[(leader + step) % 3].client_url()).collect();
    let writer = Writer::start("key", urls);
    until("a first write", async || cluster.members[leader].get("key-20", true).await.ok().flatten()).await;
    cluster.members[leader].terminate();
    assert_eq!(cluster.members[leader].ended().await, Some(0), "a clean end");
    let successor = cluster.leader().await;
    let mark = "after the hand-over";
    until("a write after it", async || cluster.members[successor].put(mark, "v").await.ok()).await;
    let account = writer.finish().await;
    assert!(account.longest_gap < Duration::from_secs(1), "nobody served for {:?}", account.longest_gap);
    holds_all(&cluster.members[successor], &account.acknowledged).await;
}

#[tokio::test]
async fn without_a_majority_nothing_is_written_and_old_values_can_still_be_read() {
    let mut cluster = Cluster::bootstrapped("minority", 3, &["--commit-timeout", "500ms"]).await;
    cluster.members[0].put("key", "v").await.unwrap();
    until("the write is everywhere", async || cluster.members[2].get("key", true).await.ok().flatten()).await;
    cluster.members[0].kill().await;
    cluster.members[1].kill().await;
    let alone = &cluster.members[2];
    until("it noticed", async || alone.describe().await.ok().filter(|said| said.leader.is_empty())).await;
    assert!(alone.put("other", "v").await.is_err());
    assert!(alone.get("key", false).await.is_err(), "a linearizable read needs a majority");
    assert_eq!(alone.get("key", true).await.unwrap().as_deref(), Some("v"));
    cluster.members[0].start().await;
    let back = &cluster.members[2];
    until("writes again", async || back.put("other", "v").await.ok()).await;
}
