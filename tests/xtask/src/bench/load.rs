//! The loads, as calls of etcd's benchmark tool. Owns the loads and the parsing of the tool's output. Does not own the
//! servers (`server.rs`).

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use dev_cluster::Run;

use super::server::Servers;

/// One kind of load.
pub(super) struct Load {
    /// Name of the load in the report.
    pub(super) name: &'static str,
    to: To,
    arguments: &'static [&'static str],
    /// Factor by which this load multiplies the number of requests in a round.
    share: f64,
}

/// The members to which a load sends its requests.
#[derive(Clone, Copy)]
enum To {
    Leader,
    /// All members in turn.
    All,
}

/// All loads, in the order of the report. Keys have 32 bytes, and values have 256 bytes.
pub(super) const LOADS: &[Load] = &[
    Load {
        name: "put, 1,000 clients, to the leader",
        to: To::Leader,
        arguments: &[
            "--conns=100",
            "--clients=1000",
            "put",
            "--key-size=32",
            "--val-size=256",
            "--sequential-keys",
            "--key-space-size=100000",
        ],
        share: 1.0,
    },
    Load {
        name: "put, 1,000 clients, to all members",
        to: To::All,
        arguments: &[
            "--conns=100",
            "--clients=1000",
            "put",
            "--key-size=32",
            "--val-size=256",
            "--sequential-keys",
            "--key-space-size=100000",
        ],
        share: 1.0,
    },
    Load {
        name: "put, 1 client, to the leader",
        to: To::Leader,
        arguments: &[
            "--conns=1",
            "--clients=1",
            "put",
            "--key-size=32",
            "--val-size=256",
            "--sequential-keys",
            "--key-space-size=100000",
        ],
        share: 0.05,
    },
    Load {
        name: "transaction of four puts, 1,000 clients, to the leader",
        to: To::Leader,
        arguments: &[
            "--conns=100",
            "--clients=1000",
            "txn-put",
            "--txn-ops=4",
            "--key-size=32",
            "--val-size=256",
            "--key-space-size=100000",
        ],
        share: 1.0,
    },
    Load {
        name: "four reads of ten keys per put, 1,000 clients, to the leader",
        to: To::Leader,
        arguments: &[
            "--conns=100",
            "--clients=1000",
            "txn-mixed",
            "--rw-ratio=4",
            "--limit=10",
            "--key-size=32",
            "--val-size=256",
            "--key-space-size=100000",
        ],
        share: 0.2,
    },
    Load {
        name: "get linearizable, 1,000 clients, to all members",
        to: To::All,
        arguments: &["--conns=100", "--clients=1000", "range", KEY, "--consistency=l"],
        share: 1.0,
    },
    Load {
        name: "get serializable, 1,000 clients, to all members",
        to: To::All,
        arguments: &["--conns=100", "--clients=1000", "range", KEY, "--consistency=s"],
        share: 1.0,
    },
    Load {
        name: "page of 500 keys, 100 clients, to all members",
        to: To::All,
        arguments: &["--conns=100", "--clients=100", "range", "--prefix", "--limit=500", "--consistency=l"],
        share: 0.05,
    },
    Load {
        name: "stream of all keys, 8 clients, to all members",
        to: To::All,
        arguments: &["--conns=8", "--clients=8", "range", "--prefix", "--stream", "--consistency=l"],
        share: 0.002,
    },
];

/// Key that the get loads read. It is written before they run. They cannot read the keys of the put loads: the first of
/// those keys consists of 32 zero bytes, which a command-line argument cannot contain.
pub(super) const KEY: &str = "benchmark-key-of-thirty-two-byte";

/// Figures of raft-node or etcd in one round of one load.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Requests per second.
    pub(super) rate: f64,
    /// Median latency in milliseconds.
    pub(super) p50_ms: f64,
    /// 99th percentile of the latency in milliseconds.
    pub(super) p99_ms: f64,
    /// CPU seconds of all members together per 10,000 requests.
    pub(super) cpu: f64,
    /// MB that all members together wrote per 10,000 requests.
    pub(super) written: f64,
    /// The part of these MB that the log wrote ahead of its entries. Not known of etcd.
    pub(super) preallocated: f64,
}

