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
];

/// Key that the get loads read. It is written before they run. They cannot read the keys of the put loads: the first of
/// those keys consists of 32 zero bytes, which a command-line argument cannot contain.
const KEY: &str = "benchmark-key-of-thirty-two-byte";

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
}

impl Measured {
    /// The figures in one line that shows the progress of the run.
    pub(super) fn line(&self) -> String {
        format!("{:.0}/s p50 {:.1} ms p99 {:.1} ms {:.2} CPU s/10k", self.rate, self.p50_ms, self.p99_ms, self.cpu)
    }
}

impl Load {
    /// Runs the load once and returns the figures.
    pub(super) fn run(&self, benchmark: &Path, servers: &mut Servers, requests: u64) -> Result<Measured> {
        let requests = ((requests as f64 * self.share) as u64).max(1);
        if self.arguments.contains(&KEY) {
            servers.put(KEY, &"v".repeat(256))?;
        }
        let before = servers.cpu_seconds()?;
        let mut command = Command::new(benchmark);
        let endpoints = match self.to {
            To::Leader => servers.leader()?,
            To::All => servers.endpoints().join(","),
        };
        command.arg(format!("--endpoints={endpoints}")).args(self.arguments);
        let printed = command.arg(format!("--total={requests}")).text()?;
        let cpu = servers.cpu_seconds()? - before;
        let found = |what: &str| find(&printed, what).with_context(|| format!("{what} is missing in:\n{printed}"));
        Ok(Measured {
            rate: found("Requests/sec:")?,
            p50_ms: found("50% in")? * 1e3,
            p99_ms: found("99% in")? * 1e3,
            cpu: cpu * 1e4 / requests as f64,
        })
    }
}

/// Parses the number that follows `what`.
fn find(printed: &str, what: &str) -> Option<f64> {
    let rest = &printed[printed.find(what)? + what.len()..];
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tools_summary_is_understood() {
        let printed = "\nSummary:\n  Total:\t1.2 secs.\n  Requests/sec:\t14600.5\n\nLatency distribution:\n  10% in 0.0100 secs.\n  50% in 0.0640 secs.\n  99% in 0.1170 secs.\n";
        assert_eq!(find(printed, "Requests/sec:"), Some(14600.5));
        assert_eq!(find(printed, "50% in"), Some(0.064));
        assert_eq!(find(printed, "99% in"), Some(0.117));
        assert_eq!(find(printed, "99.9% in"), None);
    }
}
