//! The loads as calls of etcd's benchmark tool, and how its output is read. Does not own the servers (`server.rs`).

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use dev_cluster::Run;

use super::server::Servers;

/// One kind of load.
pub(super) struct Load {
    /// Its name in the report.
    pub(super) name: &'static str,
    to: To,
    arguments: &'static [&'static str],
    /// Divisor of the requests of a round.
    share: f64,
}

/// Which members the requests go to.
#[derive(Clone, Copy)]
enum To {
    Leader,
    /// Every member in turn.
    All,
}

/// Every load, in the order of the report. Values have 256 bytes, keys 32.
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

/// A key that the puts have written: the tool's sequential key 0 is 32 zero bytes, which no argument can hold, so this
/// one is put before the gets.
const KEY: &str = "benchmark-key-of-thirty-two-byte";

/// What one round of one load cost one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Requests a second.
    pub(super) rate: f64,
    /// Median latency, milliseconds.
    pub(super) p50_ms: f64,
    /// 99th percentile, milliseconds.
    pub(super) p99_ms: f64,
    /// Server CPU seconds of all members per 10,000 requests.
    pub(super) cpu: f64,
}

impl Measured {
    /// The figures in one line, for progress.
    pub(super) fn line(&self) -> String {
        format!("{:.0}/s p50 {:.1} ms p99 {:.1} ms {:.2} CPU s/10k", self.rate, self.p50_ms, self.p99_ms, self.cpu)
    }
}

impl Load {
    /// Runs the load once.
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

/// The number after `what`.
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
