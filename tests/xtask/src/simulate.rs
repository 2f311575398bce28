//! `cargo xtask simulate`: starts the simulator. Does not own seeds, faults or the verdict (`tests/simulator`).

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::toolchain;

/// Seeds and faults of the simulation.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Number of seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Faults that may occur: all, none, or names separated by commas
    #[arg(long, default_value = "all")]
    faults: String,
    /// Simulates whole members, with the real driver, disk format, store and wire format
    #[arg(long, conflicts_with_all = ["faults", "trace"])]
    members: bool,
    /// Prints a hash of the traces of all seeds. The hash stays the same when code is only renamed or moved
    #[arg(long)]
    hash: bool,
    /// Number of lines to print from the end of the trace if a seed fails
    #[arg(long, default_value_t = 80)]
    trace: usize,
}

/// Runs the simulator and returns its exit code, which is the verdict.
///
/// # Errors
/// Returns an error if cargo cannot be started.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { seeds, from, faults, members, hash, trace } = arguments;
    let mut simulate = toolchain::cargo();
    simulate.args(["run", "--quiet", "--package", "simulator", "--bin", "simulate", "--"]);
    simulate.args(["--seeds", &seeds.to_string(), "--from", &from.to_string()]);
    if *hash {
        simulate.arg("--hash");
    }
    if *members {
        simulate.arg("--members");
    } else {
        simulate.args(["--faults", faults, "--trace", &trace.to_string()]);
    }
    let status = simulate.status().context("cargo did not start")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
