//! How long a small read waits beside heavy ones: while all keys are hashed, sorted or read. Owns these rounds and their
//! verdict. Does not own the servers (`server.rs`).
//!
//! etcd's benchmark tool is the neighbour, with one client, and reports its slowest read. etcdctl makes the heavy reads, two
//! at a time, each on a new connection, so that they meet the neighbour on the same thread of the member in most rounds. All
//! share the machine, so it must be idle otherwise.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use dev_cluster::Run;

use super::load::{KEY, find};
use super::server::Servers;

/// Reads of the neighbour in one measurement. They take some seconds.
const READS: u64 = 20_000;
/// Heavy reads at a time.
const AT_A_TIME: usize = 2;
/// Longest time that a neighbour may wait, in milliseconds, or how much longer than without heavy reads.
const GAP_MAX_MS: f64 = 20.0;
const LONGER_MAX_MS: f64 = 15.0;

/// What is measured in each round: a name, and the arguments of etcdctl for the heavy reads.
const HEAVY: [(&str, &[&str]); 4] = [
    ("idle", &[]),
    ("hash", &["endpoint", "hashkv"]),
    ("sorted", &["get", "", "--prefix", "--sort-by=VALUE", "--order=DESCEND", "--limit=10", "--consistency=s"]),
    ("everything", &["get", "", "--prefix", "--consistency=s", "--write-out=protobuf"]),
];

/// Fills the servers and measures them. Prints each round, and returns whether the first of them keeps to the limits.
pub(super) fn run(
    benchmark: &Path,
    servers: &mut [Servers; 2],
    names: [&str; 2],
    keys: u64,
    rounds: u32,
) -> Result<bool> {
    let mut holds = true;
    for (server, name) in servers.iter_mut().zip(names) {
        fill(benchmark, server, keys)?;
        let mut measured = [const { Vec::new() }; HEAVY.len()];
        for round in 1..=rounds {
            let mut line = format!("  {name} {round}/{rounds}: longest wait in ms:");
            for ((what, heavy), gaps) in HEAVY.iter().zip(&mut measured) {
                let gap = longest_ms(benchmark, server, heavy)?;
                gaps.push(gap);
                line += &format!(" {what} {gap:.1}");
            }
            println!("{line}");
        }
        let medians = measured.map(median);
        let line: Vec<String> = HEAVY.iter().zip(medians).map(|((what, _), ms)| format!("{what} {ms:.1}")).collect();
        println!("  {name}, medians of {rounds} rounds with {keys} keys: {} ms", line.join(", "));
        holds &= name != names[0] || is_short(medians);
    }
    Ok(holds)
}

/// Returns whether a neighbour waits no longer than it may. The first median is that of the idle server.
fn is_short([idle, heavy @ ..]: [f64; HEAVY.len()]) -> bool {
    let limit = f64::max(GAP_MAX_MS, idle + LONGER_MAX_MS);
    heavy.iter().all(|gap| *gap <= limit)
}

fn fill(benchmark: &Path, servers: &Servers, keys: u64) -> Result<()> {
    let mut command = Command::new(benchmark);
    command.args([format!("--endpoints={}", servers.leader()?), "--conns=100".into(), "--clients=1000".into()]);
    command.args(["put", "--key-size=32", "--val-size=64", "--sequential-keys"]);
    command.args([format!("--key-space-size={keys}"), format!("--total={keys}")]).text()?;
    servers.put(KEY, "v")
}

/// The longest time that the neighbour waited while etcdctl was called with these arguments, in milliseconds.
fn longest_ms(benchmark: &Path, servers: &Servers, heavy: &[&str]) -> Result<f64> {
    let (endpoint, ended) = (servers.leader()?, AtomicBool::new(false));
    thread::scope(|scope| {
        let repeat = || -> Result<()> {
            while !ended.load(Ordering::Relaxed) && !heavy.is_empty() {
                let mut command = servers.patient_etcdctl();
                command.args(["--endpoints", &endpoint]).args(heavy).stdout(Stdio::null());
                ensure!(command.status()?.success(), "a heavy read failed: {heavy:?}");
            }
            Ok(())
        };
        let heavy: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(repeat)).collect();
        let mut neighbour = Command::new(benchmark);
        neighbour.args([format!("--endpoints={endpoint}"), "--conns=1".into(), "--clients=1".into()]);
        let printed = neighbour.args(["range", KEY, "--consistency=s", &format!("--total={READS}")]).text();
        ended.store(true, Ordering::Relaxed);
        for thread in heavy {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        let printed = printed?;
        let slowest = find(&printed, "Slowest:").with_context(|| format!("the summary is incomplete:\n{printed}"))?;
        Ok(slowest * 1e3)
    })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_neighbour_may_wait_a_little_longer_than_on_an_idle_server() {
        assert!(is_short([1.0, 20.0, 20.0, 20.0]));
        assert!(!is_short([1.0, 20.0, 20.1, 20.0]));
        assert!(is_short([30.0, 45.0, 1.0, 1.0]) && !is_short([30.0, 1.0, 1.0, 45.1]));
        assert!(!is_short([1.0, f64::NAN, 1.0, 1.0]), "what was not measured is not short");
    }

    #[test]
    fn the_median_of_five_rounds_is_the_third() {
        assert_eq!(median(vec![5.0, 1.0, 4.0, 2.0, 3.0]), 3.0);
    }
}
