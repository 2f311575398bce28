//! A rolling change of lease and election timeout. For a while, the leader has one setting and its followers have the
//! other. In even cases both values are raised and only the leader is restarted; in odd cases both values are lowered
//! and all members except the leader are restarted. Then the leader is cut off with one follower and reads by its
//! lease, while the other members elect another leader.
//!
//! Owns the cases, each with the longest lease that the rules allow (`raft::Config::leader_lease`). Does not own the
//! check that no read is stale (`invariant`).

use std::time::Duration;

use raft::{Config, MemberId};
use world::seed::{Random, Seed};

use super::{only_leader, until};
use crate::cores::driver_state::Input;
use crate::cores::run::become_healthy;
use crate::cores::sabotage::Sabotage;
use crate::cores::{CoreCluster, Options};
use crate::fault::Faults;
use crate::invariant::Checked;
use crate::profile::Profile;
use crate::sweep::catching_panics;
use crate::version::keep_to_the_rules;

/// Number of cases.
pub const CASES: u64 = 60;

/// Runs one case.
///
/// # Errors
/// Returns a violation if a read was stale or the cluster did not heal.
pub fn try_case(case: u64, sabotage: Option<Sabotage>) -> Checked {
    let mut random = Random::new(Seed(case));
    let usual = Config { lease_reads: true, ..Profile::undisturbed(5).config };
    let long = usual.election_timeout * random.between(2, 3) as u32;
    let mut short = Config { leader_lease: usual.election_timeout - usual.clock_drift * 2, ..usual.clone() };
    let mut long = Config { election_timeout: long, leader_lease: long - usual.clock_drift * 2, ..usual };
    if sabotage != Some(Sabotage::RollsLeaseAheadOfTimeout) {
        keep_to_the_rules(&mut short, &mut long);
    }
    let (before, after) = if case.is_multiple_of(2) { (short, long) } else { (long, short) };
    let profile = Profile {
        clients: 4,
        think: (Duration::from_millis(5), Duration::from_millis(20)),
        patience: Duration::from_millis(200),
        config: before,
        ..Profile::undisturbed(5)
    };
    let options = Options { faults: Faults::none(), profile: Some(profile), sabotage, trace: 0, ..Options::default() };
    let mut cluster = catching_panics(|| CoreCluster::new(Seed(case), &options))?;
    catching_panics(|| play(&mut cluster, &mut random, after, case))?;
    cluster.into_parts().1.check().map(drop)
}

fn play(cluster: &mut CoreCluster, random: &mut Random, after: Config, case: u64) -> Checked {
    let election = cluster.profile.config.election_timeout.max(after.election_timeout);
    let leads = |cluster: &CoreCluster| only_leader(cluster).is_some() && cluster.invariants.committed().0 > 3;
    until(cluster, election * 10, "a fresh cluster elects a leader", leads, |_| "no member leads".to_owned())?;
    let Some(first) = only_leader(cluster) else { return Ok(()) };
    cluster.profile.config = after;
    let mut others: Vec<MemberId> = cluster.members.keys().copied().filter(|id| *id != first).collect();
    random.shuffle(&mut others);
    let leader = if case.is_multiple_of(2) { others.remove(0) } else { first };
    let restarted = if leader == first { others.clone() } else { vec![leader] };
    for id in restarted {
        cluster.crash(id)?;
        let is_up = |cluster: &CoreCluster| cluster.members[&id].is_up();
        until(cluster, election * 10, "a member starts again", is_up, |_| format!("{id} is down"))?;
        // The restarted member must receive messages from the leader before the next step, because otherwise another
        // leader could be elected.
        cluster.run_for(Duration::from_millis(400))?;
    }
    if leader != first {
        cluster.input_now(first, Input::Transfer { target: Some(leader) });
    }
    let leads = |cluster: &CoreCluster| only_leader(cluster) == Some(leader);
    until(cluster, election * 2, "the chosen member leads", leads, |cluster| format!("{:?} lead", cluster.leaders()))?;
    cluster.run_for(Duration::from_millis(400))?;
    cut_off(cluster, leader, &others);
    cluster.run_for(election * 4)?;
    cluster.network.mend();
    become_healthy(cluster)
}

/// Cuts off the leader, together with the first of `others`, from all other members.
fn cut_off(cluster: &mut CoreCluster, leader: MemberId, others: &[MemberId]) {
    let stays = others[0];
    let away: Vec<MemberId> = cluster.members.keys().copied().filter(|id| ![leader, stays].contains(id)).collect();
    for here in [leader, stays] {
        for there in &away {
            cluster.network.cut(here, *there);
            cluster.network.cut(*there, here);
        }
    }
}
