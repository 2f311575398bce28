//! Bugs that are planted in the operator must be detected, each within its budget of seeds; otherwise the simulator of
//! operators would prove nothing. Owns the budgets: about four times the number of seeds needed when the bug was
//! planted, and at least ten. `BUG=name` plants only one bug.

use std::panic::catch_unwind;

use plan::bugs::BUGS;
use planted_operators::{levels, life};
use world::settings;

/// Kind of run in which a bug must be detected.
#[derive(Clone, Copy)]
enum Hunt {
    /// Whole runs with faults of every kind.
    Life,
    /// Runs in which members are gone for less than the replacement delay.
    Interruptions,
    /// Runs in which machines are lost, and the spec does not change.
    Losses,
    /// Runs in which the cluster is stopped before late writes arrive.
    LateWrites,
    /// Runs in which a new version of the operator takes over.
    Upgrade,
    /// Runs in which no member's program starts with new settings.
    Rollouts,
    /// Runs in which members come back that run a program that is too old, or repair their disks.
    Returns,
    /// Runs in which an image with another feature level is set and taken back.
    Upgrades,
    /// Runs in which StatefulSets are deleted right after the settings were recorded and changed.
    Records,
}

/// Every planted bug, the runs that must detect it, and the number of seeds within which they must.
const MUTANTS: &[(&str, Hunt, u64)] = &[
    ("NoAnnouncement", Hunt::Life, 10),
    ("DeleteByUidOnly", Hunt::Life, 10),
    ("ApplyWithoutUid", Hunt::Life, 10),
    ("ReplaceWithoutUid", Hunt::Life, 10),
    ("ReplaceWithoutVersion", Hunt::Life, 10),
    ("LateWriteStartsMember", Hunt::LateWrites, 20),
    ("LateCreateStartsMember", Hunt::LateWrites, 20),
    ("StopLeavesStoppedSets", Hunt::LateWrites, 48),
    ("RecordReadBeforeSpec", Hunt::Records, 10),
    ("TemplateReplacedByNewOperator", Hunt::Upgrade, 10),
    ("EvictWithoutUid", Hunt::Life, 10),
    ("CreateWithoutReservation", Hunt::Life, 10),
    ("ReplaceOnSilence", Hunt::Interruptions, 10),
    ("RemoveBeforeCaughtUp", Hunt::Losses, 10),
    ("BudgetNotRaised", Hunt::Life, 10),
    ("IdentityRecreated", Hunt::Life, 20),
    ("PointerOverwritten", Hunt::Life, 20),
    ("RoleLabelLate", Hunt::Life, 10),
    ("TrialForgotten", Hunt::Rollouts, 10),
    ("ReplacesTooNew", Hunt::Returns, 10),
    ("ReplacesRepairingAtOnce", Hunt::Returns, 10),
    ("RaisesDuringRollout", Hunt::Upgrades, 20),
];

fn run(hunt: Hunt, seed: u64) {
    match hunt {
        Hunt::Life => drop(life::live(seed)),
        Hunt::Interruptions => life::interrupt_members(seed),
        Hunt::Losses => life::lose_members(seed),
        Hunt::LateWrites => life::stop_before_late_writes(seed),
        Hunt::Upgrade => life::upgrade_operator(seed),
        Hunt::Rollouts => life::fail_a_rollout(seed),
        Hunt::Returns => levels::keep_members_that_come_back(seed),
        Hunt::Upgrades => levels::upgrade_and_take_back(seed),
        Hunt::Records => life::create_again_after_the_record(seed),
    }
}

/// Returns what detected the bug, and the number of seeds that it took.
fn hunt(name: &'static str, hunt: Hunt, budget: u64) -> Option<(String, u64)> {
    plan::switch::plant(Some(name));
    let caught = (0..budget).find_map(|seed| {
        let failed = catch_unwind(|| run(hunt, seed)).err()?;
        let text = failed.downcast_ref::<String>().cloned().unwrap_or_default();
        Some((text.lines().next().unwrap_or_default().to_owned(), seed + 1))
    });
    plan::switch::plant(None);
    caught
}

#[test]
fn every_planted_bug_is_caught_within_its_budget() {
    let only = settings::bugs();
    let is_chosen = |name: &str| only.as_deref().is_none_or(|names| names.split(',').any(|only| only == name));
    let mut survivors = Vec::new();
    for (name, kind, budget) in MUTANTS.iter().filter(|(name, ..)| is_chosen(name)) {
        match hunt(name, *kind, *budget) {
            Some((caught, seeds)) => println!("{name}: caught after {seeds} of {budget} seeds: {caught}"),
            None => survivors.push(format!("{name} within {budget}")),
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}

/// With all bugs switched off, the copies behave like the shipped operator, so no seed fails.
#[test]
fn no_seed_fails_without_a_planted_bug() {
    for seed in 0..3 {
        run(Hunt::Life, seed);
        run(Hunt::Interruptions, seed);
        run(Hunt::Losses, seed);
        run(Hunt::LateWrites, seed);
        run(Hunt::Upgrade, seed);
        run(Hunt::Rollouts, seed);
        run(Hunt::Returns, seed);
        run(Hunt::Upgrades, seed);
        run(Hunt::Records, seed);
    }
}

/// Every bug that can be planted has exactly one entry in `MUTANTS`.
#[test]
fn every_bug_is_hunted_once() {
    for bug in BUGS {
        assert_eq!(MUTANTS.iter().filter(|(name, ..)| *name == bug.name).count(), 1, "{}", bug.name);
    }
    assert_eq!(MUTANTS.len(), BUGS.len());
}
