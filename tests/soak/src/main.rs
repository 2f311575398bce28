//! The program `soak`: five members as processes on a network and disks of their own, under faults that a seed draws,
//! while clients write and read. Owns the program's flags and its exit code. `cargo xtask soak` starts it in namespaces
//! of its own, where it is the first process: whatever way it ends, the kernel then ends its members and removes its
//! network and its mounts.

mod check;
mod cluster;
mod fault;
mod findings;
mod histories;
mod machine;
mod member;
mod report;
mod run;
mod schedule;

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::Parser;
use tokio::sync::watch;

use crate::findings::Findings;
use crate::member::Settings;
use crate::run::{Plan, drawn_flags, run};

/// Runs members under faults, and checks what their clients see. Ends early when its standard input ends.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Path of raft-node
    #[arg(long)]
    node: PathBuf,
    /// An empty folder for disks, logs and evidence
    #[arg(long)]
    folder: PathBuf,
    /// Duration of the faults in minutes
    #[arg(long)]
    minutes: u64,
    /// Seed of the schedule and of the members' settings; a new one by default
    #[arg(long)]
    seed: Option<u64>,
    /// Also writes the report, as Markdown, to this file
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    match soak(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn soak(arguments: Arguments) -> Result<ExitCode> {
    let Arguments { node, folder, minutes, seed, out } = arguments;
    let seed = match seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let findings = Arc::new(Findings::new(&folder));
    let (interrupt, stop) = watch::channel(false);
    std::thread::spawn(move || {
        // The caller holds the other end of the pipe, and closes it to interrupt the run, or by its own end.
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = interrupt.send(true);
        // The channel must stay open, because waiting for a closed one would fail.
        std::thread::park();
    });
    let settings = Settings { program: node, folder, flags: drawn_flags(seed) };
    let plan = Plan { settings, seed, time: Duration::from_secs(minutes * 60) };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let report = runtime.block_on(run(plan, &findings, stop))?;
    let violations = findings.all();
    let text = report.markdown(&violations);
    println!("\n{text}");
    if let Some(out) = out {
        std::fs::write(&out, &text).with_context(|| format!("{} cannot be written", out.display()))?;
    }
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
