//! Planted bugs must be detected, each within its budget of seeds; otherwise the simulator would prove nothing. Owns
//! the runs with planted bugs, and checks that the kill table in `tests/README.md` shows their results.
//! `UPDATE=1 cargo test -p planted-bugs` writes the table; `BUG=name` plants only one bug.

mod hunts;
mod list;
mod small_worlds;
mod table;

use hunts::{Caught, Hunted};
use list::{Hunt, MUTANTS, Mutant, Plant, SmallWorld};
use planted_bugs::cases::{below_reserve, deposed, links, rolled_lease, stalled_disk};
use planted_bugs::cores::Options;
use planted_bugs::cores::run::{judge, run};
use planted_bugs::invariant::{Checked, Violation};
use raft::bugs::BUGS;
use small_worlds::bounds::Bounds;
use small_worlds::search;
use world::seed::Seed;

/// Runs one seed or case with the bug planted.
fn attempt(mutant: &Mutant, case: u64) -> Checked {
    let sabotage = match mutant.plant {
        Plant::Around(sabotage) => Some(sabotage),
        Plant::Core => None,
    };
    match mutant.hunt {
        Hunt::Life => {
            let options = Options { sabotage, ..Options::default() };
            judge(Seed(case), &options).map(drop)
        }
        Hunt::Links => links::try_one_way(case),
        Hunt::Deposed => deposed::try_case(case, sabotage),
        Hunt::RolledLease => rolled_lease::try_case(case, sabotage),
        Hunt::StalledDisk => stalled_disk::try_case(case),
        Hunt::SmallWorld(_) => Ok(()),
        Hunt::BelowReserve => below_reserve::try_case(case),
    }
}

/// Explores a small world with the bug planted. The number of seeds is the number of states that were visited.
fn explore(SmallWorld { bounds, part, invariant }: SmallWorld, budget: u64) -> Option<Caught> {
    let bounds = Bounds { states_max: budget as usize, ..bounds };
    let violation = search::explore(&bounds).err()?;
    violation.what.contains(part).then(|| Caught {
        invariant,
        seeds: violation.states as u64,
        seen: violation.to_string(),
    })
}

impl Hunted for Mutant {
    fn name(&self) -> &'static str {
        self.name
    }

    fn of(&self) -> &'static str {
        match self.plant {
            Plant::Core => BUGS.iter().find(|bug| bug.name == self.name).map_or("", |bug| bug.of),
            Plant::Around(sabotage) => sabotage.of(),
        }
    }

    fn budget(&self) -> u64 {
        self.budget
    }

    fn hunt(&self) -> Option<Caught> {
        let core = matches!(self.plant, Plant::Core).then_some(self.name);
        raft::switch::plant(core);
        let caught = match self.hunt {
            Hunt::SmallWorld(world) => explore(world, self.budget),
            _ => hunts::by_seeds(self.budget, |case| {
                let Violation { invariant, seen } = attempt(self, case).err()?;
                Some((invariant, seen))
            }),
        };
        raft::switch::plant(None);
        caught
    }
}

#[test]
fn every_planted_bug_is_caught_within_its_budget() {
    hunts::catch_all(MUTANTS);
}

/// With all bugs switched off, the copy of the core behaves like the shipped core, so no seed fails.
#[test]
fn no_seed_fails_without_a_planted_bug() {
    for seed in 0..20 {
        run(Seed(seed), &Options::default()).unwrap_or_else(|failure| panic!("\n{failure}"));
    }
}

/// Every bug that can be planted, in the core or around it, has exactly one entry in `MUTANTS`.
#[test]
fn every_bug_is_hunted_once() {
    let hunted = |name: &str| MUTANTS.iter().filter(|mutant| mutant.name == name).count();
    for bug in BUGS {
        assert_eq!(hunted(bug.name), 1, "{} must be in the list of hunts once", bug.name);
    }
    for sabotage in planted_bugs::cores::sabotage::Sabotage::ALL {
        assert_eq!(hunted(&format!("{sabotage:?}")), 1, "{sabotage:?} must be in the list of hunts once");
    }
}
