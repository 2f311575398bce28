//! A crash after every output. In one short run, members are added, promoted and removed, and leadership is
//! transferred. The run is repeated once for each output of any core. In each repetition, the core's member crashes
//! directly after that output. Owns the runs. Each run must keep the invariants and heal at the end.

use world::seed::Seed;

use crate::cores::Options;
use crate::cores::run::run;
use crate::coverage::Coverage;
use crate::fault::{Fault, Faults};
use crate::profile::Profile;
use crate::sweep::Failure;

/// Number of steps of one run before all faults are lifted.
const STEPS: u64 = 700;

fn options(crash_after: Option<u64>) -> Options {
    let faults = Faults::all().filter(|fault| matches!(fault, Fault::Churn | Fault::Transfer));
    let mut profile = Profile { faults: faults.clone(), sizes: (1, 5), ..Profile::undisturbed(3) };
    (profile.config.snapshot_threshold, profile.config.snapshot_trailing) = (10, 4);
    Options { faults, profile: Some(profile), steps: STEPS, crash_after, ..Options::default() }
}

/// Runs seed `life` without a crash. Returns the number of outputs before all faults are lifted.
///
/// # Errors
/// Returns the invariant that this run violated.
pub fn outputs(life: Seed) -> Result<u64, Box<Failure>> {
    run(life, &options(None)).map(|coverage| coverage.outputs_under_faults)
}

/// Repeats the run of seed `life` with a crash after output number `output`.
///
/// # Errors
/// Returns the invariant that was violated.
pub fn try_output(life: Seed, output: u64) -> Result<Coverage, Box<Failure>> {
    run(life, &options(Some(output)))
}
