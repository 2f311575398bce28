//! A leader that does not know that it was deposed. It is cut off with one follower, while the other three members
//! elect another leader and continue (raft-rs#234, etcd#20418, Raft thesis figures 3.6 and 3.7). In even cases the old
//! leader transfers its leadership; in odd cases it appends writes that the other three members do not receive. Then
//! the links are restored. Either the old leader and its follower crash while their logs are repaired, or the new
//! leader is isolated for a while.
//!
//! Owns the cases. Does not own the invariants that must hold (`invariant`).

use std::time::Duration;

use raft::MemberId;
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

/// Number of cases.
pub const CASES: u64 = 200;

/// The two sides of the cluster after the cut. `old` contains the old leader and the follower that stays connected to
/// the old leader. `new` contains the new leader and the two members that elect the new leader.
struct Sides {
    old: [MemberId; 2],
    new: [MemberId; 3],
}

/// Runs one case.
///
/// # Errors
/// Returns a violation if an invariant does not hold, a history is not linearizable, or the cluster does not heal.
pub fn try_case(case: u64, sabotage: Option<Sabotage>) -> Checked {
    let mut random = Random::new(Seed(case));
    let mut profile = Profile {
        clients: 4,
        think: (Duration::from_millis(15), Duration::from_millis(60)),
        patience: Duration::from_millis(200),
        padding: 64,
        ..Profile::undisturbed(5)
    };
    profile.config.lease_reads = random.coin();
    if random.coin() {
        // With slow disks, crashes are likely to happen while the logs are being repaired.
        profile.sync = (Duration::from_millis(5), Duration::from_millis(40));
    }
    profile.config.max_append_entries = *random.pick(&[1, 8, 64]);
    let options = Options { faults: Faults::none(), profile: Some(profile), sabotage, trace: 0, ..Options::default() };
    let mut cluster = catching_panics(|| CoreCluster::new(Seed(case), &options))?;
    catching_panics(|| play(&mut cluster, &mut random, case))?;
    cluster.into_parts().1.check().map(drop)
}

fn play(cluster: &mut CoreCluster, random: &mut Random, case: u64) -> Checked {
    let election = cluster.profile.config.election_timeout;
    let leads = |cluster: &CoreCluster| only_leader(cluster).is_some() && cluster.invariants.committed().0 > 3;
    until(cluster, election * 10, "a fresh cluster elects a leader", leads, |_| "no member leads".to_owned())?;
    // Clients pause until all members have the whole log, so that a transfer begins immediately.
    cluster.quiet();
    cluster.run_for(Duration::from_millis(300))?;
    let Some(leader) = only_leader(cluster) else { return Ok(()) };
    let mut others: Vec<MemberId> = cluster.members.keys().copied().filter(|id| *id != leader).collect();
    random.shuffle(&mut others);
    let sides = Sides { old: [leader, others[0]], new: [others[1], others[2], others[3]] };
    depose(cluster, &sides, case)?;
    cluster.run_for(random.time(Duration::from_millis(400), election * 4))?;
    repair(cluster, random, &sides)?;
    become_healthy(cluster)
}

/// Cuts the old leader and its follower off from all other members.
fn depose(cluster: &mut CoreCluster, sides: &Sides, case: u64) -> Checked {
    let transfers = case.is_multiple_of(2);
    for new in sides.new {
        for old in sides.old {
            cluster.network.cut(new, old);
            // If leadership is transferred, the link that carries `TimeoutNow` is not cut.
            if !(transfers && old == sides.old[0] && new == sides.new[0]) {
                cluster.network.cut(old, new);
            }
        }
    }
    if transfers {
        cluster.input_now(sides.old[0], Input::Transfer { target: Some(sides.new[0]) });
    } else {
        cluster.burst(sides.old[0], 1 + case % 200);
    }
    cluster.wake_clients();
    Ok(())
}

fn repair(cluster: &mut CoreCluster, random: &mut Random, sides: &Sides) -> Checked {
    cluster.network.mend();
    if random.below(3) == 0 {
        // Isolates the new leader for a while. Its log is the newest; two other members hold copies of it.
        for id in sides.old.into_iter().chain(sides.new).filter(|id| *id != sides.new[0]) {
            cluster.network.cut(sides.new[0], id);
            cluster.network.cut(id, sides.new[0]);
        }
        return cluster.run_for(random.time(Duration::from_secs(2), Duration::from_secs(6)));
    }
    for _ in 0..6 {
        cluster.run_for(random.long_tailed(Duration::from_micros(200), Duration::from_millis(100)))?;
        cluster.crash(*random.pick(&sides.old))?;
    }
    Ok(())
}
