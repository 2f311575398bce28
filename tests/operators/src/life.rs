//! Whole runs that are drawn from one seed: faults of users, machines, disks and operators, then complete healing. Owns
//! what is drawn. Does not own the faults (`faults.rs`, `operator.rs`).

use std::time::Duration;

use crds::raft_cluster::VolumeFate;
use world::seed::{Random, Seed};

use crate::operator::OperatorFaults;
use crate::world::World;

/// Draws the faults of an operator.
#[must_use]
pub fn operator_faults(random: &mut Random) -> OperatorFaults {
    let worst = |random: &mut Random, most: u64| u32::try_from(random.below(most)).expect("small");
    OperatorFaults {
        lost_replies: worst(random, 100_000),
        lost_calls: worst(random, 100_000),
        crashes: worst(random, 200_000),
        pauses: worst(random, 300_000),
        pause_max: Duration::from_millis(random.between(10, 20_000)),
        stale_max: random.below(20),
    }
}

/// Runs two operators for a minute with faults of every kind, then lifts the faults until the cluster is healed.
/// Returns the healed world.
///
/// # Panics
/// Panics if an invariant is violated, the cluster does not heal, or no write was applied.
#[must_use]
pub fn live(seed: u64) -> World {
    let mut random = Random::new(Seed(seed ^ 0x00c0_ffee));
    let operators = vec![operator_faults(&mut random), operator_faults(&mut random)];
    let replicas = i32::try_from(random.between(1, 5)).expect("small");
    let fate = if random.below(3) == 0 { VolumeFate::Retain } else { VolumeFate::Delete };
    let mut world = World::new(Seed(seed), replicas, operators).with_removed_volumes(fate);
    if random.below(4) == 0 {
        world = world.to_restore(u32::try_from(random.below(4)).expect("small"));
    }
    world.members.network.profile.loss = u32::try_from(random.below(50_000)).expect("small");
    world.run_disturbed(Duration::from_secs(60));
    world.lift_all_faults();
    world.run_until("healed", Duration::from_secs(180), World::is_healed);
    assert!(world.members.writes_applied() > 0, "seed {seed}: no write was applied");
    world
}

/// Cuts members of a cluster of three off again and again, each for half of the replacement delay, while an operator
/// loses calls. No member is gone for long, therefore none may be replaced.
///
/// # Panics
/// Panics if an invariant is violated, the cluster does not heal, or a member was replaced.
pub fn interrupt_members(seed: u64) {
    let lossy = OperatorFaults { lost_calls: 100_000, ..OperatorFaults::NONE };
    let mut world = World::new(Seed(seed), 3, vec![lossy]);
    world.run_until("healed", Duration::from_secs(120), World::is_healed);
    let members = |world: &World| world.members.newest_committed().map(|committed| committed.everyone());
    let before = members(&world);
    for _ in 0..5 {
        let pods: Vec<String> = world.api.now().pods.values().filter_map(|pod| pod.metadata.uid.clone()).collect();
        let pod = world.random.pick(&pods).clone();
        world.invariants.last_fault = Some(world.now);
        world.members.lost.insert(pod.clone());
        world.run(Duration::from_secs(5));
        world.members.lost.remove(&pod);
        world.run(Duration::from_secs(10));
    }
    world.run_until("healed", Duration::from_secs(120), World::is_healed);
    assert!(members(&world) == before, "seed {seed}: a member was replaced that was never gone for long");
}

/// Takes machines from a cluster of three, one after the other, for longer than the replacement delay. Each member is
/// replaced, and the number of voters never shrinks.
///
/// # Panics
/// Panics if an invariant is violated, or the cluster does not heal.
pub fn lose_members(seed: u64) {
    let mut world = World::new(Seed(seed), 3, vec![OperatorFaults::NONE]);
    world.run_until("healed", Duration::from_secs(120), World::is_healed);
    for _ in 0..2 {
        let pods: Vec<String> = world.api.now().pods.values().filter_map(|pod| pod.metadata.uid.clone()).collect();
        let pod = world.random.pick(&pods).clone();
        world.invariants.last_fault = Some(world.now);
        world.members.lost.insert(pod);
        world.run(Duration::from_secs(15));
        // The pod on the machine can be stopped only when the machine is back.
        world.members.lost.clear();
        world.run_until("healed", Duration::from_secs(180), World::is_healed);
    }
}
