//! Likeness of the simulated API server (`tests/operators/src/api_server.rs`) with Kubernetes' own. Both receive the
//! same random writes through the same client. The code and the reason of every answer, the stored object, and the
//! owners of its fields must be equal. No controller runs on either side. Owns the run; the exceptions are in
//! `exceptions.rs`.
//!
//! The real server is built from its Go module into the project's cache. Therefore this test only runs when it is
//! selected by name: `cargo test -p operators --test likeness`. `cargo xtask test` runs it too. `SEED=n` and `SEEDS=n`
//! choose the runs, and `TRACE=1` prints every write.

mod bodies;
mod budgets;
mod compare;
mod draw;
mod exceptions;
mod owners;
mod server;
mod write;

use dev_cluster::ApiServer;
use tokio::runtime::Builder;
use world::seed::{Random, Seed};
use world::settings;

use crate::compare::Comparison;
use crate::draw::draw;
use crate::server::Server;
use crate::write::Write;

/// Number of writes of one run.
const WRITES: usize = 500;
/// Number of runs.
const SEEDS: u64 = 3;

#[test]
fn random_writes_give_the_same_objects_and_codes_on_the_real_api_server() {
    let real = ApiServer::start(&|line| println!("{line}")).expect("an API server starts");
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    let (seeds, mut differences) = (settings::seeds(SEEDS), Vec::new());
    let mut comparison = Comparison::default();
    runtime.block_on(async {
        server::define(&real).await;
        for seed in seeds.clone() {
            differences.extend(run(seed, &real, &mut comparison).await.err());
        }
    });
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    println!("{}", comparison.summary());
    // A smaller number of runs may lack an answer that is rare.
    if seeds.end - seeds.start >= SEEDS {
        comparison.check_coverage();
    }
}

/// Carries out one run. Each run has a namespace of its own in the real server, and a simulated server of its own.
///
/// # Errors
/// Returns the first difference, with the write and both answers.
async fn run(seed: u64, real: &ApiServer, comparison: &mut Comparison) -> Result<(), String> {
    let mut random = Random::new(Seed(seed));
    let mut simulated = Server::simulated();
    let mut real = Server::real(real, &format!("seed-{seed}")).await;
    for step in 0..WRITES {
        let write = draw(&mut random, &simulated);
        if write.is_judged_by_budgets() {
            budgets::publish(&mut real).await;
        }
        let answers = (simulated.carry_out(&write).await, real.carry_out(&write).await);
        if settings::traces() {
            println!("step {step}: {write}: {} {}", answers.0.code, answers.0.reason);
        }
        let different = comparison.differences(&write, &answers.0, &answers.1);
        if !different.is_empty() {
            return Err(report(seed, step, &write, &different, &answers));
        }
    }
    println!("seed {seed}: {WRITES} writes are alike");
    Ok(())
}

fn report(
    seed: u64,
    step: usize,
    write: &Write,
    different: &[String],
    (simulated, real): &(server::Answer, server::Answer),
) -> String {
    format!(
        "seed {seed}, step {step}: {write}\n{}\n--- the simulated server\n{simulated}\n--- the real server\n{real}\n\
         Repeat it: SEED={seed} cargo test -p operators --test likeness",
        different.join("\n")
    )
}
