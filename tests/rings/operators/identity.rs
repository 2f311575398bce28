//! Whose data it is: the Secret with the identity is deleted, and volumes of an earlier cluster are there. No disk may
//! be lost by it.

use std::time::Duration;

use operators::World;
use operators::executor::Troubles;
use operators::faults::Labels;
use world::seed::Seed;

use crate::bootstrap::PATIENCE;

fn healed(replicas: i32) -> World {
    let mut world = World::new(Seed(1), replicas, vec![Troubles::NONE]);
    world.run_until("healed", PATIENCE, World::is_healed);
    world
}

/// Never a second identity (`operator/docs/decisions/identity.md`).
#[test]
fn without_the_identity_nothing_is_made_and_nothing_goes() {
    let mut world = healed(3);
    world.delete_identity();
    world.set_replicas(5);
    world.run_until("stalled", PATIENCE, |world| world.condition("Stalled").as_deref() == Some("True"));
    assert_eq!(world.reason("Stalled").as_deref(), Some("IdentityLost"));
    let writes = world.members.writes_applied();
    world.run(Duration::from_secs(30));
    let objects = world.api.now();
    assert_eq!((world.watch.records, objects.sets.len(), objects.volumes.len(), objects.secrets.len()), (1, 3, 3, 0));
    assert!(world.members.writes_applied() > writes, "members go on serving");
    world.put_identity_back();
    world.run_until("healed", PATIENCE, World::is_healed);
}

/// The members' own answers tell less than their claims' labels and the note on their Service.
#[test]
fn without_the_identity_and_without_an_answer_nothing_is_made() {
    let mut world = healed(3);
    world.delete_identity();
    let pods: Vec<String> = world.api.now().pods.values().filter_map(|pod| pod.metadata.uid.clone()).collect();
    world.members.lost.extend(pods);
    world.run_until("stalled", PATIENCE, |world| world.reason("Stalled").as_deref() == Some("IdentityLost"));
    world.run(Duration::from_secs(30));
    assert_eq!((world.watch.records, world.api.now().sets.len(), world.api.now().volumes.len()), (1, 3, 3));
}

/// docs/volumes.md: nothing but a person deletes what an earlier cluster left. The invariant is checked at every step.
#[test]
fn unlabelled_volumes_of_a_former_cluster_survive_a_restore_too() {
    let mut world = World::new(Seed(1), 3, vec![Troubles::NONE]).to_restore(0);
    world.leave_former_volumes(3, Labels::Missing);
    let grown = |world: &World| world.members.newest_committed().is_some_and(|it| it.voters.len() == 3);
    world.run_until("restored", PATIENCE, grown);
    world.run(Duration::from_secs(30));
    assert_eq!(world.watch.former.len(), 3);
}
