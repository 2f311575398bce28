//! Volumes that are short of space: a member above its reserve leads if there is one, a quorum above its reserve commits, and a
//! cluster without any such member still elects a leader. Each case has another seed and cluster size.

use std::time::Duration;

use raft::{MemberId, Standing};
use world::seed::Seed;

use super::{only_leader, until};
use crate::cores::{CoreCluster, Options};
use crate::fault::Faults;
use crate::invariant::{Checked, ensure};
use crate::profile::Profile;
use crate::sweep::catching_panics;

/// Number of cases.
pub const CASES: u64 = 60;

/// Makes volumes short of space, in one of three ways that the number of the case chooses.
///
/// # Errors
/// Returns a violation if a member leads that should not, if no member leads, or if the cluster commits nothing although a
/// quorum has space.
pub fn try_case(case: u64) -> Checked {
    let profile = Profile {
        think: (Duration::from_millis(5), Duration::from_millis(20)),
        ..Profile::undisturbed(3 + case / 3 % 3)
    };
    let election = profile.config.election_timeout;
    let options = Options { faults: Faults::none(), profile: Some(profile), trace: 0, ..Options::default() };
    let mut cluster = catching_panics(|| CoreCluster::new(Seed(case), &options))?;
    let leads = |cluster: &CoreCluster| only_leader(cluster).is_some() && cluster.invariants.committed().0 > 3;
    until(&mut cluster, election * 10, "a fresh cluster elects a leader", leads, |_| "no member leads".to_owned())?;
    cluster.run_for(election)?;
    let standing = if (case / 3).is_multiple_of(2) { Standing::Below } else { Standing::Exhausted };
    match case % 3 {
        0 => few_are_short(&mut cluster, election, standing),
        1 => all_are_short(&mut cluster, election, standing),
        _ => one_has_space(&mut cluster, election, standing),
    }
}

fn seen(cluster: &CoreCluster) -> String {
    let standings: Vec<_> = cluster.members.iter().map(|(id, member)| (id.0, member.standing)).collect();
    format!("{:?} lead, {standings:?}", cluster.leaders())
}

/// The members except the leader, and the leader.
fn others(cluster: &CoreCluster) -> Option<(MemberId, Vec<MemberId>)> {
    let leader = only_leader(cluster)?;
    Some((leader, cluster.members.keys().copied().filter(|id| *id != leader).collect()))
}

fn leads_above(cluster: &CoreCluster) -> bool {
    only_leader(cluster).is_some_and(|leader| cluster.members[&leader].standing == Standing::Above)
}

/// Waits until the cluster commits what clients propose.
fn commits(cluster: &mut CoreCluster, span: Duration) -> Checked {
    let enough = cluster.invariants.committed().0 + 5;
    let commits = |cluster: &CoreCluster| cluster.invariants.committed().0 >= enough;
    until(cluster, span, "a quorum above its reserve serves", commits, seen)
}

/// The leader and as many others as a quorum can do without.
fn few_are_short(cluster: &mut CoreCluster, election: Duration, standing: Standing) -> Checked {
    let Some((leader, others)) = others(cluster) else { return Ok(()) };
    let spared = others.len() / 2 - 1;
    cluster.stand(leader, standing);
    commits(cluster, election)?;
    others.iter().take(spared).for_each(|id| cluster.stand(*id, standing));
    until(cluster, election * 4, "a leader below its reserve is replaced", leads_above, seen)?;
    commits(cluster, election * 2)?;
    cluster.run_for(election * 3)?;
    ensure(leads_above(cluster), "a leader below its reserve is replaced", || seen(cluster))?;
    commits(cluster, election)
}

fn all_are_short(cluster: &mut CoreCluster, election: Duration, standing: Standing) -> Checked {
    let Some((leader, others)) = others(cluster) else { return Ok(()) };
    cluster.stand(leader, standing);
    others.iter().for_each(|id| cluster.stand(*id, standing));
    cluster.run_for(election)?;
    cluster.destroy(leader);
    let leads = |cluster: &CoreCluster| only_leader(cluster).is_some();
    until(cluster, election * 20, "voters that are all below their reserves elect a leader", leads, seen)?;
    others.iter().for_each(|id| cluster.stand(*id, Standing::Above));
    cluster.run_for(election)?;
    commits(cluster, election * 2)
}

/// Only one member has space, so that it leads, and nothing is committed until another one has.
fn one_has_space(cluster: &mut CoreCluster, election: Duration, standing: Standing) -> Checked {
    let Some((leader, others)) = others(cluster) else { return Ok(()) };
    let Some((above, rest)) = others.split_last() else { return Ok(()) };
    cluster.stand(leader, standing);
    rest.iter().for_each(|id| cluster.stand(*id, standing));
    let above = *above;
    let leads = |cluster: &CoreCluster| only_leader(cluster) == Some(above);
    until(cluster, election * 4, "the only member above its reserve leads", leads, seen)?;
    cluster.run_for(election)?;
    let before = cluster.invariants.committed();
    cluster.run_for(election)?;
    ensure(cluster.invariants.committed() == before, "nothing is committed without space", || seen(cluster))?;
    rest.iter().for_each(|id| cluster.stand(*id, Standing::Above));
    commits(cluster, election * 2)
}
