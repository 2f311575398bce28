//! No volume is lost when what carries the identity is deleted, when the RaftCluster is deleted and created again, or when
//! volumes of an earlier cluster of the same name exist.

use std::time::Duration;

use operators::World;
use operators::faults::Labels;
use operators::operator::OperatorFaults;
use world::seed::Seed;

use crate::bootstrap::{PATIENCE, run_to};

fn healed(replicas: i32) -> World {
    let mut world = World::new(Seed(1), replicas, vec![OperatorFaults::NONE]);
    world.run_until("healed", PATIENCE, World::is_healed);
    world
}

/// A cluster never gets a second identity (`operator/docs/decisions/identity.md`).
#[test]
fn without_the_identity_no_object_is_created_or_deleted() {
    let mut world = healed(3);
    world.delete_identity();
    world.set_replicas(5);
    world.run_until("stalled", PATIENCE, |world| world.condition("Stalled").as_deref() == Some("True"));
    assert_eq!(world.reason("Stalled").as_deref(), Some("IdentityLost"));
    let writes = world.members.writes_applied();
    world.run(Duration::from_secs(30));
    let objects = world.api.now();
    assert_eq!(
        (world.invariants.identities(), objects.sets.len(), objects.volumes.len(), objects.secrets.len()),
        (1, 3, 3, 0)
    );
    assert!(world.members.writes_applied() > writes, "members continue to serve");
    world.put_identity_back();
    world.run_until("healed", PATIENCE, World::is_healed);
}

#[test]
fn the_pointer_and_its_service_come_back_while_the_cluster_runs() {
    for delete in [World::delete_pointer, World::delete_members_service] {
        let mut world = healed(3);
        delete(&mut world);
        world.set_replicas(5);
        world.run(Duration::from_secs(1));
        world.run_until("healed", PATIENCE, World::is_healed);
        assert_eq!((world.invariants.identities(), world.api.now().secrets.len()), (1, 1));
    }
}

/// The data is still there, with the same cluster ID, and the counts of the new spec apply.
#[test]
fn a_deleted_cluster_is_taken_up_again() {
    for (pause, replicas) in [(0, 3), (0, 5), (20, 1)] {
        let mut world = healed(3);
        let writes = world.members.writes_applied();
        world.delete_cluster();
        world.run(Duration::from_secs(pause));
        world.create_cluster_again();
        world.set_replicas(replicas);
        world.run(Duration::from_secs(1));
        world.run_until("healed", PATIENCE, World::is_healed);
        assert_eq!(world.invariants.identities(), 1);
        world.run_until("serving", PATIENCE, |world| world.members.writes_applied() > writes);
    }
}

/// Every step of taking up is safe by itself.
#[test]
fn a_crash_after_any_action_does_not_prevent_the_return() {
    for actions in 0..40 {
        let mut world = healed(3);
        world.delete_cluster();
        world.run(Duration::from_secs(2));
        world.create_cluster_again();
        let before = world.operators[0].actions;
        run_to(&mut world, before + actions);
        world.operators[0].crash();
        world.run_until("healed", PATIENCE, World::is_healed);
        assert_eq!(world.invariants.identities(), 1, "crashed after {actions} actions");
    }
}

/// The labels of the claims and the annotation of the Service show that a cluster existed, although no member answers.
#[test]
fn without_the_identity_and_without_an_answer_no_object_is_created() {
    let mut world = healed(3);
    world.delete_identity();
    let pods: Vec<String> = world.api.now().pods.values().filter_map(|pod| pod.metadata.uid.clone()).collect();
    world.members.lost.extend(pods);
    world.run_until("stalled", PATIENCE, |world| world.reason("Stalled").as_deref() == Some("IdentityLost"));
    world.run(Duration::from_secs(30));
    assert_eq!((world.invariants.identities(), world.api.now().sets.len(), world.api.now().volumes.len()), (1, 3, 3));
}

/// Only a person may delete the volumes of an earlier cluster (docs/volumes.md). An invariant checks after every step
/// that all of them still exist.
#[test]
fn unlabelled_volumes_of_a_former_cluster_survive_a_restore_too() {
    let mut world = World::new(Seed(1), 3, vec![OperatorFaults::NONE]).to_restore(0);
    world.leave_former_volumes(3, Labels::Missing);
    let grown = |world: &World| world.members.newest_committed().is_some_and(|it| it.voters.len() == 3);
    world.run_until("restored", PATIENCE, grown);
    world.run(Duration::from_secs(30));
    assert_eq!(world.invariants.former.len(), 3);
}