impl Measured {
    /// The figures in one line that shows the progress of the run.
    pub(super) fn line(&self) -> String {
        let Self { rate, p50_ms, p99_ms, cpu, written, .. } = self;
        format!("{rate:.0}/s p50 {p50_ms:.1} ms p99 {p99_ms:.1} ms {cpu:.2} CPU s/10k {written:.1} MB/10k")
    }
}

impl Load {
    /// Number of requests in a round, of which other loads send `requests`.
    pub(super) fn requests(&self, requests: u64) -> u64 {
        ((requests as f64 * self.share) as u64).max(1)
    }

    /// Runs the load once and returns the figures.
    pub(super) fn run(&self, benchmark: &Path, servers: &mut Servers, requests: u64) -> Result<Measured> {
        let requests = self.requests(requests);
        if self.arguments.contains(&KEY) {
            servers.put(KEY, &"v".repeat(256))?;
        }
        let before = (servers.cpu_seconds()?, servers.written_bytes()?, servers.preallocated_bytes()?);
        let mut command = Command::new(benchmark);
        let endpoints = match self.to {
            To::Leader => servers.leader()?,
            To::All => servers.endpoints().join(","),
        };
        command.arg(format!("--endpoints={endpoints}")).args(self.arguments);
        let printed = command.arg(format!("--total={requests}")).text()?;
        let per_10k = |difference: f64| difference * 1e4 / requests as f64;
        let cpu = per_10k(servers.cpu_seconds()? - before.0);
        let written = per_10k(servers.written_bytes()?.saturating_sub(before.1) as f64 / 1e6);
        let preallocated = per_10k(servers.preallocated_bytes()?.saturating_sub(before.2) as f64 / 1e6);
        let (rate, p50_ms, p99_ms) =
            summary(&printed).with_context(|| format!("the summary is incomplete:\n{printed}"))?;
        Ok(Measured { rate, p50_ms, p99_ms, cpu, written, preallocated })
    }
}

/// Parses requests per second, and median and 99th percentile of the latency in milliseconds. The mixed load prints a
/// summary of its reads and one of its puts: their rates are added, and the higher latencies count.
fn summary(printed: &str) -> Option<(f64, f64, f64)> {
    let (mut rate, mut p50_ms, mut p99_ms) = (0.0, 0.0, 0.0);
    for part in printed.split("Summary:").skip(1) {
        rate += find(part, "Requests/sec:")?;
        p50_ms = f64::max(p50_ms, find(part, "50% in")? * 1e3);
        // The tool prints no 99th percentile of fewer than 100 requests.
        p99_ms = f64::max(p99_ms, find(part, "99% in").or_else(|| find(part, "Slowest:"))? * 1e3);
    }
    (rate > 0.0).then_some((rate, p50_ms, p99_ms))
}

/// Parses the number that follows `what`.
pub(super) fn find(printed: &str, what: &str) -> Option<f64> {
    let rest = &printed[printed.find(what)? + what.len()..];
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_summary_is_understood() {
        let printed = "\nSummary:\n  Total:\t1.2 secs.\n  Requests/sec:\t14600.5\n\nLatency distribution:\n  10% in 0.0100 secs.\n  50% in 0.0640 secs.\n  99% in 0.1170 secs.\n";
        assert_eq!(summary(printed), Some((14600.5, 64.0, 117.0)));
        assert_eq!(find(printed, "99.9% in"), None);
        let writes = printed.replace("14600.5", "399.5").replace("0.0640", "0.0100").replace("0.1170", "0.2000");
        let mixed = format!("Total Read Ops: 9\nDetails:{printed}\nTotal Write Ops: 2\nDetails:{writes}");
        assert_eq!(summary(&mixed), Some((15000.0, 64.0, 200.0)));
        let few = printed.replace("99% in", "95% in").replace("1.2 secs.\n", "1.2 secs.\n  Slowest:\t0.3 secs.\n");
        assert_eq!(summary(&few), Some((14600.5, 64.0, 300.0)));
        assert_eq!(summary("Summary:\n  Requests/sec:\t7\n"), None);
    }
}
