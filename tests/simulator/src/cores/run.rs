//! One seed from beginning to end: the safety phase with its faults, then everything is healed and must become whole.
//! Owns the phases, the verdict, and the second run of a failed seed that records a trace.

use std::time::Duration;

use world::seed::Seed;
use world::settings;

use crate::cores::wholeness;
use crate::cores::{CoreCluster, Options};
use crate::coverage::Coverage;
use crate::invariant::{Checked, Violation, ensure};
use crate::sweep::{Failure, catching_panics};

/// How long clients are served after healing.
const SERVE: Duration = Duration::from_secs(20);
/// How long a healed cluster may take to become whole once its clients are quiet.
const WHOLE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Runs one seed.
///
/// # Errors
/// Returns the failure, with the trace of a second run.
pub fn run(seed: Seed, options: &Options) -> Result<Coverage, Box<Failure>> {
    judge(seed, options).map_err(|violation| {
        let traced = Options { trace: settings::trace_lines(options.trace), ..options.clone() };
        let (again, trace) = attempt(seed, &traced);
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
/// Returns what a member violated by starting.
pub fn record(seed: Seed, options: &Options) -> Result<(Checked, String), Violation> {
    let mut cluster = catching_panics(|| CoreCluster::new(seed, options))?;
    let verdict = catching_panics(|| {
        while cluster.coverage.steps < options.steps && cluster.record.as_ref().is_some_and(|record| !record.is_full())
        {
            cluster.step()?;
        }
        Ok(())
    });
    Ok((verdict, cluster.record.map(|record| record.module()).unwrap_or_default()))
}

/// Runs one seed, once: the verdict without the story.
///
/// # Errors
/// Returns what was wrong.
pub fn judge(seed: Seed, options: &Options) -> Result<Coverage, Violation> {
    attempt(seed, &Options { trace: 0, ..options.clone() }).0
}

/// A run and its trace. A panic, of the core's own assertions for one, is a violation like others.
fn attempt(seed: Seed, options: &Options) -> (Result<Coverage, Violation>, Vec<String>) {
    let mut cluster = match catching_panics(|| CoreCluster::new(seed, options)) {
        Ok(cluster) => cluster,
        Err(violation) => return (Err(violation), Vec::new()),
    };
    let verdict = catching_panics(|| phases(&mut cluster, options));
    let (coverage, clients, trace) = cluster.into_parts();
    let verdict = verdict.and_then(|()| {
        let operations = clients.check()?;
        Ok(Coverage { operations, ..coverage })
    });
    (verdict, trace)
}

fn phases(cluster: &mut CoreCluster, options: &Options) -> Checked {
    while cluster.coverage.steps < options.steps && cluster.now() < Duration::from_secs(600) {
        cluster.step()?;
    }
    become_healthy(cluster)
}

/// Ends all faults and demands complete healing.
pub(crate) fn become_healthy(cluster: &mut CoreCluster) -> Checked {
    cluster.coverage.outputs_under_faults = cluster.coverage.outputs;
    cluster.lift_all_faults()?;
    serve(cluster)?;
    cluster.quiet();
    become_whole(cluster)
}

/// Every client must be served again, twice.
fn serve(cluster: &mut CoreCluster) -> Checked {
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

fn become_whole(cluster: &mut CoreCluster) -> Checked {
    let end = cluster.now() + WHOLE;
    while let Some(missing) = wholeness::missing(cluster) {
        ensure(cluster.now() < end, "healing", || {
            format!("{WHOLE:?} after all faults ended there is still missing: {missing}")
        })?;
        cluster.run_for(LOOK)?;
    }
    Ok(())
}
