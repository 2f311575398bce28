//! Flags and environment → a checked configuration. Owns names, defaults and the text of refusals, which name the flag and
//! say what to do. Every flag of `run` may be given as an environment variable: `--data-dir` is `RAFT_NODE_DATA_DIR`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};

/// Flags of `raft-node run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Name of this member, such as `demo-1`; the cluster's record has the last word.
    #[arg(long, env = "RAFT_NODE_NAME", default_value = "default")]
    pub name: String,
    /// Directory of this member alone; made if its parent exists.
    #[arg(long, env = "RAFT_NODE_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Where clients are served.
    #[arg(long, env = "RAFT_NODE_CLIENT_ADDR", default_value = "0.0.0.0:2379")]
    pub client_addr: SocketAddr,
    /// Where members and the operator are served.
    #[arg(long, env = "RAFT_NODE_PEER_ADDR", default_value = "0.0.0.0:2380")]
    pub peer_addr: SocketAddr,
    /// Where probes and metrics are served.
    #[arg(long, env = "RAFT_NODE_HTTP_ADDR", default_value = "0.0.0.0:2381")]
    pub http_addr: SocketAddr,
    /// How other members reach this one, such as `http://demo-1.demo-members:2380`; the cluster's record has the last word.
    #[arg(long, env = "RAFT_NODE_ADVERTISE_PEER_URL", default_value = "")]
    pub advertise_peer_url: String,
    /// How clients reach this member; the cluster's record has the last word.
    #[arg(long, env = "RAFT_NODE_ADVERTISE_CLIENT_URL", default_value = "")]
    pub advertise_client_url: String,
    /// How often a leader says that it leads.
    #[arg(long, env = "RAFT_NODE_HEARTBEAT_INTERVAL", default_value = "150ms", value_parser = duration)]
    pub heartbeat_interval: Duration,
    /// A follower campaigns after hearing nothing for a time drawn from one to two times this.
    #[arg(long, env = "RAFT_NODE_ELECTION_TIMEOUT", default_value = "1s", value_parser = duration)]
    pub election_timeout: Duration,
    /// How long a quorum round proves leadership, for reads that use the lease.
    #[arg(long, env = "RAFT_NODE_LEADER_LEASE", default_value = "500ms", value_parser = duration)]
    pub leader_lease: Duration,
    /// Bound on how far two members' clocks drift apart during one lease.
    #[arg(long, env = "RAFT_NODE_CLOCK_DRIFT", default_value = "50ms", value_parser = duration)]
    pub clock_drift: Duration,
    /// Serve linearizable reads from the lease, without a quorum round: faster, but it trusts clocks.
    #[arg(long, env = "RAFT_NODE_LEASE_READS", default_value = "false", action = ArgAction::Set)]
    pub lease_reads: bool,
    /// Names of members that should lead rather than others, such as those of one zone, separated by commas; every member is
    /// to be told the same. A wish: whoever can win leads.
    #[arg(long, env = "RAFT_NODE_PREFER_LEADERS", value_delimiter = ',')]
    pub prefer_leaders: Vec<String>,
    /// A request that is not committed by then is answered with a timeout, its outcome unknown.
    #[arg(long, env = "RAFT_NODE_COMMIT_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub commit_timeout: Duration,
    /// Ask before campaigning, so that a member that was cut off does not disturb the others.
    #[arg(long, env = "RAFT_NODE_PRE_VOTE", default_value = "true", action = ArgAction::Set)]
    pub pre_vote: bool,
    /// Applied log entries after which a snapshot is taken.
    #[arg(long, env = "RAFT_NODE_SNAPSHOT_THRESHOLD", default_value_t = 1_024)]
    pub snapshot_threshold: u64,
    /// Log entries kept behind a snapshot for followers that are behind.
    #[arg(long, env = "RAFT_NODE_SNAPSHOT_TRAILING", default_value_t = 1_024)]
    pub snapshot_trailing: u64,
    /// Snapshots kept on disk.
    #[arg(long, env = "RAFT_NODE_SNAPSHOTS_RETAIN", default_value_t = 3)]
    pub snapshots_retain: usize,
    /// Bytes per second that snapshots to other members may take; 0: no limit.
    #[arg(long, env = "RAFT_NODE_SNAPSHOT_RATE", default_value_t = 128 << 20)]
    pub snapshot_rate: u64,
    /// Log entries in one append at most.
    #[arg(long, env = "RAFT_NODE_MAX_APPEND_ENTRIES", default_value_t = 64)]
    pub max_append_entries: usize,
    /// Bytes that the content may take before writes are refused.
    #[arg(long, env = "RAFT_NODE_QUOTA_BYTES", default_value_t = 2 << 30)]
    pub quota_bytes: u64,
    /// Bytes of one request at most.
    #[arg(long, env = "RAFT_NODE_MAX_REQUEST_BYTES", default_value_t = 1_536 << 10)]
    pub max_request_bytes: usize,
    /// Directory with the object store's credentials, one file a value; may be missing.
    #[arg(long, env = "RAFT_NODE_OBJECT_STORE_CREDENTIALS")]
    pub object_store_credentials: Option<PathBuf>,
    /// The same for the object store to restore from, where it takes other credentials.
    #[arg(long, env = "RAFT_NODE_RESTORE_CREDENTIALS")]
    pub restore_credentials: Option<PathBuf>,
    /// Threads that serve clients; 0: one per processor, two at most.
    #[arg(long, env = "RAFT_NODE_CLIENT_THREADS", default_value_t = 0)]
    pub client_threads: usize,
    /// How log lines look.
    #[arg(long, env = "RAFT_NODE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Which log lines there are, such as `info` or `raft_node=debug`.
    #[arg(long, env = "RAFT_NODE_LOG", default_value = "info")]
    pub log: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What a member is told at its start; checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// As given.
    pub args: RunArgs,
    /// Threads that serve clients.
    pub client_threads: usize,
}

