//! Runs many seeds on all processors; each run is single-threaded. Owns the distribution of the work. Reports the
//! lowest seed that fails.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};
use std::thread;

use world::seed::Seed;

use crate::coverage::Coverage;
use crate::invariant::Violation;

#[derive(Debug, Default)]
struct Found {
    coverage: Coverage,
    failure: Option<Box<Failure>>,
}

/// Runs seeds until one fails. After each seed, `progress` receives the coverage of all runs so far.
///
/// # Errors
/// Returns the lowest seed that failed.
pub fn sweep(
    seeds: Range<u64>,
    run: impl Fn(Seed) -> Result<Coverage, Box<Failure>> + Sync,
    progress: impl Fn(&Coverage) + Sync,
) -> Result<Coverage, Box<Failure>> {
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
                Ok(coverage) => found.coverage.add(&coverage),
                Err(failure) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    if found.failure.as_ref().is_none_or(|first| failure.seed < first.seed) {
                        found.failure = Some(failure);
                    }
                }
            }
            progress(&found.coverage);
        }
    };
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(work);
        }
    });
    let Found { coverage, failure } = found.into_inner().expect("no holder of this lock panics");
    failure.map_or(Ok(coverage), Err)
}

/// A seed that failed.
#[derive(Debug)]
pub struct Failure {
    /// The seed.
    pub seed: Seed,
    /// The invariant that was violated.
    pub violation: Violation,
    /// The last lines of the trace.
    pub trace: Vec<String>,
    /// Command that runs the seed again.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} violates {}", self.seed, self.violation)?;
        write!(f, "run it again: {}", self.replay)
    }
}

thread_local! {
    /// Message of the panic that `catching_panics` is catching.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`. A panic in `work` becomes a violation and is not printed.
///
/// # Errors
/// Returns the violation.
pub fn catching_panics<T>(work: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if LISTENS.get() {
                let place = panic.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
                let message = panic.payload_as_str().unwrap_or("a panic without a message");
                PANIC.set(Some(format!("{message}{}", place.unwrap_or_default())));
            } else {
                usual(panic);
            }
        }));
    });
    LISTENS.set(true);
    let verdict = catch_unwind(AssertUnwindSafe(work));
    LISTENS.set(false);
    let panicked = |_| Err(Violation { invariant: "an assertion", seen: PANIC.take().unwrap_or_default() });
    verdict.unwrap_or_else(panicked)
}
