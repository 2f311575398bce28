//! `cargo xtask bench`: compares three raft-node members with a three-member etcd cluster, under the same loads, in one
//! run on one machine. etcd's own benchmark tool generates the loads. Owns the order of rounds. Does not own loads
//! (`bench/load.rs`) or the report (`bench/report.rs`). Only the ratios are meaningful on other machines, because
//! absolute figures depend on the machine.

mod load;
mod report;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;
use dev_cluster::{Program, programs};

use self::load::{LOADS, Measured};
use self::server::Servers;
use crate::image;

/// The extent of the measurement, and the file for the report.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Number of rounds for each load. raft-node and etcd take turns, and the report shows the median and the spread of
    /// the rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Number of requests of each load in each round. The load with a single client sends only a twentieth of this
    /// number
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    requests: u64,
    /// Also writes the report, as Markdown, to this file
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Measures raft-node and etcd, and prints the report.
///
/// # Errors
/// Returns an error if a server does not start or serve, or if a load fails. In that case no report was written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let say = |line: &str| println!("  {line}");
    let built = programs::build(&[Program::Etcd, Program::Benchmark], &say)?;
    say("building raft-node (release)");
    let node = image::built("raft-node", &["--release"])?;
    let folder = Folder::new()?;
    let mut ours = Servers::raft_node(&node, &folder.0.join("raft-node"))?;
    let mut theirs = Servers::etcd(&built.path(Program::Etcd), &folder.0.join("etcd"))?;
    ours.await_serving()?;
    theirs.await_serving()?;
    let benchmark = built.path(Program::Benchmark);
    let mut measured: Vec<Vec<[Measured; 2]>> = Vec::new();
    for load in LOADS {
        let mut rounds = Vec::new();
        for round in 1..=arguments.rounds {
            let (a, b) = (
                load.run(&benchmark, &mut ours, arguments.requests)?,
                load.run(&benchmark, &mut theirs, arguments.requests)?,
            );
            say(&format!("{} {round}/{}: raft-node {}, etcd {}", load.name, arguments.rounds, a.line(), b.line()));
            rounds.push([a, b]);
        }
        measured.push(rounds);
    }
    let memory = [ours.resident_bytes()?, theirs.resident_bytes()?];
    let report = report::markdown(&measured, memory, arguments.requests);
    println!("\n{report}");
    if let Some(path) = &arguments.out {
        std::fs::write(path, &report).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A folder for the data of one run, removed when the run ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = programs::cache()?.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // An error is ignored, because a folder that is not removed costs nothing except disk space.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
