//! Clusters that are stopped and started, and StatefulSets that a former version of the operator wrote.

use std::time::Duration;

use operators::World;
use operators::life::{stop_and_start, stop_before_late_writes, upgrade_operator};
use operators::operator::OperatorFaults;
use world::seed::Seed;
use world::settings;

use crate::bootstrap::PATIENCE;

#[test]
fn a_cluster_that_is_stopped_and_started_at_any_time_loses_nothing() {
    for seed in settings::seeds(10) {
        stop_and_start(seed);
    }
}

#[test]
fn a_late_write_starts_no_member_of_a_stopped_cluster() {
    for seed in settings::seeds(5) {
        stop_before_late_writes(seed);
    }
}

#[test]
fn a_stopped_cluster_can_be_deleted() {
    let mut world = World::new(Seed(1), 3, vec![OperatorFaults::NONE, OperatorFaults::NONE]);
    world.run_until("healed", PATIENCE, World::is_healed);
    world.set_stopped(true);
    world.run_until("stopped", PATIENCE, World::is_stopped);
    world.delete_cluster();
    world.run_until("gone", PATIENCE, World::is_gone);
    world.run(Duration::from_secs(30));
    assert!(world.is_gone(), "nothing comes back");
}

#[test]
fn a_new_operator_changes_no_pod_by_itself() {
    upgrade_operator(1);
}
