//! `cargo xtask cluster`: controls the dev cluster by hand. Owns the printed text. Does not own the cluster (crate
//! `dev-cluster`).

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Subcommand;
use dev_cluster::{Cluster, Down, Lifetime, Options, Status, provisioner};

use crate::steps::seconds;

/// Action on the dev cluster.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Brings the dev cluster up: control plane, nodes, DNS, volumes and an S3 server. No packet leaves the machine
    Up {
        /// Number of nodes, each in its own zone
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
        nodes: u8,
    },
    /// Takes the dev cluster down, with its volumes and buckets, and removes what a crashed run left
    Down,
    /// Shows whether the dev cluster is up and its nodes are Ready; exit code 0 only if all nodes are Ready
    Status,
    /// Prints shell commands that point kubectl, helm and S3 clients at the dev cluster:
    /// eval "$(cargo xtask cluster env)"
    Env,
    /// Creates the volumes of the dev cluster whose run directory is given; started by `up`
    #[command(hide = true)]
    Provisioner {
        /// The run directory
        run: PathBuf,
    },
}

/// Runs the command.
pub(crate) fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Up { nodes } => up(nodes),
        Verb::Down => down(),
        Verb::Status => status(),
        Verb::Env => env(),
        Verb::Provisioner { run } => provisioner::run(&run).map(|()| ExitCode::SUCCESS),
    }
}

/// Options of a dev cluster with `nodes` nodes. This program is also the provisioner of the cluster.
pub(crate) fn options(nodes: u8, lifetime: Lifetime) -> Options {
    Options { nodes, provisioner: ["cluster", "provisioner"].map(OsString::from).into(), lifetime }
}

fn up(nodes: u8) -> Result<ExitCode> {
    let start = Instant::now();
    let cluster = Cluster::up(&options(nodes, Lifetime::Standing), &|line| println!("  {line}"))?;
    println!("up in {}, {} nodes Ready", seconds(start.elapsed()), cluster.nodes().len());
    println!("  use it:       eval \"$(cargo xtask cluster env)\"");
    println!("  its logs:     {}", cluster.logs().display());
    println!("  take it down: cargo xtask cluster down");
    Ok(ExitCode::SUCCESS)
}

fn down() -> Result<ExitCode> {
    let start = Instant::now();
    match dev_cluster::down()? {
        Down::Removed => println!("down in {}", seconds(start.elapsed())),
        Down::NothingThere => println!("no dev cluster is up"),
    }
    Ok(ExitCode::SUCCESS)
}

fn status() -> Result<ExitCode> {
    match Cluster::status()? {
        Status::Absent => println!("no dev cluster is up"),
        Status::Leftovers { run } => {
            println!(
                "no dev cluster is up; an earlier run left something in {}: `cargo xtask cluster down`",
                run.display()
            );
        }
        Status::Up { cluster, nodes } => {
            for (node, ready) in &nodes {
                let word = if *ready { "Ready" } else { "NotReady" };
                println!("{node}  {word:<8}  {}  {}", node.address(), node.zone());
            }
            println!("kubeconfig  {}", cluster.kubeconfig().display());
            println!("s3          {}/{}", cluster.object_store().endpoint, cluster.object_store().bucket);
            println!("logs        {}", cluster.logs().display());
            if nodes.iter().all(|(_, ready)| *ready) {
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
    Ok(ExitCode::FAILURE)
}

fn env() -> Result<ExitCode> {
    for (name, value) in Cluster::open()?.env() {
        println!("export {name}={}", quoted(&value));
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns `value`, quoted for a shell.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_any_value_back() {
        assert_eq!(quoted("/a b/it's"), r"'/a b/it'\''s'");
    }
}
