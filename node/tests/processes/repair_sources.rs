//! Tests of whom a member asks for the end of its damaged log: leaders that it does not know, members that have removed it, and leaders that
//! have purged what it needs. Does not own what a repair brings back (`repair.rs`).

use prost::Message;
use proto::admin::{self as wire, Phase};
use proto::peer::fetch_chunk::Kind;
use proto::peer::peer_client::PeerClient;
use proto::peer::{FetchReferral, FetchRequest, Greeting};
use tonic::{Code, Status};

use crate::cluster::{CLUSTER, Cluster, Member, connect, with_token};
use crate::repair::{damage, hashes_are_equal, holds, write};
use crate::until::until;

/// Stops a follower, and damages its log from the record of this put on.
async fn damaged_follower(cluster: &mut Cluster, puts: u32, number: u32) -> usize {
    write(cluster, 0..puts).await;
    let damaged = (cluster.leader().await + 1) % 3;
    holds(&cluster.members[damaged], i64::from(puts)).await;
    cluster.members[damaged].kill().await;
    damage(&cluster.members[damaged], number);
    damaged
}

async fn lead(cluster: &Cluster, target: usize) {
    until("the leader transfers leadership", async || {
        let leader = cluster.leader().await;
        if leader == target {
            return Some(());
        }
        let request = wire::TransferLeadershipRequest { target: cluster.members[target].id().await };
        let mut admin = cluster.members[leader].admin().await.ok()?;
        admin.transfer_leadership(with_token(request)).await.ok().map(drop)
    })
    .await;
}

fn ids(infos: &[wire::MemberInfo]) -> Vec<String> {
    infos.iter().map(|info| info.id.clone()).collect()
}

/// Sends `to` a call `Fetch` of `from` for the whole log.
async fn fetch(from: &wire::MemberInfo, to: &Member) -> Result<Vec<Kind>, Status> {
    let id = |text: &str| u64::from_str_radix(text, 16).expect("an ID");
    let cluster: Vec<u8> = (0..16).map(|at| u8::from_str_radix(&CLUSTER[2 * at..2 * at + 2], 16).unwrap()).collect();
    let (from, receiver) = (id(&from.id), id(&to.id().await));
    let greeting = Greeting { cluster_id: cluster.into(), from, to: receiver, protocol: 1, ..Greeting::default() };
    let channel = connect(&to.peer_url()).await?;
    let mut peer = PeerClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut answer =
        peer.fetch(FetchRequest { greeting: Some(greeting), ..FetchRequest::default() }).await?.into_inner();
    let mut chunks = Vec::new();
    while let Some(chunk) = answer.message().await? {
        chunks.extend(chunk.kind);
    }
    Ok(chunks)
}

#[tokio::test]
async fn a_leader_says_how_much_follows_and_others_name_the_leader() {
    let cluster = Cluster::bootstrapped("repair-head", 3, &[]).await;
    write(&cluster, 0..300).await;
    let infos = cluster.infos().await;
    until("the leader sends its log", async || {
        let leader = cluster.leader().await;
        let (follower, other) = ((leader + 1) % 3, (leader + 2) % 3);
        let chunks = fetch(&infos[follower], &cluster.members[leader]).await.ok()?;
        let refusal = fetch(&infos[follower], &cluster.members[other]).await.err()?;
        let referral = FetchReferral::decode(refusal.details()).ok()?;
        if format!("{:x}", referral.leader) != infos[leader].id {
            // Another one leads by now.
            return None;
        }
        assert_eq!((refusal.code(), &referral.peer_url), (Code::FailedPrecondition, &infos[leader].peer_url));
        let (mut expected, mut arrived) = (0, 0);
        for chunk in chunks {
            match chunk {
                Kind::Head(head) => expected = head.bytes,
                Kind::Entries(entries) => arrived += entries.entries.len() as u64,
            }
        }
        // The bytes of configurations are not counted.
        assert!(expected > 5_000 && (expected..expected + 2_000).contains(&arrived), "{arrived} of {expected}");
        Some(())
    })
    .await;
}

