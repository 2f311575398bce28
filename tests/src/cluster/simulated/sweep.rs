//! Many seeds, on all processors; each run itself is single-threaded. Owns the sharing of the work; the lowest seed that fails
//! is the one that is told about.

use std::env;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::cluster::simulated::Options;
use crate::cluster::simulated::run::{Failure, run};
use crate::cluster::simulated::totals::Totals;
use crate::world::seed::Seed;

#[derive(Debug, Default)]
struct Found {
    totals: Totals,
    failure: Option<Box<Failure>>,
}

/// The seeds that the environment asks for: `SEED=n` that one alone, `SEEDS=n` the first so many, else `usual` ones.
///
/// # Panics
/// What it asks for is not a number.
#[must_use]
pub fn asked_for(usual: u64) -> Range<u64> {
    let number = |variable: &str| {
        let text = env::var(variable).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
    };
    match number("SEED") {
        Some(seed) => seed..seed.saturating_add(1),
        None => 0..number("SEEDS").unwrap_or(usual),
    }
}

/// Runs the seeds until one fails; `progress` is told the totals after each.
///
/// # Errors
/// A seed failed.
pub fn sweep(seeds: Range<u64>, options: &Options, progress: impl Fn(&Totals) + Sync) -> Result<Totals, Box<Failure>> {
    sweep_by(seeds, |seed| run(seed, options), progress)
}

/// The same, for another kind of run.
///
/// # Errors
/// A seed failed.
pub fn sweep_by(
    seeds: Range<u64>,
    run: impl Fn(Seed) -> Result<Totals, Box<Failure>> + Sync,
    progress: impl Fn(&Totals) + Sync,
) -> Result<Totals, Box<Failure>> {
    let next = AtomicU64::new(seeds.start);
    let found = Mutex::new(Found::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = run(Seed(seed));
            let mut found = found.lock().expect("no holder of this lock panics");
            match outcome {
                Ok(totals) => found.totals.add(&totals),
                Err(failure) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    if found.failure.as_ref().is_none_or(|first| failure.seed < first.seed) {
                        found.failure = Some(failure);
                    }
                }
            }
            progress(&found.totals);
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(work);
        }
    });
    let Found { totals, failure } = found.into_inner().expect("no holder of this lock panics");
    failure.map_or(Ok(totals), Err)
}
