//! The commands of `cargo xtask`, one file each. Owns their names. Does not own what they do.

mod bench;
mod budget;
mod cluster;
mod comments;
mod demo;
mod image;
mod interrupt;
mod simulate;
mod steps;
mod test;
mod tla;
mod toolchain;

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
    /// A real Kubernetes of several nodes on this machine, as root and without Docker
    #[command(subcommand)]
    Cluster(cluster::Verb),
    /// Builds the container images, without Docker
    Image(image::Arguments),
    /// The main job from start to end on a real Kubernetes, which it brings up itself unless one is given
    Demo(demo::Arguments),
    /// Throughput, latency and CPU of members and of etcd on this machine, in one run
    Bench(bench::Arguments),
    /// Simulated lives of whole clusters, each from one seed, every invariant checked after every step
    Simulate(simulate::Arguments),
    /// Draws comments of the source at random, for a reader to judge
    Comments(comments::Arguments),
    /// Every test there is: format, lints, dependencies, workspace, and a real Kubernetes
    Test(test::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Cluster(verb) => cluster::run(verb),
        Verb::Image(arguments) => image::run(&arguments),
        Verb::Demo(arguments) => demo::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
        Verb::Simulate(arguments) => simulate::run(&arguments),
        Verb::Comments(arguments) => comments::run(&arguments),
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
