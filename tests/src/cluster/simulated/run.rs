//! One seed from beginning to end: the safety phase with its faults, then everything is healed and must become whole. Owns the
//! phases, the verdict, and the second run of a failed seed that tells what happened.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::time::Duration;

use crate::check::healed;
use crate::cluster::simulated::totals::Totals;
use crate::cluster::simulated::{Options, Simulated};
use crate::invariant::{Checked, Violation, ensure};
use crate::world::seed::Seed;

/// How long clients are served after healing.
const SERVE: Duration = Duration::from_secs(20);
/// How long a healed cluster may take to become whole once its clients are quiet.
const WHOLE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A seed that failed.
#[derive(Debug)]
pub struct Failure {
    /// Which.
    pub seed: Seed,
    /// What was wrong.
    pub violation: Violation,
    /// The last that happened.
    pub trace: Vec<String>,
    /// How to see it again.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "seed {} violates {}", self.seed, self.violation)?;
        write!(f, "again: {}", self.replay)
    }
}

/// Runs one seed.
///
/// # Errors
/// It failed; it was run a second time to tell the story.
pub fn run(seed: Seed, options: &Options) -> Result<Totals, Box<Failure>> {
    judge(seed, options).map_err(|violation| {
        let (again, trace) = attempt(seed, options);
        let violation = match again {
            Err(again) if again == violation => violation,
            other => {
                let seen = format!("the first run: {violation}; the second: {other:?}");
                Violation { invariant: "a seed repeats itself", seen }
            }
        };
        let replay = format!("cargo xtask simulate --from {seed} --seeds 1 --faults {}", options.faults);
        Box::new(Failure { seed, violation, trace, replay })
    })
}

/// Runs one seed's faults and records it, until the record is full: the verdict, and the module for TLC.
///
/// # Errors
/// A member violated something by starting.
pub fn record(seed: Seed, options: &Options) -> Result<(Checked, String), Violation> {
    let mut cluster = listening(|| Simulated::new(seed, options))?;
    let verdict = listening(|| {
        while cluster.totals.steps < options.steps && cluster.record.as_ref().is_some_and(|record| !record.is_full()) {
            cluster.step()?;
        }
        Ok(())
    });
    Ok((verdict, cluster.record.map(|record| record.module()).unwrap_or_default()))
}

/// Runs one seed, once: the verdict without the story.
///
/// # Errors
/// What was wrong.
pub fn judge(seed: Seed, options: &Options) -> Result<Totals, Violation> {
    attempt(seed, &Options { trace: 0, ..options.clone() }).0
}

/// A run and its trace. A panic, of the core's own assertions for one, is a violation like others.
fn attempt(seed: Seed, options: &Options) -> (Result<Totals, Violation>, Vec<String>) {
    let mut cluster = match listening(|| Simulated::new(seed, options)) {
        Ok(cluster) => cluster,
        Err(violation) => return (Err(violation), Vec::new()),
    };
    let verdict = listening(|| phases(&mut cluster, options));
    let (totals, clients, trace) = cluster.into_parts();
    let verdict = verdict.and_then(|()| {
        let operations = clients.check()?;
        Ok(Totals { operations, ..totals })
    });
    (verdict, trace)
}

thread_local! {
    /// What a panic said, while somebody listens.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`; a panic in it becomes a violation, and is not printed.
pub(crate) fn listening<T>(work: impl FnOnce() -> Result<T, Violation>) -> Result<T, Violation> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = take_hook();
        set_hook(Box::new(move |panic| {
            if LISTENS.get() {
                let place = panic.location().map(|place| format!(" ({}:{})", place.file(), place.line()));
                let told = panic.payload_as_str().unwrap_or("a panic without words");
                PANIC.set(Some(format!("{told}{}", place.unwrap_or_default())));
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

fn phases(cluster: &mut Simulated, options: &Options) -> Checked {
    while cluster.totals.steps < options.steps && cluster.now() < Duration::from_secs(600) {
        cluster.step()?;
    }
    become_healthy(cluster)
}

/// Ends all faults and demands complete healing.
pub(crate) fn become_healthy(cluster: &mut Simulated) -> Checked {
    cluster.totals.outputs_under_faults = cluster.totals.outputs;
    cluster.lift_all_faults()?;
    serve(cluster)?;
    cluster.quiet();
    become_whole(cluster)
}

/// Every client must be served again, twice.
fn serve(cluster: &mut Simulated) -> Checked {
    let before = cluster.clients.served.clone();
    let end = cluster.now() + SERVE;
    loop {
        let waiting = cluster.clients.served.iter().zip(&before).position(|(served, before)| *served < before + 2);
        let Some(client) = waiting else { return Ok(()) };
        ensure(cluster.now() < end, "healing", || {
            format!("client {client} is not served {SERVE:?} after all faults ended")
        })?;
        cluster.run_for(LOOK)?;
    }
}

fn become_whole(cluster: &mut Simulated) -> Checked {
    let end = cluster.now() + WHOLE;
    while let Some(missing) = healed::missing(cluster) {
        ensure(cluster.now() < end, "healing", || {
            format!("{WHOLE:?} after all faults ended there is still missing: {missing}")
        })?;
        cluster.run_for(LOOK)?;
    }
    Ok(())
}
