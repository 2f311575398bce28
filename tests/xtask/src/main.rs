//! The commands of `cargo xtask`, one file for each command. Owns the names of the commands. Does not own their work.

mod bench;
mod beside;
mod budget;
mod cluster;
mod comments;
mod demo;
mod former;
mod image;
mod interrupt;
mod simulate;
mod soak;
mod steps;
mod test;
mod tla;
mod toolchain;
mod upgrade;
mod watched;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Controls the dev cluster: a real Kubernetes cluster of several nodes on this machine, as root and without Docker
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Builds the container images without Docker
    Image(image::Arguments),
    /// Shows the life of a Raft cluster on a real Kubernetes cluster; uses the dev cluster unless another one is given
    Demo(demo::Arguments),
    /// Compares throughput, latency and CPU time of members with those of etcd, in one run on this machine
    Bench(bench::Arguments),
    /// Simulates whole clusters, each from one seed, and checks every invariant after every step
    Simulate(simulate::Arguments),
    /// Runs members as real processes under faults of processes, networks and disks, and checks what clients see
    Soak(soak::Arguments),
    /// Chooses comments of the source at random, for a reader to judge
    Comments(comments::Arguments),
    /// Upgrades the operator and the members from an earlier commit on the dev cluster while a client writes
    Upgrade(upgrade::Arguments),
    /// Runs every test: format, lints, dependencies, the workspace's tests, and tests on a real Kubernetes cluster
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Cluster(verb) => cluster::run(verb),
        Verb::Image(arguments) => image::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Simulate(arguments) => simulate::run(&arguments),
        Verb::Soak(arguments) => soak::run(&arguments),
        Verb::Comments(arguments) => comments::run(&arguments),
        Verb::Upgrade(arguments) => Ok(upgrade::run(&arguments)),
        Verb::Test(arguments) => test::run(&arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_flags_fit_together() {
        super::Arguments::command().debug_assert();
    }
}
