//! Random runs. Users, machines, disks and operators cause faults; then every fault is lifted, and the cluster must
//! heal.

use std::time::Duration;

use operators::World;
use operators::levels::{keep_members_that_come_back, refuse_old_newcomers, upgrade_and_take_back};
use operators::life::{
    create_again_after_the_record, fail_a_rollout, hide_a_member, interrupt_members, live, operator_faults,
};
use world::parallel::on_all_processors;
use world::seed::{Random, Seed};
use world::settings;

/// Number of seeds of a test run.
const SEEDS: u64 = 300;

#[test]
fn two_operators_with_stale_reads_crashes_and_lost_replies_never_break_a_cluster_and_always_finish() {
    on_all_processors(settings::seeds(SEEDS), |seed| {
        let world = live(seed);
        println!("seed {seed}: healed at {:?}, {} writes", world.now, world.members.writes_applied());
    });
}

#[test]
fn a_member_that_is_gone_for_less_than_the_delay_is_not_replaced() {
    for seed in settings::seeds(5) {
        interrupt_members(seed);
    }
}

#[test]
fn a_member_that_only_the_leader_hears_is_not_replaced_when_it_is_cut_off() {
    for seed in settings::seeds(5) {
        hide_a_member(seed);
    }
}

#[test]
fn a_failed_rollout_stops_at_one_member_and_its_volume_stays() {
    on_all_processors(settings::seeds(20), fail_a_rollout);
}

#[test]
fn a_member_that_is_too_old_or_repairs_its_disk_is_not_replaced() {
    for seed in settings::seeds(5) {
        keep_members_that_come_back(seed);
    }
}

#[test]
fn an_upgrade_is_taken_back_or_refused_and_no_member_is_replaced() {
    on_all_processors(settings::seeds(20), upgrade_and_take_back);
}

#[test]
fn newcomers_that_are_too_old_do_not_join() {
    for seed in settings::seeds(2) {
        refuse_old_newcomers(seed);
    }
}

#[test]
fn a_member_that_is_created_again_gets_the_settings_that_were_recorded_before_the_change() {
    for seed in settings::seeds(2) {
        create_again_after_the_record(seed);
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
