//! Hunts of planted bugs. Owns the order of hunts, the demand that each bug is caught within its budget, and the rows of
//! the kill table. Does not own the bugs, the kinds of runs (`main.rs` of each program) or the budgets (`list.rs`).

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use world::settings;

use crate::table;

/// How a planted bug was detected.
pub(crate) struct Caught {
    pub(crate) invariant: &'static str,
    /// What was seen.
    pub(crate) seen: String,
    /// Number of seeds that were needed.
    pub(crate) seeds: u64,
}

/// A planted bug, and the runs that must detect it.
pub(crate) trait Hunted: Copy + Sync {
    fn name(&self) -> &'static str;

    /// The implementation that had the bug, or the rule that the bug breaks.
    fn of(&self) -> &'static str;

    /// Number of seeds within which the bug must be detected.
    fn budget(&self) -> u64;

    /// Runs until the bug is detected or the budget is spent, with the bug switched on in this thread.
    fn hunt(&self) -> Option<Caught>;
}

/// Runs the seeds below `budget` until one returns what was violated, and what was seen.
pub(crate) fn by_seeds(budget: u64, run: impl Fn(u64) -> Option<(&'static str, String)>) -> Option<Caught> {
    (0..budget).find_map(|seed| {
        let (invariant, seen) = run(seed)?;
        Some(Caught { invariant, seen, seeds: seed + 1 })
    })
}

/// Hunts all bugs, or those that the environment names, and settles the kill table if all were hunted.
///
/// # Panics
/// Panics if a bug is not caught within its budget.
#[track_caller]
pub(crate) fn catch_all<M: Hunted>(mutants: &[M]) {
    let only = settings::bugs();
    let is_chosen =
        |mutant: &&M| only.as_deref().is_none_or(|names| names.split(',').any(|name| name == mutant.name()));
    let chosen: Vec<M> = mutants.iter().filter(is_chosen).copied().collect();
    assert!(!chosen.is_empty(), "unknown planted bug: {only:?}");
    let results = hunt_all(&chosen);
    let pairs = chosen.iter().zip(&results);
    let survivors = pairs.clone().filter(|(_, caught)| caught.is_none());
    let survivors: Vec<_> =
        survivors.map(|(mutant, _)| format!("{} within {}", mutant.name(), mutant.budget())).collect();
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
    if only.is_none() {
        let rows = pairs.filter_map(|(mutant, caught)| {
            let Caught { invariant, seeds, .. } = caught.as_ref()?;
            let (name, of, budget) = (mutant.name(), mutant.of(), mutant.budget());
            Some(table::Row { name, of, invariant, seeds: *seeds, budget })
        });
        table::settle(&rows.collect::<Vec<_>>());
    }
}

fn hunt_all<M: Hunted>(mutants: &[M]) -> Vec<Option<Caught>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(mutants.iter().map(|_| None).collect::<Vec<Option<Caught>>>());
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(|| {
                while let Some(place) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| *at < mutants.len()) {
                    let caught = mutants[place].hunt();
                    let name = mutants[place].name();
                    match &caught {
                        Some(Caught { invariant, seen, seeds }) => println!("{name}: {seeds}: {invariant}: {seen}"),
                        None => println!("{name}: not caught"),
                    }
                    results.lock().expect("no holder of this lock panics")[place] = caught;
                }
            });
        }
    });
    results.into_inner().expect("no holder of this lock panics")
}
