//! `cargo xtask simulate`: starts the simulator's own program, which owns seeds, faults and the verdict.

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::toolchain;

/// Which seeds.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// What may go wrong: all, none, or names with commas between
    #[arg(long, default_value = "all")]
    faults: String,
    /// Run members as they ship: driver, disk format, store and wire form too
    #[arg(long, conflicts_with_all = ["faults", "trace"])]
    shipped: bool,
    /// Last lines of what happened that a failed seed shows
    #[arg(long, default_value_t = 80)]
    trace: usize,
}

/// Carries it out.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments { seeds, from, faults, shipped, trace } = arguments;
    let mut simulate = toolchain::cargo();
    simulate.args(["run", "--quiet", "--package", "tests", "--bin", "simulate", "--"]);
    simulate.args(["--seeds", &seeds.to_string(), "--from", &from.to_string()]);
    if *shipped {
        simulate.arg("--shipped");
    } else {
        simulate.args(["--faults", faults, "--trace", &trace.to_string()]);
    }
    let status = simulate.status().context("cargo did not start")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
