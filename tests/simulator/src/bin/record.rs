//! Records seeds of the simulator for TLC, each as a module `Run.tla` in a folder of its own. Owns the command line;
//! what a line holds is [`simulator::cores::tla_trace`]'s, what it means `node/raft/spec/TraceRaft.tla`'s.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use simulator::cores::Options;
use simulator::cores::run::record;
use simulator::cores::sabotage::Sabotage;
use simulator::fault::Faults;
use world::seed::Seed;

/// Lives of simulated clusters, written down for TLC.
#[derive(Parser)]
struct Arguments {
    /// Where `SEED/Run.tla` go
    folder: PathBuf,
    /// Which seeds
    #[arg(long, value_delimiter = ',', required = true)]
    seeds: Vec<u64>,
    /// What may go wrong: all, none, or names with commas between
    #[arg(long, default_value_t = Faults::all())]
    faults: Faults,
    /// Lines of each, about
    #[arg(long, default_value_t = 500)]
    lines: usize,
    /// A bug to plant; the record then ends where the simulator sees it
    #[arg(long, value_enum)]
    plant: Option<Plant>,
}

/// Planted bugs that show in a record.
#[derive(Clone, Copy, ValueEnum)]
enum Plant {
    /// A write is called durable when it only began
    AcknowledgesBeforeDurable,
    /// A restart finds term and vote as they once were
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
                eprintln!("seed {seed}: the planted bug did not show within {lines} lines");
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
