//! `cargo xtask bench`: compares three raft-node members with a three-member etcd cluster, or with members of an
//! earlier commit, under the same loads, in one run on one machine. etcd's own benchmark tool generates the loads. Owns
//! the order of rounds. Does not own loads (`bench/load.rs`) or the report (`bench/report.rs`). Only the ratios are
//! meaningful on other machines, because absolute figures depend on the machine.

mod load;
mod neighbour;
mod report;
mod server;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use dev_cluster::{Program, programs};

use self::load::{LOADS, Measured};
use self::report::Results;
use self::server::{OURS, Servers, THEIRS};
use crate::former::NodeProfile;
use crate::{former, image};

/// The extent of the measurement, and the file for the report.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Compares with members that this commit built instead of etcd, and fails if a load needs more than 5 % more CPU
    /// time
    #[arg(long)]
    against: Option<String>,
    /// Number of puts before the first round. The logs write over old files when they have come round once, after about
    /// 600,000
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=10_000_000))]
    warm_up: u64,
    /// Number of rounds for each load. raft-node and etcd take turns, and the report shows the median and the spread of
    /// the rounds
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    rounds: u32,
    /// Number of requests of each load in each round. Slow loads send only a part of it, which the report names
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    requests: u64,
    /// Measures only how long a small read waits while so many keys are hashed, sorted and read, and fails if the median
    /// of the rounds is too long
    #[arg(long, value_name = "KEYS", num_args = 0..=1, default_missing_value = "600000")]
    neighbour: Option<u64>,
    /// A raft-node to measure instead of a release build of this source
    #[arg(long)]
    node: Option<PathBuf>,
    /// Also writes the report, as Markdown, to this file
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Measures raft-node and etcd or an earlier raft-node, and prints the report.
///
/// # Errors
/// Returns an error if a server does not start or serve, or if a load fails. In that case no report was written.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let say = |line: &str| println!("  {line}");
    let built = programs::build(&[Program::Etcd, Program::Benchmark], &say)?;
    let node = image::release_node(arguments.node.as_deref(), &say)?;
    let folder = Folder::new()?;
    let other = folder.0.join("other");
    let mut servers = match &arguments.against {
        Some(commit) => {
            let former = former::node(commit, NodeProfile::Release, &say)?;
            [Servers::raft_node(&node, &folder.0.join("ours"), OURS)?, Servers::raft_node(&former, &other, THEIRS)?]
        }
        None => {
            let etcd = built.path(Program::Etcd);
            [Servers::raft_node(&node, &folder.0.join("ours"), OURS)?, Servers::etcd(&etcd, &other)?]
        }
    };
    let benchmark = built.path(Program::Benchmark);
    for servers in &mut servers {
        servers.await_serving()?;
        if arguments.warm_up > 0 {
            let measured = LOADS[0].run(&benchmark, servers, arguments.warm_up)?;
            say(&format!("warm-up: {}", measured.line()));
        }
    }
    if let Some(keys) = arguments.neighbour {
        let names = ["raft-node", arguments.against.as_deref().unwrap_or("etcd")];
        let holds = neighbour::run(&benchmark, &mut servers, names, keys, arguments.rounds)?;
        return Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let mut results = Results {
        other: arguments.against.clone().unwrap_or_else(|| "etcd".into()),
        measured: Vec::new(),
        memory: Vec::new(),
        requests: arguments.requests,
    };
    for load in LOADS {
        let mut rounds: Vec<[Measured; 2]> = Vec::new();
        for round in 1..=arguments.rounds {
            let [ours, theirs] = &mut servers;
            let a = load.run(&benchmark, ours, arguments.requests)?;
            let b = load.run(&benchmark, theirs, arguments.requests)?;
            let (a_line, b_line, other) = (a.line(), b.line(), &results.other);
            say(&format!("{} {round}/{}: raft-node {a_line}, {other} {b_line}", load.name, arguments.rounds));
            rounds.push([a, b]);
        }
        results.measured.push(rounds);
    }
    results.memory = memory(&mut servers, &say)?;
    let report = report::markdown(&results);
    println!("\n{report}");
    if let Some(path) = &arguments.out {
        std::fs::write(path, &report).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let costlier = if arguments.against.is_some() { report::costlier(&results) } else { Vec::new() };
    costlier.iter().for_each(|line| println!("too much CPU time: {line}"));
    Ok(if costlier.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Time from a compaction until memory is measured, because allocators return memory late.
const AFTER_COMPACTION: Duration = Duration::from_secs(60);

/// Measures the memory after the loads, a minute after a compaction, and of new processes with the same content.
fn memory(servers: &mut [Servers; 2], say: &dyn Fn(&str)) -> Result<Vec<(&'static str, [u64; 2])>> {
    let measure = |servers: &[Servers; 2]| -> Result<[[u64; 2]; 2]> {
        let [[ours, our_peak], [theirs, their_peak]] = [servers[0].memory()?, servers[1].memory()?];
        Ok([[ours, theirs], [our_peak, their_peak]])
    };
    let [loaded, peak] = measure(servers)?;
    say("compacting, and waiting for a minute");
    servers.iter().try_for_each(Servers::compact)?;
    std::thread::sleep(AFTER_COMPACTION);
    let [compacted, _] = measure(servers)?;
    servers.iter_mut().try_for_each(Servers::restart)?;
    let [fresh, _] = measure(servers)?;
    Ok(vec![
        ("after all loads", loaded),
        ("at the peak of each member", peak),
        ("a minute after a compaction", compacted),
        ("after a restart", fresh),
    ])
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
