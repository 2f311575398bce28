//! Whole runs that are drawn from one seed: faults of users, machines, disks and operators, then complete healing. Owns
//! what is drawn. Does not own the faults (`faults.rs`, `operator.rs`).

use std::time::Duration;

use crds::raft_cluster::VolumeFate;
use k8s_openapi::jiff::SignedDuration;
use plan::names;
use plan::observed::annotation;
use world::seed::{Random, Seed};

use crate::controllers::{self, FORMER_IMAGE};
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
        silences: worst(random, 50_000),
        silence_max: Duration::from_millis(random.between(1_000, 60_000)),
        watch_restarts: worst(random, 5_000),
        clock_ahead: SignedDuration::from_millis(random.below(10_000).cast_signed() - 5_000),
    }
}

/// Runs two operators for a minute with faults of every kind, then lifts the faults until the cluster is healed.
/// Returns the healed world.
///
/// # Panics
/// Panics if an invariant is violated, the cluster does not heal, or no write is applied.
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
    if random.below(2) == 0 {
        world.set_image(FORMER_IMAGE);
    }
    world.members.network.profile.loss = u32::try_from(random.below(50_000)).expect("small");
    world.run_disturbed(Duration::from_secs(60));
    world.lift_all_faults();
    world.run_until("healed", Duration::from_secs(180), World::is_healed);
    // A cluster that was formed only now has no write yet.
    world.run_until("a write is applied", Duration::from_secs(30), |world| world.members.writes_applied() > 0);
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
        world.invariants.note(world.now, format!("{pod} is cut off"));
        world.run(Duration::from_secs(5));
        world.members.lost.remove(&pod);
        world.invariants.note(world.now, format!("{pod} is back"));
        world.run(Duration::from_secs(10));
    }
    world.run_until("healed", Duration::from_secs(120), World::is_healed);
    assert!(
        members(&world) == before,
        "seed {seed}: a member was replaced that was never gone for long\n{}",
        world.invariants.history()
    );
}

