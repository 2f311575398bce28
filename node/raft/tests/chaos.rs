//! Random clusters under random faults. Owns the choice of faults and the check of recovery: each run injects all kinds
//! of faults, then ends all faults, and requires that the cluster recovers. Does not own the safety properties, which
//! are checked after every output (`network/safety.rs`).

#[path = "network/cluster.rs"]
mod network;

use std::collections::BTreeSet;
use std::time::Duration;

use network::{Cluster, STEADY, id};
use raft::{Config, Index, Role};
use world::network::NetworkProfile;

/// `SEEDS=n` runs n seeds; `SEED=n` runs only seed n.
#[test]
fn faults_never_break_safety_and_a_cluster_without_faults_recovers() {
    for seed in world::settings::seeds(200) {
        let outcome = std::panic::catch_unwind(|| run_seed(seed));
        assert!(outcome.is_ok(), "seed {seed} failed: SEED={seed} cargo test -p raft --test chaos");
    }
}

fn small_limits(config: &mut Config) {
    config.snapshot_threshold = 20;
    config.snapshot_trailing = 5;
    config.max_append_entries = 4;
    config.max_inflight_messages = 8;
    config.heartbeat_interval = Duration::from_millis(50);
    config.election_timeout = Duration::from_millis(300);
    config.leader_lease = Duration::from_millis(150);
    config.transfer_timeout = Duration::from_millis(300);
}

/// All members except member 2 use lease reads. All members must therefore respect leases.
fn with_leases(config: &mut Config) {
    small_limits(config);
    config.lease_reads = config.id.0 != 2;
}

fn run_seed(seed: u64) {
    let voters = 1 + seed % 5;
    let adjust = if seed.is_multiple_of(3) { with_leases } else { small_limits };
    let mut cluster = Cluster::adjusted(voters, seed, adjust);
    let mut everyone: BTreeSet<u64> = (1..=voters).collect();
    cluster.network.profile = NetworkProfile {
        loss: cluster.random.below(10) as u32 * 10_000,
        duplication: cluster.random.below(10) as u32 * 10_000,
        delay: (Duration::from_millis(1), Duration::from_millis(1 + cluster.random.below(40))),
        ..STEADY
    };
    for _ in 0..cluster.random.below(400) + 100 {
        act(&mut cluster, &mut everyone);
        let ms = cluster.random.below(30);
        cluster.run_ms(ms);
    }
    cluster.heal();
    recover(&mut cluster);
}

fn act(cluster: &mut Cluster, everyone: &mut BTreeSet<u64>) {
    let place = cluster.random.below(everyone.len() as u64) as usize;
    let Some(number) = everyone.iter().nth(place).copied() else { return };
    let runs = cluster.runs(number);
    match cluster.random.below(100) {
        0..50 if runs => {
            cluster.propose(number);
        }
        50..62 if runs => {
            cluster.read(number);
        }
        62..66 if runs => cluster.lose_power(number),
        66..74 if !runs && cluster.member(number).removed.is_none() => cluster.start(number),
        74..77 => cluster.cut_off(number),
        77..80 => {
            let other = 1 + cluster.random.below(everyone.len() as u64);
            cluster.network.cut(id(number), id(other));
        }
        80..85 => cluster.network.mend(),
        85..87 => cluster.member_mut(number).disk_ms = None,
        87..90 => cluster.member_mut(number).disk_ms = Some(1 + cluster.now_ms % 30),
        90..92 => cluster.member_mut(number).apply_stalls = cluster.now_ms.is_multiple_of(2),
        92..95 => transfer(cluster, number),
        95..100 => change(cluster, everyone),
        _ => {}
    }
}

fn transfer(cluster: &mut Cluster, number: u64) {
    if let Some(leader) = cluster.leader() {
        let target = cluster.random.percent(50).then_some(id(number));
        let _ = cluster.with(leader, |raft, now| raft.transfer(now, target));
    }
}

