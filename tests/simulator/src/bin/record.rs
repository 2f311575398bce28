//! Records runs of the simulator for TLC, each as a module `Run.tla` in a folder of its own. Owns the command line.
//! Does not own the content of a line ([`simulator::cores::tla_trace`]) or its meaning
//! (`node/raft/spec/TraceRaft.tla`).

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use simulator::cores::Options;
use simulator::cores::run::record;
use simulator::cores::sabotage::Sabotage;
use simulator::fault::Faults;
use world::seed::Seed;

/// Records runs of simulated clusters for TLC.
#[derive(Parser)]
struct Arguments {
    /// Folder to which the recordings are written, each as `SEED/Run.tla`
    folder: PathBuf,
    /// Seeds to record, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    seeds: Vec<u64>,
    /// Kinds of faults: all, none, or names separated by commas
    #[arg(long, default_value_t = Faults::all())]
    faults: Faults,
    /// Approximate number of lines in each recording
    #[arg(long, default_value_t = 500)]
    lines: usize,
    /// Bug to plant; the recording ends where the simulator detects it
    #[arg(long, value_enum)]
    plant: Option<Plant>,
}

/// Planted bugs that a recording can show.
#[derive(Clone, Copy, ValueEnum)]
enum Plant {
    /// A write is reported durable although it has only begun
    AcknowledgesBeforeDurable,
    /// A restart finds an older term and vote
    ForgetsHardState,
    /// A follower acknowledges entries that it never compared
    AcceptsEveryAppend,
}

fn main() -> ExitCode {
    let Arguments { folder, seeds, faults, lines, plant } = Arguments::parse();
    let sabotage = plant.map(|plant| match plant {
        Plant::AcknowledgesBeforeDurable => Sabotage::AcknowledgesBeforeDurable,
        Plant::ForgetsHardState => Sabotage::ForgetsHardState,
        Plant::AcceptsEveryAppend => Sabotage::AcceptsEveryAppend,
    });
    let options = Options { faults, sabotage, record: lines, ..Options::default() };
    for seed in seeds {
        let module = match record(Seed(seed), &options) {
            Ok((Ok(()), module)) if sabotage.is_none() => module,
            Ok((Err(violation), module)) if sabotage.is_some() => {
                println!("seed {seed}: {violation}");
                module
            }
            Ok((Ok(()), _)) => {
                eprintln!("seed {seed}: the planted bug was not detected in {lines} lines: record more lines");
                return ExitCode::FAILURE;
            }
            Ok((Err(violation), _)) | Err(violation) => {
                eprintln!("seed {seed} violates {violation}");
                return ExitCode::FAILURE;
            }
        };
        let folder = folder.join(seed.to_string());
        if let Err(error) = fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("Run.tla"), module)) {
            eprintln!("{}: {error}", folder.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