/// Hides a member that serves from the operator, for longer than the replacement delay. Then cuts the member off for
/// less than this delay: it is not replaced, because the leader heard it before.
///
/// # Panics
/// Panics if an invariant is violated, the cluster does not heal, or the member was replaced.
pub fn hide_a_member(seed: u64) {
    let mut world = World::new(Seed(seed), 3, vec![OperatorFaults::NONE]);
    world.run_until("healed", Duration::from_secs(120), World::is_healed);
    let before = world.members.newest_committed().expect("a healed cluster has members");
    let leader = world.members.leader();
    let follower =
        before.members.iter().find(|(id, _)| Some(**id) != leader).map(|(_, info)| format!("{}-0", info.name));
    let pod = world.api.now().pods[&follower.expect("two members follow")].metadata.uid.clone().expect("it exists");
    world.members.hidden.insert(pod.clone());
    world.run(Duration::from_secs(20));
    world.invariants.last_fault = Some(world.now);
    world.members.lost.insert(pod.clone());
    world.run(Duration::from_secs(8));
    world.members.lost.remove(&pod);
    world.members.hidden.remove(&pod);
    world.run_until("healed", Duration::from_secs(120), World::is_healed);
    let after = world.members.newest_committed().map(|committed| committed.everyone());
    assert!(after == Some(before.everyone()), "seed {seed}: a member was replaced that was never gone for long");
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

/// Stops and starts a cluster again and again, at any point of what two faulty operators do, while users change the
/// spec. Then stops it without faults for a while, and starts it for the last time.
///
/// # Panics
/// Panics if an invariant is violated, a member of the stopped cluster starts, a write is lost, or the cluster does not
/// heal.
pub fn stop_and_start(seed: u64) {
    let mut random = Random::new(Seed(seed ^ 0x0057_0f00));
    let operators = vec![operator_faults(&mut random), operator_faults(&mut random)];
    let replicas = i32::try_from(random.between(1, 5)).expect("small");
    let fate = if random.below(3) == 0 { VolumeFate::Retain } else { VolumeFate::Delete };
    let mut world = World::new(Seed(seed), replicas, operators).with_removed_volumes(fate);
    for _ in 0..4 {
        world.run_changed(random.time(Duration::ZERO, Duration::from_secs(10)));
        world.set_stopped(true);
        world.run_changed(random.time(Duration::ZERO, Duration::from_secs(5)));
        world.set_stopped(false);
    }
    world.lift_all_faults();
    world.run_until("healed", Duration::from_secs(180), World::is_healed);
    let written = world.members.writes_applied();
    assert!(written > 0, "seed {seed}: no write was applied");
    world.set_stopped(true);
    world.run_until("stopped", Duration::from_secs(60), World::is_stopped);
    world.run_stopped(Duration::from_secs(15));
    world.set_stopped(false);
    world.run_until("healed", Duration::from_secs(180), World::is_healed);
    assert!(world.members.writes_applied() >= written, "seed {seed}: writes are lost");
}

/// Changes settings, or the number of replicas, and then stops the cluster, while two operators read stale states, and one
/// of them pauses before each of its writes for up to 20 s. Its late writes were decided before the stop, and must not
/// start a member. Neither may what was read before the stop.
///
/// # Panics
/// Panics if an invariant is violated, a member of the stopped cluster starts, or the cluster does not heal.
pub fn stop_before_late_writes(seed: u64) {
    let stale = OperatorFaults { stale_max: 20, ..OperatorFaults::NONE };
    let slow = OperatorFaults { pauses: 1_000_000, pause_max: Duration::from_secs(20), ..stale };
    let mut world = World::new(Seed(seed), 3, vec![stale, slow]);
    world.run_until("healed", Duration::from_secs(120), World::is_healed);
    for round in 0..4 {
        let grows = round % 2 == 0;
        if grows {
            // Only the slow operator creates members.
            world.operators[0].halt(world.now + slow.pause_max);
            world.set_replicas(5);
        } else {
            world.set_replicas(3);
            world.change_settings();
        }
        let longest = if grows { slow.pause_max } else { Duration::from_secs(1) };
        let until_stop = world.random.time(Duration::ZERO, longest);
        world.run(until_stop);
        world.set_stopped(true);
        world.run_until("stopped", Duration::from_secs(60), World::is_stopped);
        world.run_stopped(Duration::from_secs(21));
        world.set_stopped(false);
        if !grows {
            // What was decided between two stops arrives after the second one.
            let until_stop = world.random.time(Duration::ZERO, slow.pause_max);
            world.operators[0].halt(world.now + until_stop);
            world.run(until_stop);
            world.set_stopped(true);
            world.run_until("stopped", Duration::from_secs(60), World::is_stopped);
            world.run_stopped(Duration::from_secs(21));
            world.set_stopped(false);
        }
        world.run_until("healed", Duration::from_secs(180), World::is_healed);
    }
}

/// Makes the StatefulSets look as if a former version of the operator had written them: they carry no stamp, and their
/// pod templates render the same settings in another way. The operator writes the StatefulSets, but changes no pod.
///
/// # Panics
/// Panics if an invariant is violated, or a pod template changes.
pub fn upgrade_operator(seed: u64) {
    let mut world = World::new(Seed(seed), 3, vec![OperatorFaults::NONE]);
    world.run_until("healed", Duration::from_secs(120), World::is_healed);
    world.age_sets();
    let stamped = |world: &World| {
        let mut sets = world.api.now().sets.values();
        sets.all(|set| annotation(&set.metadata, names::ANNOTATION_APPLIED).is_some())
    };
    world.run_until("written by the new version", Duration::from_secs(60), stamped);
    world.run_until("healed", Duration::from_secs(60), World::is_healed);
    assert!(world.are_sets_aged(), "seed {seed}: a pod template was replaced by a new operator");
}

/// Breaks the settings of a cluster with one or three voters, while two operators read stale states and crash. One
/// member stops, for longer than the replacement delay. No volume goes, and the former settings bring it back.
///
/// # Panics
/// Panics if an invariant is violated, the cluster does not heal, more than one member stops, or a volume goes.
pub fn fail_a_rollout(seed: u64) {
    let mut random = Random::new(Seed(seed ^ 0x0bad_5e77));
    let operators = vec![operator_faults(&mut random), operator_faults(&mut random)];
    let replicas = if random.below(3) == 0 { 1 } else { 3 };
    let mut world = World::new(Seed(seed), replicas, operators);
    world.run_until("healed", Duration::from_secs(300), World::is_healed);
    world.run_until("recorded", Duration::from_secs(120), World::is_recorded);
    let configured = |world: &World| world.members.newest_committed().map(|committed| committed.everyone());
    let members = configured(&world).expect("a healed cluster has members");
    // The volume of a newcomer that is not needed goes, because the newcomer never joined.
    let claims = |world: &World| -> Vec<Option<String>> {
        members.iter().map(|id| world.members.claim_of(*id).map(str::to_owned)).collect()
    };
    let before = claims(&world);
    world.break_settings();
    for _ in 0..60 {
        world.run(Duration::from_secs(1));
        let broken = world.api.now().pods.values().filter(|pod| controllers::is_broken(pod)).count();
        assert!(broken <= 1, "seed {seed}: {broken} members run broken settings\n{}", world.invariants.history());
    }
    let still_there = |world: &World| {
        assert!(
            claims(world) == before,
            "seed {seed}: a volume of a failed rollout is gone\n{}",
            world.invariants.history()
        );
    };
    still_there(&world);
    world.take_settings_back();
    world.lift_all_faults();
    world.run_until("healed", Duration::from_secs(180), World::is_healed);
    still_there(&world);
    let replaced = configured(&world).is_none_or(|now| now != members);
    assert!(!replaced, "seed {seed}: a member of a failed rollout was replaced\n{}", world.invariants.history());
}

/// Breaks the settings of a cluster as soon as the former ones are recorded, and deletes two StatefulSets of five by hand.
/// The operator reads stale states. It creates both again with the former settings, although it may have read the
/// members' Service before the record was written. Therefore it replaces neither.
///
/// # Panics
/// Panics if an invariant is violated, the cluster does not heal, or a member is replaced.
pub fn create_again_after_the_record(seed: u64) {
    let stale = OperatorFaults { stale_max: 20, ..OperatorFaults::NONE };
    let mut world = World::new(Seed(seed), 5, vec![stale]);
    world.run_until("healed", Duration::from_secs(120), World::is_healed);
    let members = |world: &World| world.members.newest_committed().map(|committed| committed.everyone());
    let before = members(&world);
    for _ in 0..5 {
        world.delete_record();
        world.run_until("recorded", Duration::from_secs(180), World::is_recorded);
        world.break_settings();
        world.delete_set("demo-1-0");
        world.delete_set("demo-2-0");
        world.run(Duration::from_secs(20));
        world.take_settings_back();
        world.run_until("healed", Duration::from_secs(180), World::is_healed);
        assert!(members(&world) == before, "seed {seed}: a member was replaced\n{}", world.invariants.history());
    }
}
