//! Every step of a change, one at a time: the operator dies after each of its actions, the status is erased, and the change
//! is still finished.

use std::time::Duration;

use operators::World;
use operators::executor::Troubles;
use world::seed::Seed;

use crate::bootstrap::{PATIENCE, erase_status, run_to, wipe};

/// Actions that one change may take at most, in all.
const ACTIONS_MAX: u64 = 80;

fn healed(replicas: i32) -> World {
    let mut world = World::new(Seed(1), replicas, vec![Troubles::NONE]);
    world.run_until("healed", PATIENCE, World::is_healed);
    world
}

/// Until the operator comes to its end without dying.
fn dies_after_each_action(begin: impl Fn() -> World, change: impl Fn(&mut World)) {
    for actions in 0..ACTIONS_MAX {
        let mut world = begin();
        let before = world.operators[0].actions;
        change(&mut world);
        run_to(&mut world, before + actions);
        let is_over = world.operators[0].actions < before + actions;
        world.operators[0].die();
        erase_status(&mut world);
        world.run_until("healed", PATIENCE, World::is_healed);
        assert_eq!(world.watch.records, 1, "died after {actions} actions");
        if is_over {
            assert!(actions > 5, "{actions} actions change nothing");
            return;
        }
    }
    panic!("it takes more than {ACTIONS_MAX} actions");
}

#[test]
fn scaling_up_is_finished() {
    dies_after_each_action(|| healed(3), |world| world.set_replicas(5));
}

#[test]
fn scaling_down_is_finished() {
    dies_after_each_action(|| healed(5), |world| world.set_replicas(3));
}

#[test]
fn a_wiped_member_is_replaced() {
    for member in 1..=3 {
        dies_after_each_action(|| healed(3), |world| wipe(world, member));
    }
}

#[test]
fn a_restore_next_to_the_volumes_of_a_former_cluster_is_finished() {
    let begin = || World::new(Seed(1), 3, vec![Troubles::NONE]).to_restore(3);
    dies_after_each_action(begin, |_| ());
}

#[test]
fn a_restore_that_fails_is_finished_when_the_cause_goes() {
    let mut world = World::new(Seed(1), 3, vec![Troubles::NONE]).to_restore(3);
    world.members.store_is_broken = true;
    world.run_until("told", PATIENCE, |world| world.reason("Ready").as_deref() == Some("StoreUnreachable"));
    let before = world.members.attempts;
    world.run_until("tried again", PATIENCE, |world| world.members.attempts >= before + 3);
    world.members.store_is_broken = false;
    world.run_until("healed", PATIENCE, World::is_healed);
}

/// Retained volumes of removed members are left alone while no member leads.
#[test]
fn an_outage_starts_no_removed_member_again() {
    let world = World::new(Seed(1), 5, vec![Troubles::NONE]);
    let mut world = world.with_removed_volumes(crds::raft_cluster::VolumeFate::Retain);
    world.run_until("healed", PATIENCE, World::is_healed);
    world.set_replicas(3);
    world.run_until("smaller", PATIENCE, World::is_healed);
    let lost: Vec<String> = world.api.now().pods.values().skip(1).filter_map(|pod| pod.metadata.uid.clone()).collect();
    world.members.lost.extend(lost);
    world.run_until("told", PATIENCE, |world| world.reason("Ready").as_deref() == Some("QuorumLost"));
    world.run(Duration::from_secs(10));
    assert_eq!(world.api.now().sets.len(), 3);
}

/// The node's readiness says nothing of who hears it (node/src/health.rs): of three voters one answers, with a ready
/// pod, while the leader does not hear it. A restart of the third would leave the leader alone.
#[test]
fn a_rollout_waits_for_a_voter_that_the_leader_does_not_hear() {
    let mut world = healed(3);
    let leader = world.members.leader().expect("it is healed");
    let committed = world.members.newest_committed().expect("it is healed");
    let mut others: Vec<_> = committed.members.iter().filter(|(id, _)| **id != leader).collect();
    others.sort_by_key(|(_, info)| info.name.clone());
    let [(_, third), (away, _)] = others[..] else { panic!("two others") };
    let pod =
        |world: &World| world.api.now().pods.get(&format!("{}-0", third.name)).and_then(|pod| pod.metadata.uid.clone());
    let before = pod(&world);
    world.members.cut(leader, *away);
    world.run(Duration::from_secs(3));
    world.change_settings();
    world.run(Duration::from_secs(20));
    assert_eq!(pod(&world), before, "it was restarted while the leader had no other member");
    assert_eq!(world.reason("Degraded").as_deref(), Some("MemberCutOff"));
    world.members.mend();
    world.run_until("healed", PATIENCE, World::is_healed);
    assert_ne!(pod(&world), before, "it was restarted in the end");
}
