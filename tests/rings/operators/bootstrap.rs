//! A bootstrap forms exactly one cluster, even if the operator crashes after any action, the status is erased, or a
//! disk is wiped.

use std::time::Duration;

use operators::World;
use operators::operator::OperatorFaults;
use world::seed::Seed;

/// Maximum number of actions in a bootstrap of three members.
const ACTIONS_MAX: u64 = 60;
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

fn world() -> World {
    World::new(Seed(1), 3, vec![OperatorFaults::NONE])
}

/// Runs until the operator has carried out `actions` actions in total, or until 20 s have passed.
pub(crate) fn run_to(world: &mut World, actions: u64) {
    let limit = world.now + Duration::from_secs(20);
    while world.operators[0].actions < actions && world.now < limit {
        world.step();
    }
}

pub(crate) fn erase_status(world: &mut World) {
    let mut cluster = world.api.now().cluster.clone().expect("the cluster exists");
    cluster.status = None;
    world.api.put_cluster(&cluster);
}

pub(crate) fn wipe(world: &mut World, member: u32) {
    let claim = world.api.now().volumes.get(&format!("data-demo-{member}-0"));
    if let Some(uid) = claim.and_then(|claim| claim.metadata.uid.clone()) {
        world.members.wipe(&uid);
    }
}

#[test]
fn three_members_form_one_cluster() {
    let mut world = world();
    world.run_until("healed", PATIENCE, World::is_healed);
    let committed = world.members.newest_committed().expect("formed");
    let names: Vec<&str> = committed.members.values().map(|info| info.name.as_str()).collect();
    assert_eq!(names.len(), 3);
    assert!(names.iter().all(|name| ["demo-1", "demo-2", "demo-3"].contains(name)), "{names:?}");
    assert_eq!(world.invariants.identities(), 1);
}

#[test]
fn a_crash_after_any_action_and_a_lost_status_do_not_prevent_the_bootstrap() {
    for actions in 0..ACTIONS_MAX {
        let mut world = world();
        run_to(&mut world, actions);
        world.operators[0].crash();
        erase_status(&mut world);
        world.run_until("healed", PATIENCE, World::is_healed);
        assert_eq!(world.invariants.identities(), 1, "crashed after {actions} actions");
    }
}

#[test]
fn a_disk_wiped_between_any_two_actions_is_replaced() {
    for actions in 0..ACTIONS_MAX {
        for member in 1..=3 {
            let mut world = world();
            run_to(&mut world, actions);
            wipe(&mut world, member);
            world.operators[0].crash();
            erase_status(&mut world);
            world.run_until("healed", PATIENCE, World::is_healed);
            assert_eq!(world.invariants.identities(), 1, "member {member} was wiped after {actions} actions");
        }
    }
}

/// If a majority of the disks of the first voters is wiped, no second identity is created
/// (`operator/docs/decisions/identity.md`).
#[test]
fn a_majority_wiped_between_the_choice_of_voters_and_the_bootstrap_stalls_the_cluster() {
    let mut world = world();
    world.run_until("voters are chosen", PATIENCE, |world| !world.invariants.first_voters.is_empty());
    wipe(&mut world, 1);
    wipe(&mut world, 2);
    // The operator goes on when both members answer again. A silent member could still have its disk.
    world.operators[0].crash();
    let resumes_at = world.now + Duration::from_secs(5);
    world.operators[0].halt(resumes_at);
    world.run_until("stalled", PATIENCE, |world| world.condition("Stalled").as_deref() == Some("True"));
    assert_eq!(world.reason("Stalled").as_deref(), Some("BootstrapIncomplete"));
    world.run(Duration::from_secs(30));
    assert_eq!(world.invariants.identities(), 1);
    assert!(world.members.newest_committed().is_none(), "no other cluster was formed");
}

/// The operator never replaces a lost cluster by an empty cluster (`operator/docs/decisions/identity.md`).
#[test]
fn a_cluster_whose_disks_are_all_wiped_waits_for_a_restore() {
    let mut world = world();
    world.run_until("healed", PATIENCE, World::is_healed);
    for member in 1..=3 {
        wipe(&mut world, member);
    }
    world.run_until("stalled", PATIENCE, |world| world.condition("Stalled").as_deref() == Some("True"));
    assert_eq!(world.reason("Stalled").as_deref(), Some("AwaitingRestore"));
    world.run(Duration::from_secs(30));
    assert_eq!((world.invariants.identities(), world.api.now().sets.len()), (1, 3));
}
