//! The run of one seed. In the first phase faults strike; then all faults are lifted and the cluster must heal. Owns
//! the phases, the verdict, and the second run of a failed seed, which records a trace.

use std::time::Duration;

use world::seed::Seed;
use world::settings;

use crate::cores::wholeness;
use crate::cores::{CoreCluster, Options};
use crate::coverage::Coverage;
use crate::invariant::{Checked, Violation, ensure};
use crate::sweep::{Failure, catching_panics};

/// Maximum time until every client has got two answers after all faults are lifted.
const SERVE: Duration = Duration::from_secs(20);
/// Maximum time until the cluster has healed after its clients stopped.
const WHOLE: Duration = Duration::from_secs(60);
/// Interval between two checks of a condition.
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

/// Runs one seed while faults strike, and records the run until the recording is full. Returns the verdict and the
/// module for TLC.
///
/// # Errors
/// Returns the invariant that a member violated at its start.
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

/// Runs one seed once, without a trace.
///
/// # Errors
/// Returns the invariant that was violated.
pub fn judge(seed: Seed, options: &Options) -> Result<Coverage, Violation> {
    attempt(seed, &Options { trace: 0, ..options.clone() }).0
}

/// Runs one seed and returns the verdict and the trace. A panic, such as a failed assertion of the core, counts as a
/// violation.
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

/// Lifts all faults and checks that the cluster heals.
pub(crate) fn become_healthy(cluster: &mut CoreCluster) -> Checked {
    cluster.coverage.outputs_under_faults = cluster.coverage.outputs;
    cluster.lift_all_faults()?;
    serve(cluster)?;
    cluster.quiet();
    become_whole(cluster)
}

/// Checks that every client gets answers to two more operations.
fn serve(cluster: &mut CoreCluster) -> Checked {
    let before = cluster.clients.served.clone();
    let end = cluster.now() + SERVE;
    loop {
        let waiting = cluster.clients.served.iter().zip(&before).position(|(served, before)| *served < before + 2);
        let Some(client) = waiting else { return Ok(()) };
        ensure(cluster.now() < end, "healing", || {
            format!("client {client} gets no answer within {SERVE:?} after all faults were lifted")
        })?;
        cluster.run_for(LOOK)?;
    }
}

fn become_whole(cluster: &mut CoreCluster) -> Checked {
    let end = cluster.now() + WHOLE;
    while let Some(missing) = wholeness::missing(cluster) {
        ensure(cluster.now() < end, "healing", || {
            format!("not healed {WHOLE:?} after all faults were lifted; missing: {missing}")
        })?;
        cluster.run_for(LOOK)?;
    }
    Ok(())
}
