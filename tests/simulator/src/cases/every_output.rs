//! A crash after every single output: the same short life of a cluster, with members added, promoted and removed and
//! leadership transferred, once for each output of any core, each time with a crash of that member right
//! after it. Owns the lives; each must be safe, and whole in the end.

use world::seed::Seed;

use crate::cores::Options;
use crate::cores::run::run;
use crate::coverage::Coverage;
use crate::fault::{Fault, Faults};
use crate::profile::Profile;
use crate::sweep::Failure;

/// Steps of one life.
const STEPS: u64 = 700;

fn options(crash_after: Option<u64>) -> Options {
    let faults = Faults::all().filter(|fault| matches!(fault, Fault::Churn | Fault::Transfer));
    let mut profile = Profile { faults: faults.clone(), sizes: (1, 5), ..Profile::undisturbed(3) };
    (profile.config.snapshot_threshold, profile.config.snapshot_trailing) = (10, 4);
    Options { faults, profile: Some(profile), steps: STEPS, crash_after, ..Options::default() }
}

/// How many outputs this life has until all faults end.
///
/// # Errors
/// Returns a failure if the life fails even without a crash.
pub fn outputs(life: Seed) -> Result<u64, Box<Failure>> {
    run(life, &options(None)).map(|coverage| coverage.outputs_under_faults)
}

/// This life, with a crash after its `output`th output.
///
/// # Errors
/// Returns what went wrong.
pub fn try_output(life: Seed, output: u64) -> Result<Coverage, Box<Failure>> {
    run(life, &options(Some(output)))
}
