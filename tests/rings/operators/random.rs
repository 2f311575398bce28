//! Random runs. Users, machines, disks and operators cause faults; then every fault is lifted, and the cluster must
//! heal.

use std::time::Duration;

use crds::raft_cluster::VolumeFate;
use operators::World;
use operators::executor::OperatorFaults;
use world::seed::{Random, Seed};
use world::settings;

/// Number of seeds of a test run.
const SEEDS: u64 = 100;

fn operator_faults(random: &mut Random) -> OperatorFaults {
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

#[test]
fn two_operators_with_stale_reads_crashes_and_lost_replies_never_break_a_cluster_and_always_finish() {
    for seed in settings::seeds(SEEDS) {
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
        println!("seed {seed}: healed at {:?}, {} writes", world.now, world.members.writes_applied());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let mut random = Random::new(Seed(7));
        let mut world = World::new(Seed(7), 3, vec![operator_faults(&mut random), operator_faults(&mut random)]);
        world.run_disturbed(Duration::from_secs(20));
        (world.members.newest_committed(), world.operators.iter().map(|operator| operator.actions).collect::<Vec<_>>())
    };
    assert_eq!(run(), run());
}
