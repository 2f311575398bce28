//! Runs of seeds on all processors. Does not own which seeds run (`settings.rs`), or what a run does.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;

/// Runs each of the seeds, as many at a time as there are processors. Returns when all of them are done.
///
/// # Panics
/// Panics after the runs if one of them panicked. The thread of that run takes no further seed.
pub fn on_all_processors(seeds: Range<u64>, run: impl Fn(u64) + Sync) {
    let seeds = Mutex::new(seeds);
    let next = || seeds.lock().ok().and_then(|mut seeds| seeds.next());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZeroUsize::get) {
            scope.spawn(|| std::iter::from_fn(next).for_each(&run));
        }
    });
}
