//! Only the operator that holds the lease works. When it dies or stops for a while, another one takes over, and the
//! cluster heals whatever the former one still does.

use std::time::Duration;

use operators::World;
use operators::operator::OperatorFaults;
use world::seed::Seed;

use crate::bootstrap::PATIENCE;

/// Time within which another operator takes over: the lease's duration, two periods, and some steps.
const TAKE_OVER: Duration = Duration::from_secs(21);

fn two_operators() -> World {
    World::with_lease(Seed(1), 3, vec![OperatorFaults::NONE, OperatorFaults::NONE])
}

/// The identity of the operator that holds the lease.
fn holder(world: &World) -> Option<String> {
    world.api.now().leases.values().next()?.spec.as_ref()?.holder_identity.clone()
}

/// Number of requests that each operator made, including those for the lease.
fn work(world: &World) -> Vec<u64> {
    world.operators.iter().map(|operator| operator.actions).collect()
}

#[test]
fn one_operator_works_and_the_other_waits() {
    let mut world = two_operators();
    world.run_until("healed", PATIENCE, World::is_healed);
    let mut work = work(&world);
    work.sort_unstable();
    assert!(work[0] <= 1 && work[1] > 10, "the one without the lease works: {work:?}");
}

#[test]
fn another_operator_takes_over_when_the_holder_dies() {
    let mut world = two_operators();
    world.run_until("healed", PATIENCE, World::is_healed);
    let (before, done) = (holder(&world), work(&world));
    let dead = usize::from(done[1] > done[0]);
    world.operators[dead].halt(world.now + Duration::from_secs(3600));
    world.operators[dead].crash();
    world.set_replicas(5);
    world.run_until("taken over", TAKE_OVER, |world| holder(world) != before);
    world.run_until("healed", PATIENCE, World::is_healed);
    assert_eq!(world.members.newest_committed().expect("formed").voters.len(), 5);
}

/// A process that was stopped does not notice that it lost the lease before it runs again. Its next request is then
/// carried out late.
#[test]
fn a_holder_that_stops_for_a_while_ends_itself_and_harms_nothing() {
    for at in (0..40).step_by(4) {
        let mut world = two_operators();
        let limit = world.now + PATIENCE;
        while work(&world).iter().max().is_none_or(|most| *most < at) && world.now < limit {
            world.step();
        }
        let before = holder(&world);
        let stopped = usize::from(work(&world)[1] > work(&world)[0]);
        world.operators[stopped].halt(world.now + Duration::from_secs(40));
        world
            .run_until("taken over", TAKE_OVER + TAKE_OVER, |world| holder(world).is_some() && holder(world) != before);
        world.run(Duration::from_secs(60));
        world.run_until("healed", PATIENCE, World::is_healed);
        assert_eq!(world.invariants.identities(), 1, "stopped after {at} requests");
    }
}
