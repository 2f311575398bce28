//! A leader whose disk stalls must be replaced within two election timeouts, even if its network and its clock work
//! (hashicorp/raft#503, tikv#19626, etcd#15247). Owns that requirement. Each case has another seed and cluster size.

use std::time::Duration;

use world::seed::Seed;

use super::{only_leader, until};
use crate::cores::{CoreCluster, Options};
use crate::fault::Faults;
use crate::invariant::Checked;
use crate::profile::Profile;
use crate::sweep::catching_panics;

/// Number of cases.
pub const CASES: u64 = 40;

/// Stalls a leader's disk permanently.
///
/// # Errors
/// Returns a violation if the leader keeps its leadership, or if its successor commits nothing.
pub fn try_case(case: u64) -> Checked {
    let profile =
        Profile { think: (Duration::from_millis(5), Duration::from_millis(20)), ..Profile::undisturbed(3 + case % 3) };
    let election = profile.config.election_timeout;
    let options = Options { faults: Faults::none(), profile: Some(profile), trace: 0, ..Options::default() };
    let mut cluster = catching_panics(|| CoreCluster::new(Seed(case), &options))?;
    let leads = |cluster: &CoreCluster| only_leader(cluster).is_some() && cluster.invariants.committed().0 > 3;
    until(&mut cluster, election * 10, "a fresh cluster elects a leader", leads, |_| "no member leads".to_owned())?;
    let Some(stalled) = only_leader(&cluster) else { return Ok(()) };
    let end = cluster.now() + election * 1_000;
    cluster.members.get_mut(&stalled).expect("a leader is a member").stalled_until = end;
    let replaced = |cluster: &CoreCluster| only_leader(cluster).is_some_and(|leader| leader != stalled);
    let seen = |cluster: &CoreCluster| format!("the disk of {stalled} stalls, and {:?} lead", cluster.leaders());
    until(&mut cluster, election * 2, "a leader whose disk stalls is replaced", replaced, seen)?;
    let enough = cluster.invariants.committed().0 + 3;
    let commits = |cluster: &CoreCluster| cluster.invariants.committed().0 >= enough;
    until(&mut cluster, election * 2, "the successor serves", commits, seen)
}