/// Why a configuration was refused; each message names the flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Followers would campaign between two heartbeats.
    #[error(
        "--election-timeout: {election:?} is less than twice --heartbeat-interval ({heartbeat:?}): raise it, or beat more often"
    )]
    ElectionTooShort {
        /// As given.
        election: Duration,
        /// As given.
        heartbeat: Duration,
    },
    /// A new leader could be elected inside an old one's lease.
    #[error(
        "--leader-lease: {lease:?} plus --clock-drift ({drift:?}) must be shorter than --election-timeout ({election:?})"
    )]
    LeaseTooLong {
        /// As given.
        lease: Duration,
        /// As given.
        drift: Duration,
        /// As given.
        election: Duration,
    },
    /// Zero makes no sense here.
    #[error("{flag}: must be greater than zero")]
    Zero {
        /// Which flag.
        flag: &'static str,
    },
    /// Beyond what was ever tried.
    #[error("{flag}: {given} is too large, at most {limit} is possible")]
    TooLarge {
        /// Which flag.
        flag: &'static str,
        /// As given.
        given: u64,
        /// Possible.
        limit: u64,
    },
    /// Not an address that members can dial.
    #[error("{flag}: {given:?} is no address such as http://demo-1.demo-members:2380")]
    NotUrl {
        /// Which flag.
        flag: &'static str,
        /// As given.
        given: String,
    },
}

impl Config {
    /// Checks what was given.
    ///
    /// # Errors
    /// Names the flag and says what to do.
    pub fn check(args: RunArgs) -> Result<Self, ConfigError> {
        let zero = |flag| Err(ConfigError::Zero { flag });
        let RunArgs { heartbeat_interval: heartbeat, election_timeout: election, leader_lease: lease, .. } = args;
        if heartbeat.is_zero() {
            return zero("--heartbeat-interval");
        }
        if heartbeat * 2 > election {
            return Err(ConfigError::ElectionTooShort { election, heartbeat });
        }
        if lease.is_zero() {
            return zero("--leader-lease");
        }
        if lease + args.clock_drift >= election {
            return Err(ConfigError::LeaseTooLong { lease, drift: args.clock_drift, election });
        }
        let positive = [
            ("--commit-timeout", args.commit_timeout.is_zero()),
            ("--snapshot-threshold", args.snapshot_threshold == 0),
            ("--snapshots-retain", args.snapshots_retain == 0),
            ("--max-append-entries", args.max_append_entries == 0),
            ("--quota-bytes", args.quota_bytes == 0),
            ("--max-request-bytes", args.max_request_bytes == 0),
        ];
        if let Some((flag, _)) = positive.into_iter().find(|(_, is_zero)| *is_zero) {
            return zero(flag);
        }
        // One request and a full entry must fit a frame between members.
        const REQUEST_BYTES_LIMIT: u64 = 32 << 20;
        if args.max_request_bytes as u64 > REQUEST_BYTES_LIMIT {
            let given = args.max_request_bytes as u64;
            return Err(ConfigError::TooLarge { flag: "--max-request-bytes", given, limit: REQUEST_BYTES_LIMIT });
        }
        const THREADS_LIMIT: usize = 64;
        if args.client_threads > THREADS_LIMIT {
            let (given, limit) = (args.client_threads as u64, THREADS_LIMIT as u64);
            return Err(ConfigError::TooLarge { flag: "--client-threads", given, limit });
        }
        for (flag, url) in
            [("--advertise-peer-url", &args.advertise_peer_url), ("--advertise-client-url", &args.advertise_client_url)]
        {
            if !url.is_empty() && !is_url(url) {
                return Err(ConfigError::NotUrl { flag, given: url.clone() });
            }
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let client_threads = if args.client_threads == 0 { processors.min(2) } else { args.client_threads };
        Ok(Self { args, client_threads })
    }
}

/// Whether members can dial it: plain HTTP with a host and a port.
#[must_use]
pub fn is_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()) && uri.port().is_some()
    })
}

