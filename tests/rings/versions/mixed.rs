//! Both programs in one cluster: either leads, members of either join, and snapshots pass in both directions.

use std::path::Path;

use proto::admin as wire;

use crate::cluster::Member;
use crate::pair::Pair;
use crate::until::until;
use crate::{former, program};

fn ids(infos: &[wire::MemberInfo]) -> Vec<String> {
    infos.iter().map(|info| info.id.clone()).collect()
}

/// Adds a member that runs `program`: by a snapshot from the leader, as a learner, and then as the voter that replaces the member
/// at `replaced`. Returns its place.
async fn replace(
    pair: &mut Pair,
    replaced: usize,
    program: &Path,
    transferred: impl AsyncFn(&Member) -> bool,
) -> usize {
    let old = pair.cluster.infos().await;
    pair.cluster.program = program.to_owned();
    let new = pair.cluster.add_blank().await;
    pair.cluster.members[new].join().await;
    let all = pair.cluster.infos().await;
    pair.cluster.change(ids(&old), vec![all[new].id.clone()], all.clone()).await;
    pair.has_caught_up(new).await;
    let leader = pair.cluster.leader().await;
    for place in [leader, new] {
        let member = &pair.cluster.members[place];
        println!("{}: snapshot at {}", member.name, member.describe().await.unwrap().snapshot_index);
    }
    until("a member counts the snapshot", async || {
        for member in &pair.cluster.members {
            if transferred(member).await {
                return Some(());
            }
        }
        None
    })
    .await;
    let kept: Vec<_> = all.iter().filter(|info| info.id != all[replaced].id).cloned().collect();
    pair.cluster.change(ids(&kept), Vec::new(), kept.clone()).await;
    pair.cluster.members[replaced].in_phase(wire::Phase::Removed).await;
    let mut removed = pair.cluster.members.remove(replaced);
    removed.kill().await;
    new - 1
}

/// Only the present program counts the snapshots that it sends and receives.
async fn counts(member: &Member, name: &str) -> bool {
    member.counter(name).await > Some(0.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_present_program_leads_and_a_former_member_joins() {
    let mut pair = Pair::of("present-leads", &former()).await;
    pair.switch(0, &program()).await;
    pair.lead(0).await;
    pair.writes.more(300).await;
    pair.takes_a_snapshot(0).await;
    let sent = async |member: &Member| counts(member, "raft_snapshots_sent").await;
    let joined = replace(&mut pair, 1, &former(), sent).await;
    pair.writes.more(100).await;
    pair.lead(joined).await;
    pair.writes.more(100).await;
    pair.is_needed(joined).await;
    pair.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_former_program_leads_and_a_present_member_joins() {
    let mut pair = Pair::of("former-leads", &former()).await;
    pair.switch(0, &program()).await;
    pair.lead(1).await;
    pair.writes.more(300).await;
    pair.takes_a_snapshot(1).await;
    let received = async |member: &Member| counts(member, "raft_snapshots_received").await;
    let joined = replace(&mut pair, 2, &program(), received).await;
    pair.writes.more(100).await;
    pair.lead(joined).await;
    pair.writes.more(100).await;
    pair.lead(1).await;
    pair.is_needed(joined).await;
    pair.check().await;
}
