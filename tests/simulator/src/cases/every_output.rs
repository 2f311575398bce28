//! A crash after every single output: the same short life of a cluster, with members added, promoted and removed and
//! leadership handed over, once for each output that any core asks for, each time with a crash of the one that asked right
//! behind it. Owns the lives; each must be safe, and whole in the end.

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
    let mut profile = Profile { faults: faults.clone(), sizes: (1, 5), ..Profile::calm(3) };
    (profile.config.snapshot_threshold, profile.config.snapshot_trailing) = (10, 4);
    Options { faults, profile: Some(profile), steps: STEPS, crash_after, ..Options::default() }
}

/// How many outputs this life has until all faults end.
///
/// # Errors
/// Even without a crash it failed.
pub fn outputs(life: Seed) -> Result<u64, Box<Failure>> {
    run(life, &options(None)).map(|coverage| coverage.outputs_under_faults)
}

/// This life, with a crash after its `output`th output.
///
/// # Errors
/// What went wrong.
pub fn try_output(life: Seed, output: u64) -> Result<Coverage, Box<Failure>> {
    run(life, &options(Some(output)))
}
