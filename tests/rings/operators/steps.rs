//! A change of the cluster is completed even if the operator crashes after any of its actions and the status is
//! erased.

use std::time::Duration;

use operators::World;
use operators::operator::OperatorFaults;
use world::seed::Seed;

use crate::bootstrap::{PATIENCE, erase_status, run_to, wipe};

/// Maximum number of actions in one change.
const ACTIONS_MAX: u64 = 80;

fn healed(replicas: i32) -> World {
    let mut world = World::new(Seed(1), replicas, vec![OperatorFaults::NONE]);
    world.run_until("healed", PATIENCE, World::is_healed);
    world
}

/// Runs the change repeatedly. In each run, the operator crashes after a different number of actions.
fn crash_after_each_action(begin: impl Fn() -> World, change: impl Fn(&mut World)) {
    for actions in 0..ACTIONS_MAX {
        let mut world = begin();
        let before = world.operators[0].actions;
        change(&mut world);
        run_to(&mut world, before + actions);
        let is_over = world.operators[0].actions < before + actions;
        world.operators[0].crash();
        erase_status(&mut world);
        world.run_until("healed", PATIENCE, World::is_healed);
        assert_eq!(world.invariants.identities(), 1, "crashed after {actions} actions");
        if is_over {
            assert!(actions > 5, "{actions} actions are too few for a change");
            return;
        }
    }
    panic!("the change takes more than {ACTIONS_MAX} actions");
}

#[test]
fn scaling_up_is_finished() {
    crash_after_each_action(|| healed(3), |world| world.set_replicas(5));
}

#[test]
fn scaling_down_is_finished() {
    crash_after_each_action(|| healed(5), |world| world.set_replicas(3));
}

/// With one voter, leadership has to be transferred to a second one before the first one leaves.
#[test]
fn a_move_to_another_storage_class_is_finished() {
    crash_after_each_action(|| healed(1), |world| world.set_storage("2Gi", "fast"));
}

/// Voters and a learner move one after the other, and no operator takes one away before its successor has caught up.
#[test]
fn two_operators_move_every_member_to_another_storage_class() {
    let mut world = World::new(Seed(1), 4, vec![OperatorFaults::NONE; 2]);
    world.run_until("healed", PATIENCE, World::is_healed);
    world.set_storage("1Gi", "slow");
    world.run_until("moved", PATIENCE * 4, World::is_healed);
    let sets: Vec<String> = world.api.now().sets.keys().cloned().collect();
    world.set_storage("2Gi", "slow");
    world.run(Duration::from_secs(2));
    world.run_until("grown", PATIENCE, World::is_healed);
    assert!(world.api.now().sets.keys().eq(&sets), "growth replaces no member");
}

#[test]
fn a_wiped_member_is_replaced() {
    for member in 1..=3 {
        crash_after_each_action(|| healed(3), |world| wipe(world, member));
    }
}

#[test]
fn a_restore_next_to_the_volumes_of_a_former_cluster_is_finished() {
    let begin = || World::new(Seed(1), 3, vec![OperatorFaults::NONE]).to_restore(3);
    crash_after_each_action(begin, |_| ());
}

#[test]
fn a_failed_restore_is_finished_when_the_cause_is_removed() {
    let mut world = World::new(Seed(1), 3, vec![OperatorFaults::NONE]).to_restore(3);
    world.members.store_is_broken = true;
    world.run_until("the cause is reported", PATIENCE, |world| {
        world.reason("Ready").as_deref() == Some("StoreUnreachable")
    });
    let before = world.members.attempts;
    world.run_until("tried again", PATIENCE, |world| world.members.attempts >= before + 3);
    world.members.store_is_broken = false;
    world.run_until("healed", PATIENCE, World::is_healed);
}

/// While no member leads, the operator starts no member on the retained volume of a removed member.
#[test]
fn a_removed_member_is_not_restarted_during_an_outage() {
    let world = World::new(Seed(1), 5, vec![OperatorFaults::NONE]);
    let mut world = world.with_removed_volumes(crds::raft_cluster::VolumeFate::Retain);
    world.run_until("healed", PATIENCE, World::is_healed);
    world.set_replicas(3);
    world.run_until("smaller", PATIENCE, World::is_healed);
    let lost: Vec<String> = world.api.now().pods.values().skip(1).filter_map(|pod| pod.metadata.uid.clone()).collect();
    world.members.lost.extend(lost);
    world.run_until("the outage is reported", PATIENCE, |world| world.reason("Ready").as_deref() == Some("QuorumLost"));
    world.run(Duration::from_secs(10));
    assert_eq!(world.api.now().sets.len(), 3);
}

/// A ready pod does not prove that its member receives messages from the leader (node/src/health.rs). In this test, one
/// of three voters has a ready pod but is cut off from the leader. A restart of another voter would therefore lose the
/// quorum.
#[test]
fn a_rollout_waits_for_a_voter_that_is_cut_off_from_the_leader() {
    let mut world = healed(3);
    let leader = world.members.leader().expect("the cluster is healed");
    let committed = world.members.newest_committed().expect("the cluster is healed");
    let mut others: Vec<_> = committed.members.iter().filter(|(id, _)| **id != leader).collect();
    others.sort_by_key(|(_, info)| info.name.clone());
    let [(_, third), (cut_off, _)] = others[..] else { panic!("the cluster has three voters") };
    let pod =
        |world: &World| world.api.now().pods.get(&format!("{}-0", third.name)).and_then(|pod| pod.metadata.uid.clone());
    let before = pod(&world);
    world.members.cut(leader, *cut_off);
    world.run(Duration::from_secs(3));
    world.change_settings();
    world.run(Duration::from_secs(20));
    assert_eq!(pod(&world), before, "the third voter was restarted while the leader reached no other");
    assert_eq!(world.reason("Degraded").as_deref(), Some("MemberCutOff"));
    world.members.mend();
    world.run_until("healed", PATIENCE, World::is_healed);
    assert_ne!(pod(&world), before, "the third voter was never restarted");
}