/// Reads `150ms`, `1s`, `2m` or `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let refusal = || format!("{text:?} is no duration such as 150ms, 1s, 2m or 1h");
    let unit = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(refusal)?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().map_err(|_| refusal())?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    const LONGEST: Duration = Duration::from_secs(24 * 3_600);
    milliseconds.map(Duration::from_millis).filter(|duration| *duration <= LONGEST).ok_or_else(refusal)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        run: RunArgs,
    }

    fn check(flags: &[&str]) -> Result<Config, ConfigError> {
        let flags = ["raft-node", "--data-dir", "/data"].iter().chain(flags);
        Config::check(Cli::try_parse_from(flags).expect("the flags are well-formed").run)
    }

    #[test]
    fn defaults_are_as_documented() {
        let args = check(&[]).unwrap().args;
        assert_eq!(args.heartbeat_interval, Duration::from_millis(150));
        assert_eq!(args.election_timeout, Duration::from_secs(1));
        assert_eq!(args.leader_lease, Duration::from_millis(500));
        assert_eq!(args.commit_timeout, Duration::from_secs(5));
        assert_eq!((args.snapshot_threshold, args.snapshots_retain, args.max_append_entries), (1_024, 3, 64));
        assert_eq!((args.pre_vote, args.lease_reads), (true, false));
        assert_eq!(args.max_request_bytes, 1_572_864);
        assert!(args.prefer_leaders.is_empty());
    }

    #[test]
    fn preferred_leaders_are_named_with_commas_between() {
        let args = check(&["--prefer-leaders", "demo-1,demo-3"]).unwrap().args;
        assert_eq!(args.prefer_leaders, ["demo-1", "demo-3"]);
    }

    #[test]
    fn an_election_timeout_of_300_ms_is_possible() {
        let fast = ["--election-timeout", "300ms", "--leader-lease", "200ms"];
        assert!(check(&fast).is_ok());
    }

    #[test]
    fn what_would_elect_two_leaders_or_none_is_refused_by_name() {
        let refusal = |flags: &[&str]| check(flags).unwrap_err().to_string();
        assert!(refusal(&["--heartbeat-interval", "501ms"]).starts_with("--election-timeout:"));
        assert!(refusal(&["--leader-lease", "950ms"]).starts_with("--leader-lease:"));
        assert!(refusal(&["--leader-lease", "0s"]).starts_with("--leader-lease:"));
        assert!(refusal(&["--commit-timeout", "0ms"]).starts_with("--commit-timeout:"));
        assert!(refusal(&["--max-request-bytes", "99999999"]).starts_with("--max-request-bytes:"));
        assert!(refusal(&["--advertise-client-url", "demo:2379"]).starts_with("--advertise-client-url:"));
    }

    #[test]
    fn durations_are_read_with_their_unit_or_not_at_all() {
        let read = |text| duration(text).ok();
        assert_eq!(read("150ms"), Some(Duration::from_millis(150)));
        assert_eq!(read("2m"), Some(Duration::from_secs(120)));
        for wrong in ["", "5", "ms", "5 s", "-1s", "1.5s", "25h", "99999999999999999999s"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