#[tokio::test]
async fn a_repair_is_referred_to_a_leader_that_it_does_not_know() {
    let mut cluster = Cluster::bootstrapped("repair-referred", 3, &[]).await;
    let old = cluster.infos().await;
    let damaged = damaged_follower(&mut cluster, 300, 100).await;
    let new = cluster.add_blank().await;
    cluster.members[new].join().await;
    let all: Vec<_> = old.iter().cloned().chain([cluster.members[new].info().await]).collect();
    cluster.change(ids(&old), ids(&all[3..]), all.clone()).await;
    cluster.change(ids(&all), Vec::new(), all.clone()).await;
    lead(&cluster, new).await;
    cluster.members[damaged].start().await;
    cluster.members[damaged].in_phase(Phase::Member).await;
    assert_eq!(cluster.leader().await, new, "another leader, which the member knew, may have repaired it");
    hashes_are_equal(&cluster).await;
}

/// The member's word is not taken: the voters that it knows say that it was removed.
#[tokio::test]
async fn a_member_that_was_removed_learns_of_it_while_its_log_is_damaged() {
    let mut cluster = Cluster::bootstrapped("repair-removed", 3, &[]).await;
    let infos = cluster.infos().await;
    let damaged = damaged_follower(&mut cluster, 300, 100).await;
    let kept: Vec<_> = infos.iter().filter(|info| info.name != cluster.members[damaged].name).cloned().collect();
    cluster.change(ids(&kept), Vec::new(), kept.clone()).await;
    cluster.members[damaged].start().await;
    cluster.members[damaged].in_phase(Phase::Removed).await;
    cluster.members[damaged].kill().await;
    let said = cluster.members[damaged].start().await;
    assert_eq!(said.phase(), Phase::Removed, "the tombstone is on its disk");
}

#[tokio::test]
async fn one_leader_that_has_purged_the_entries_does_not_end_the_repair() {
    let flags = ["--snapshot-threshold", "20", "--snapshot-trailing", "5", "--snapshots-retain", "1"];
    let mut cluster = Cluster::bootstrapped("repair-purged", 3, &flags).await;
    let infos = cluster.infos().await;
    let damaged = damaged_follower(&mut cluster, 50, 20).await;
    let others = [(damaged + 1) % 3, (damaged + 2) % 3];
    for other in others {
        // Whole segments are purged, and each start begins another one.
        cluster.members[other].kill().await;
        cluster.members[other].start().await;
    }
    let before = cluster.members[cluster.leader().await].describe().await.unwrap().applied_index;
    // A snapshot is taken when the log is 64 KiB long for each entry of the threshold.
    let value = "v".repeat(16 << 10);
    for number in 0..120 {
        cluster.members[others[number % 2]].write(&format!("long-{number}"), &value).await;
    }
    for other in others {
        until("a snapshot covers what was written before", async || {
            let said = cluster.members[other].describe().await.ok()?;
            (said.snapshot_index > before).then_some(())
        })
        .await;
    }
    let leader = cluster.leader().await;
    until("the leader has purged the beginning of its log", async || {
        let refusal = fetch(&infos[damaged], &cluster.members[leader]).await.err()?;
        (refusal.code() == Code::NotFound).then_some(())
    })
    .await;

    cluster.members[damaged].start().await;
    until("the repair meets a leader that has purged the entries", async || {
        let said = cluster.members[damaged].describe().await.ok()?;
        assert_eq!(said.phase(), Phase::Repairing, "{said:?}");
        said.repair?.what.contains("purged").then_some(())
    })
    .await;
    // Another leader says the same, so no member is left that has them.
    lead(&cluster, if leader == others[0] { others[1] } else { others[0] }).await;
    let said = cluster.members[damaged].in_phase(Phase::Damaged).await;
    assert!(said.error.contains("purged"), "{}", said.error);
}