/// Requests a random configuration, which may contain new members. Most of these requests are illegal, so that refusals
/// are tested, too.
fn change(cluster: &mut Cluster, everyone: &mut BTreeSet<u64>) {
    let Some(leader) = cluster.leader() else { return };
    let (now, _) = cluster.raft(leader).configuration();
    let now = now.clone();
    let pick = cluster.random.number();
    let mut voters: Vec<u64> = now.voters.iter().map(|id| id.0).collect();
    let mut learners: Vec<u64> = now.learners.iter().map(|id| id.0).collect();
    match pick % 4 {
        0 if everyone.len() < 9 => {
            let fresh = everyone.iter().max().copied().unwrap_or(0) + 1;
            cluster.add_blank(fresh);
            everyone.insert(fresh);
            learners.push(fresh);
        }
        1 if !learners.is_empty() => voters.push(learners.remove(pick as usize / 7 % learners.len())),
        2 if voters.len() > 1 => {
            let gone = voters.remove(pick as usize / 7 % voters.len());
            if pick.is_multiple_of(3) {
                learners.push(gone);
            }
        }
        _ if !learners.is_empty() && voters.len() > 1 => {
            let promoted = learners.remove(pick as usize / 7 % learners.len());
            voters.remove(pick as usize / 11 % voters.len());
            voters.push(promoted);
        }
        _ => {}
    }
    let _ = cluster.change(&voters, &learners);
}

/// Proposes repeatedly, across transfers and elections, until a leader commits the proposal.
fn propose_patiently(cluster: &mut Cluster) -> Vec<u8> {
    for _ in 0..20 {
        let leader = cluster.elect();
        let Some(content) = cluster.propose(leader) else {
            cluster.run_ms(100);
            continue;
        };
        cluster.run_ms(500);
        if cluster.has_applied(leader, &content) {
            return content;
        }
    }
    panic!("no member serves: {}", cluster.render());
}

/// Checks that a leader is elected, that all members converge and serve reads, and that no proposal was applied twice.
fn recover(cluster: &mut Cluster) {
    cluster.elect();
    cluster.until("a settled configuration", 20_000, |cluster| {
        cluster.leader().is_some_and(|leader| {
            let raft = cluster.raft(leader);
            !raft.configuration().0.is_joint() && raft.configuration().1 == raft.committed_configuration().1
        })
    });
    let content = propose_patiently(cluster);
    cluster.until("all members converge", 20_000, |cluster| {
        let Some(leader) = cluster.leader() else { return false };
        let (configuration, _) = cluster.raft(leader).configuration();
        let mut members = configuration.voters.union(&configuration.learners);
        members.all(|id| cluster.runs(id.0) && cluster.has_applied(id.0, &content))
    });
    cluster.until("removed members learn of their removal", 20_000, |cluster| {
        let Some(leader) = cluster.leader() else { return false };
        let (configuration, _) = cluster.raft(leader).configuration();
        configuration.removed.iter().all(|id| {
            let member = cluster.member(id.0);
            // A member that requests no votes, or requests votes only from removed members, cannot learn of its
            // removal.
            let voters = member.requested_voters();
            member.removed.is_some() || voters.is_disjoint(&configuration.voters)
        })
    });
    let leader = cluster.elect();
    let (configuration, _) = cluster.raft(leader).configuration();
    let members: Vec<u64> = configuration.voters.union(&configuration.learners).map(|id| id.0).collect();
    for number in &members {
        let context = cluster.read(*number);
        cluster.until("a read is served", 5_000, |cluster| cluster.member(*number).ready_reads.contains_key(&context));
    }
    cluster.until("all members hold the same state", 5_000, |cluster| {
        members.iter().all(|number| cluster.member(*number).state == cluster.member(leader).state)
    });
    assert!(cluster.raft(leader).soft_state().role == Role::Leader);
    assert!(cluster.safety.commit > Index(0));
    cluster.safety.assert_each_once();
}
