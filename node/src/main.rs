//! Subcommands of `raft-node`: parses the command line, starts the log and reports the exit code. Owns no other logic.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use raft_node::config::{Config, RunArgs};
use raft_node::local::{self, LocalArgs};
use raft_node::{descriptors, log, member, memory_limit};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Member of a Raft cluster that serves the etcd v3 API.
#[derive(Debug, Parser)]
#[command(name = "raft-node", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs one member.
    Run(Box<RunArgs>),
    /// Runs a cluster of separate processes on the loopback interface, for development and benchmarks.
    Local(LocalArgs),
    /// Prints the version.
    Version,
}

/// Exit code for invalid flags. clap uses the same code.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => {
            log::start(&args.log, args.log_format);
            engine::fatal::end_on_panic();
            let descriptors = descriptors::raise();
            match Config::check(*args).and_then(|config| config.with_descriptors(descriptors)) {
                Err(refusal) => {
                    eprintln!("error: {refusal}");
                    ExitCode::from(USAGE)
                }
                Ok(config) => match member::run(config.within(memory_limit::of_this_process())) {
                    Ok(()) => ExitCode::SUCCESS,
                    Err(reason) => {
                        tracing::error!(%reason, "the member did not start");
                        ExitCode::FAILURE
                    }
                },
            }
        }
        Command::Local(args) => match local::run(args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(reason) => {
                eprintln!("error: {reason}");
                ExitCode::FAILURE
            }
        },
        Command::Version => {
            println!("raft-node {}", raft_node::version::NODE);
            ExitCode::SUCCESS
        }
    }
}
