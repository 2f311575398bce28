//! Runs seeds of the simulator until one fails or all have passed, and shows progress. Owns the command line. Does not
//! own how a seed is run ([`simulator::cores::run`], [`simulator::members::run`]).

use std::io::{IsTerminal, stderr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use simulator::cores::{self, Options};
use simulator::fault::Faults;
use simulator::members;
use simulator::sweep::sweep;

/// Runs simulated clusters, each determined by one seed.
#[derive(Parser)]
struct Arguments {
    /// Number of seeds
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// First seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Kinds of faults: all, none, or names separated by commas
    #[arg(long, default_value_t = Faults::all())]
    faults: Faults,
    /// Run whole members (shipped driver, disk format, store and wire format too), under all kinds of faults that can
    /// strike whole members
    #[arg(long, alias = "shipped", conflicts_with_all = ["faults", "trace"])]
    members: bool,
    /// Print a hash of the traces of all seeds; it stays the same if only names or files change
    #[arg(long)]
    hash: bool,
    /// Number of trace lines to print if a seed fails; the last lines are printed
    #[arg(long, default_value_t = Options::default().trace)]
    trace: usize,
}

/// Seconds between two progress lines if the output is not a terminal.
const SECONDS_BETWEEN_LINES: u64 = 30;

fn main() -> ExitCode {
    let Arguments { seeds, from, faults, members, hash, trace } = Arguments::parse();
    let options = Options { faults, trace, ..Options::default() };
    let began = Instant::now();
    let (pace, start, end) = if stderr().is_terminal() { (1, "\r", "") } else { (SECONDS_BETWEEN_LINES, "", "\n") };
    let shown = AtomicU64::new(0);
    let range = from..from.saturating_add(seeds);
    let named = format!("seeds {from}..{}", range.end);
    let run = |seed| if members { members::run::run(seed) } else { cores::run::run(seed, &options) };
    let outcome = sweep(range, run, |coverage| {
        let now = began.elapsed().as_secs() / pace;
        if shown.swap(now, Ordering::Relaxed) != now {
            let hours = coverage.time.as_secs_f64() / 3600.0;
            eprint!(
                "{start}{} of {seeds} seeds, {hours:.1} simulated hours in {:.0?}{end}",
                coverage.seeds,
                began.elapsed()
            );
        }
    });
    if pace == 1 {
        eprintln!();
    }
    match outcome {
        Ok(coverage) => {
            if hash {
                println!("{named}: {:016x}", coverage.trace_hash);
            } else {
                println!("{coverage}; in {:.1?}", began.elapsed());
            }
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}
