//! Tests of adding and removing members, and of leadership transfers.

use proto::admin as wire;

use crate::cluster::{Cluster, with_token};
use crate::until::until;

fn ids(infos: &[wire::MemberInfo]) -> Vec<String> {
    infos.iter().map(|info| info.id.clone()).collect()
}

/// The leader has purged the log entries that the new member lacks, so the new member first needs a snapshot.
#[tokio::test]
async fn a_new_member_receives_a_snapshot_and_a_vote_and_a_removed_one_keeps_its_tombstone() {
    let flags = ["--snapshot-threshold", "20", "--snapshot-trailing", "5"];
    let mut cluster = Cluster::bootstrapped("grow", 3, &flags).await;
    // A snapshot is taken when the log is 64 KiB long for each entry of the threshold.
    let value = "v".repeat(16 << 10);
    for number in 0..100 {
        cluster.members[number % 3].write(&format!("key-{number}"), &value).await;
    }
    until("a snapshot covers the beginning of the log", async || {
        let said = cluster.members[cluster.leader().await].describe().await.ok()?;
        (said.snapshot_index > 50).then_some(())
    })
    .await;

    let old = cluster.infos().await;
    let new = cluster.add_blank().await;
    cluster.members[new].join().await;
    let joined = cluster.members[new].info().await;
    let all: Vec<_> = old.iter().cloned().chain([joined.clone()]).collect();
    cluster.change(ids(&old), vec![joined.id.clone()], all.clone()).await;
    until("the learner holds everything", async || (cluster.members[new].count().await.ok()? >= 100).then_some(()))
        .await;
    // A member's report may be slightly out of date, so the test polls.
    let learner = until("the learner reports the snapshot", async || {
        cluster.members[new].describe().await.ok().filter(|said| said.snapshot_index > 50)
    })
    .await;
    assert_eq!(learner.role(), wire::Role::Learner);
    for name in ["raft_snapshots_received", "etcd_network_peer_sent_bytes", "etcd_network_peer_received_bytes"] {
        let name = format!("{name}_total");
        assert!(cluster.members[new].counter(&name).await > Some(0.0), "{name}");
    }
    until("a member counts the snapshot as sent", async || {
        for member in &cluster.members[..new] {
            if member.counter("raft_snapshots_sent").await > Some(0.0) {
                return Some(());
            }
        }
        None
    })
    .await;

    // One change gives the new member a vote and removes the first member, which may be the leader.
    let kept: Vec<_> = all[1..].to_vec();
    cluster.change(ids(&kept), Vec::new(), kept.clone()).await;
    cluster.members[0].in_phase(wire::Phase::Removed).await;
    cluster.members[new].write("after", "v").await;

    cluster.members[0].terminate();
    assert_eq!(cluster.members[0].ended().await, Some(0));
    let said = cluster.members[0].start().await;
    assert_eq!(said.phase(), wire::Phase::Removed, "the tombstone is on its disk");
    assert!(cluster.members[0].put("nowhere", "v").await.is_err());
}

/// The member is removed while it does not run. After its next start, the other members notify it of its removal.
#[tokio::test]
async fn a_member_that_was_removed_while_stopped_learns_of_it_at_its_next_start() {
    let mut cluster = Cluster::bootstrapped("removed-away", 3, &[]).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    let infos = cluster.infos().await;
    cluster.members[away].kill().await;
    let kept: Vec<_> = infos.iter().filter(|info| info.name != cluster.members[away].name).cloned().collect();
    cluster.change(ids(&kept), Vec::new(), kept.clone()).await;
    cluster.members[away].start().await;
    cluster.members[away].in_phase(wire::Phase::Removed).await;
    cluster.members[leader].write("key", "v").await;
}

#[tokio::test]
async fn a_transfer_makes_its_target_the_leader() {
    let cluster = Cluster::bootstrapped("transfer", 3, &[]).await;
    // The attempt is repeated, because on a busy machine an election may change the leader between the query for the
    // leader and the transfer.
    until("the leader transfers leadership to its target", async || {
        let leader = cluster.leader().await;
        let successor = &cluster.members[(leader + 1) % 3];
        let (own, target) = (cluster.members[leader].id().await, successor.id().await);
        let mut admin = cluster.members[leader].admin().await.ok()?;
        let request = wire::TransferLeadershipRequest { target: own.clone() };
        let answer = admin.transfer_leadership(with_token(request)).await.ok()?.into_inner();
        assert_eq!(answer.leader, own, "a transfer to the leader itself changes nothing");
        let request = wire::TransferLeadershipRequest { target: target.clone() };
        let answer = admin.transfer_leadership(with_token(request)).await.ok()?.into_inner();
        assert_eq!(answer.leader, target);
        (successor.describe().await.ok()?.role() == wire::Role::Leader).then_some(())
    })
    .await;
}
