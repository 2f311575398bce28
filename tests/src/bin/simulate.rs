//! Runs seeds of the simulator until one fails or all are done, with progress. Owns the command line; a seed's life is
//! [`tests::cluster::simulated::run`]'s.

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tests::cluster::simulated::Options;
use tests::cluster::simulated::run::run;
use tests::cluster::simulated::totals::Totals;
use tests::fault::Faults;
use tests::world::seed::Seed;

/// Many lives of simulated clusters, each from one seed.
#[derive(Parser)]
struct Arguments {
    /// How many seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first one
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// What may go wrong: all, none, or names with commas between
    #[arg(long, default_value_t = Faults::all())]
    faults: Faults,
    /// Last lines of what happened that a failed seed shows
    #[arg(long, default_value_t = Options::default().trace)]
    trace: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let options = Options { faults: arguments.faults, trace: arguments.trace, ..Options::default() };
    let mut totals = Totals::default();
    let began = Instant::now();
    for seed in arguments.from..arguments.from + arguments.seeds {
        match run(Seed(seed), &options) {
            Ok(one) => totals.add(&one),
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{totals} in {:.1?}", began.elapsed());
    ExitCode::SUCCESS
}
