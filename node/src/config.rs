//! Turns flags and environment variables into a checked configuration. Owns their names, defaults and error messages,
//! which name the flag and say what to do. Every flag of `run` has an environment variable: `--data-dir` is
//! `RAFT_NODE_DATA_DIR`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use engine::level::SUPPORTED;
use engine::retention::Retention;
use mvcc::FeatureLevel;

use crate::descriptors::{CLIENTS_MAX, LIMIT_MIN, clients_max};
use crate::memory_budget::MemoryBudget;

/// Flags of `raft-node run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Name of this member, such as `demo-1`; a name in the cluster identity takes precedence.
    #[arg(long, env = "RAFT_NODE_NAME", default_value = "default")]
    pub name: String,
    /// Data directory, used by this member only; created if its parent exists.
    #[arg(long, env = "RAFT_NODE_DATA_DIR")]
    pub data_dir: PathBuf,
    /// Address on which clients are served. `[::]` stands for all addresses of IPv6 and IPv4, also on a machine that has
    /// IPv4 only.
    #[arg(long, env = "RAFT_NODE_CLIENT_ADDR", default_value = "[::]:2379")]
    pub client_addr: SocketAddr,
    /// Address on which other members and the operator are served.
    #[arg(long, env = "RAFT_NODE_PEER_ADDR", default_value = "[::]:2380")]
    pub peer_addr: SocketAddr,
    /// Address on which probes and metrics are served.
    #[arg(long, env = "RAFT_NODE_HTTP_ADDR", default_value = "[::]:2381")]
    pub http_addr: SocketAddr,
    /// URL at which other members reach this one, such as `http://demo-1.demo-members:2380`; a URL in the cluster
    /// identity takes precedence.
    #[arg(long, env = "RAFT_NODE_ADVERTISE_PEER_URL", default_value = "")]
    pub advertise_peer_url: String,
    /// URL at which clients reach this member; a URL in the cluster identity takes precedence.
    #[arg(long, env = "RAFT_NODE_ADVERTISE_CLIENT_URL", default_value = "")]
    pub advertise_client_url: String,
    /// Interval between a leader's heartbeats.
    #[arg(long, env = "RAFT_NODE_HEARTBEAT_INTERVAL", default_value = "150ms", value_parser = duration)]
    pub heartbeat_interval: Duration,
    /// Time without a leader after which a follower campaigns. Each wait is chosen at random between once and twice
    /// this value.
    #[arg(long, env = "RAFT_NODE_ELECTION_TIMEOUT", default_value = "1s", value_parser = duration)]
    pub election_timeout: Duration,
    /// Time for which one confirmed heartbeat round proves leadership, for reads that use the lease.
    #[arg(long, env = "RAFT_NODE_LEADER_LEASE", default_value = "500ms", value_parser = duration)]
    pub leader_lease: Duration,
    /// Upper limit of the drift between two members' clocks during one lease.
    #[arg(long, env = "RAFT_NODE_CLOCK_DRIFT", default_value = "50ms", value_parser = duration)]
    pub clock_drift: Duration,
    /// Serve linearizable reads from the leader lease, without a quorum round. This is faster, but only correct while
    /// clocks drift less than --clock-drift.
    #[arg(long, env = "RAFT_NODE_LEASE_READS", default_value = "false", action = ArgAction::Set)]
    pub lease_reads: bool,
    /// Names of the members that should lead when they can, such as those of one zone, separated by commas. Give every
    /// member the same list. This is only a preference: any voter may be elected.
    #[arg(long, env = "RAFT_NODE_PREFER_LEADERS", value_delimiter = ',')]
    pub prefer_leaders: Vec<String>,
    /// Time after which a write that is not committed is answered with a timeout. Its outcome is then unknown.
    #[arg(long, env = "RAFT_NODE_COMMIT_TIMEOUT", default_value = "5s", value_parser = duration)]
    pub commit_timeout: Duration,
    /// Run a pre-vote before each campaign, so that a member that was cut off from the others does not force an
    /// election when it returns.
    #[arg(long, env = "RAFT_NODE_PRE_VOTE", default_value = "true", action = ArgAction::Set)]
    pub pre_vote: bool,
    /// Length of the log after which a snapshot is due, in units of 64 KiB. It is written once the log since the last one is
    /// at least this long, and at least as long as that snapshot; 64 MiB are enough, on a volume below 4 GiB a 64th of it.
    #[arg(long, env = "RAFT_NODE_SNAPSHOT_THRESHOLD", default_value_t = 1_024)]
    pub snapshot_threshold: u64,
    /// Number of log entries before a snapshot that are kept for lagging followers.
    #[arg(long, env = "RAFT_NODE_SNAPSHOT_TRAILING", default_value_t = 1_024)]
    pub snapshot_trailing: u64,
    /// Number of snapshots kept on disk.
    #[arg(long, env = "RAFT_NODE_SNAPSHOTS_RETAIN", default_value_t = 3)]
    pub snapshots_retain: usize,
    /// Maximum bytes per second of all snapshots sent to other members, and of the log that they read for repairs, together;
    /// 0: no limit.
    #[arg(long, env = "RAFT_NODE_SNAPSHOT_RATE", default_value_t = 128 << 20)]
    pub snapshot_rate: u64,
    /// Maximum number of log entries in one append.
    #[arg(long, env = "RAFT_NODE_MAX_APPEND_ENTRIES", default_value_t = 64)]
    pub max_append_entries: usize,
    /// Maximum bytes of live keys and history; above this size, writes are refused.
    #[arg(long, env = "RAFT_NODE_QUOTA_BYTES", default_value_t = 2 << 30)]
    pub quota_bytes: u64,
    /// What --auto-compaction-retention counts. Without a retention, only clients compact.
    #[arg(long, env = "RAFT_NODE_AUTO_COMPACTION_MODE", default_value = "periodic")]
    pub auto_compaction_mode: AutoCompactionMode,
    /// History that is kept: a time such as `30m` or `72h`, a number of hours, or, with the mode `revision`, a number of
    /// revisions; 0: all. Give every member the same values, because the leader compacts.
    #[arg(long, env = "RAFT_NODE_AUTO_COMPACTION_RETENTION", default_value = "0")]
    pub auto_compaction_retention: String,
    /// Maximum bytes of one request.
    #[arg(long, env = "RAFT_NODE_MAX_REQUEST_BYTES", default_value_t = 1_536 << 10)]
    pub max_request_bytes: usize,
    /// Directory with the object store's credentials, one file for each value; the directory may be missing.
    #[arg(long, env = "RAFT_NODE_OBJECT_STORE_CREDENTIALS")]
    pub object_store_credentials: Option<PathBuf>,
    /// Directory with the credentials of the object store to restore from, if they differ from
    /// --object-store-credentials.
    #[arg(long, env = "RAFT_NODE_RESTORE_CREDENTIALS")]
    pub restore_credentials: Option<PathBuf>,
    /// Number of threads that serve clients; 0: one for each processor, but at most two.
    #[arg(long, env = "RAFT_NODE_CLIENT_THREADS", default_value_t = 0)]
    pub client_threads: usize,
    /// Format of log lines.
    #[arg(long, env = "RAFT_NODE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
    /// Filter of log lines, such as `info`, or `warn,raft_node=debug` for all crates of this program.
    #[arg(long, env = "RAFT_NODE_LOG", default_value = "info")]
    pub log: String,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Plain text.
    Text,
    /// One JSON object on each line.
    Json,
}

/// What the retention of history counts. The names are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AutoCompactionMode {
    /// Time.
    Periodic,
    /// Revisions.
    Revision,
}

/// Checked configuration of a member.
#[derive(Clone, Debug)]
pub struct Config {
    /// The flags, as given.
    pub args: RunArgs,
    /// Number of threads that serve clients, at least 1.
    pub client_threads: usize,
    /// The quota that holds, in bytes: that of the flags, or a lower one that fits the memory limit.
    pub quota_bytes: u64,
    /// The memory of all parts of the member.
    pub memory: MemoryBudget,
    /// Maximum number of connections of clients.
    pub clients_max: usize,
    /// History that is kept; `None` if it is kept until a client compacts it.
    pub retention: Option<Retention>,
    /// The highest feature level that the member supports. Tests lower it, so that the member behaves as a former
    /// program.
    pub supports: FeatureLevel,
}

/// Reason why a configuration was refused; each message names the flag.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The election timeout is so short that followers would campaign between two heartbeats.
    #[error(
        "--election-timeout: {election:?} is less than twice --heartbeat-interval ({heartbeat:?}): raise it, or lower --heartbeat-interval"
    )]
    ElectionTooShort {
        /// Value of --election-timeout.
        election: Duration,
        /// Value of --heartbeat-interval.
        heartbeat: Duration,
    },
    /// The lease is so long that a new leader could be elected while the previous leader's lease is valid.
    #[error(
        "--leader-lease: {lease:?} plus --clock-drift ({drift:?}) must be shorter than --election-timeout ({election:?}): shorten the lease, or raise the timeout"
    )]
    LeaseTooLong {
        /// Value of --leader-lease.
        lease: Duration,
        /// Value of --clock-drift.
        drift: Duration,
        /// Value of --election-timeout.
        election: Duration,
    },
    /// The flag does not allow zero.
    #[error("{flag}: must be greater than zero")]
    Zero {
        /// Name of the flag.
        flag: &'static str,
    },
    /// The value is above the flag's limit.
    #[error("{flag}: {given} is too large; the limit is {limit}")]
    TooLarge {
        /// Name of the flag.
        flag: &'static str,
        /// Value of the flag.
        given: u64,
        /// Highest value that the flag allows.
        limit: u64,
    },
    /// The process may open too few files and connections.
    #[error("the limit of file descriptors is {limit}: raise it to at least {LIMIT_MIN}, for example with `ulimit -n`")]
    TooFewDescriptors {
        /// The limit.
        limit: u64,
    },
    /// The retention is neither a time nor a number.
    #[error(
        "--auto-compaction-retention: {given:?} is not a time of at least 1s such as 30m or 72h, or a number of hours; with --auto-compaction-mode=revision, it is a number of revisions"
    )]
    Retention {
        /// Value of the flag.
        given: String,
    },
    /// The value is not a URL that members can dial.
    #[error("{flag}: {given:?} is not a URL such as http://demo-1.demo-members:2380")]
    NotUrl {
        /// Name of the flag.
        flag: &'static str,
        /// Value of the flag.
        given: String,
    },
}

impl Config {
    /// Checks the flags.
    ///
    /// # Errors
    /// Returns an error that names the flag and says what to do if a value is invalid or contradicts another value.
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
        // A request of the maximum size, and a log entry of the maximum size, must fit into a frame between members.
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
        let (quota_bytes, retention) = (args.quota_bytes, retention(&args)?);
        let memory = MemoryBudget::new(None, quota_bytes);
        let clients_max = CLIENTS_MAX;
        Ok(Self { args, client_threads, quota_bytes, memory, clients_max, retention, supports: SUPPORTED })
    }

    /// Limits the connections of clients to what a limit of file descriptors leaves for them.
    ///
    /// # Errors
    /// Returns an error if the limit is too low for a member.
    pub fn with_descriptors(self, limit: u64) -> Result<Self, ConfigError> {
        if limit < LIMIT_MIN {
            return Err(ConfigError::TooFewDescriptors { limit });
        }
        Ok(Self { clients_max: clients_max(limit), ..self })
    }

    /// Divides the memory below a limit, in bytes, and lowers the quota to what fits.
    #[must_use]
    pub fn within(self, memory_limit: Option<u64>) -> Self {
        let memory = MemoryBudget::new(memory_limit, self.args.quota_bytes);
        Self { quota_bytes: memory.quota, memory, ..self }
    }
}

/// Tests whether members can dial a URL: plain HTTP with a host and a port.
#[must_use]
pub fn is_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|uri| {
        uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()) && uri.port().is_some()
    })
}

/// Reads the retention as etcd does: a number alone is a number of hours or, in the other mode, of revisions.
fn retention(args: &RunArgs) -> Result<Option<Retention>, ConfigError> {
    const SHORTEST: Duration = Duration::from_secs(1);
    let given = args.auto_compaction_retention.as_str();
    let refused = || ConfigError::Retention { given: given.to_owned() };
    if given == "0" {
        return Ok(None);
    }
    let retention = match args.auto_compaction_mode {
        AutoCompactionMode::Revision => given.parse().ok().filter(|kept| *kept > 0).map(Retention::Revisions),
        AutoCompactionMode::Periodic => {
            let hours = given.bytes().all(|digit| digit.is_ascii_digit()).then(|| format!("{given}h"));
            let time = time(hours.as_deref().unwrap_or(given));
            time.filter(|time| *time >= SHORTEST).map(Retention::Time)
        }
    };
    retention.map(Some).ok_or_else(refused)
}

/// Parses `150ms`, `1s`, `2m` or `1h`; at most 24 hours.
fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(24 * 3_600);
    let refusal = || format!("{text:?} is not a duration such as 150ms, 1s, 2m or 1h");
    time(text).filter(|time| *time <= LONGEST).ok_or_else(refusal)
}

fn time(text: &str) -> Option<Duration> {
    let unit = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit);
    let number: u64 = number.parse().ok()?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        "h" => number.checked_mul(3_600_000),
        _ => None,
    };
    milliseconds.map(Duration::from_millis)
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
        Config::check(Cli::try_parse_from(flags).expect("clap parses the flags").run)
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
    fn the_quota_that_holds_fits_the_memory_limit() {
        let config = check(&["--quota-bytes", "2147483648"]).unwrap().within(Some(512 << 20));
        assert_eq!((config.quota_bytes, config.memory.quota, config.args.quota_bytes), (128 << 20, 128 << 20, 2 << 30));
    }

    #[test]
    fn a_retention_is_written_as_for_etcd() {
        let kept = |mode: &str, retention: &str| {
            let mode = format!("--auto-compaction-mode={mode}");
            let retention = format!("--auto-compaction-retention={retention}");
            check(&[&mode, &retention]).map(|config| config.retention)
        };
        let hours = |hours: u64| Ok(Some(Retention::Time(Duration::from_secs(hours * 3_600))));
        assert_eq!(check(&[]).unwrap().retention, None);
        assert_eq!((kept("periodic", "0"), kept("revision", "0")), (Ok(None), Ok(None)));
        assert_eq!((kept("periodic", "1"), kept("periodic", "72h")), (hours(1), hours(72)));
        assert_eq!(kept("periodic", "5m"), Ok(Some(Retention::Time(Duration::from_secs(300)))));
        assert_eq!(kept("revision", "1000"), Ok(Some(Retention::Revisions(1_000))));
        for (mode, wrong) in
            [("periodic", "999ms"), ("periodic", "soon"), ("periodic", ""), ("revision", "1h"), ("revision", "-1")]
        {
            let refusal = kept(mode, wrong).unwrap_err();
            assert_eq!(refusal, ConfigError::Retention { given: wrong.to_owned() }, "{mode}");
        }
    }

    #[test]
    fn preferred_leaders_are_separated_by_commas() {
        let args = check(&["--prefer-leaders", "demo-1,demo-3"]).unwrap().args;
        assert_eq!(args.prefer_leaders, ["demo-1", "demo-3"]);
    }

    #[test]
    fn an_election_timeout_of_300_ms_is_accepted() {
        let fast = ["--election-timeout", "300ms", "--leader-lease", "200ms"];
        assert!(check(&fast).is_ok());
    }

    #[test]
    fn values_that_endanger_elections_are_refused_and_the_flag_is_named() {
        let refusal = |flags: &[&str]| check(flags).unwrap_err().to_string();
        assert!(refusal(&["--heartbeat-interval", "501ms"]).starts_with("--election-timeout:"));
        assert!(refusal(&["--leader-lease", "950ms"]).starts_with("--leader-lease:"));
        assert!(refusal(&["--leader-lease", "0s"]).starts_with("--leader-lease:"));
        assert!(refusal(&["--commit-timeout", "0ms"]).starts_with("--commit-timeout:"));
        assert!(refusal(&["--max-request-bytes", "99999999"]).starts_with("--max-request-bytes:"));
        assert!(refusal(&["--advertise-client-url", "demo:2379"]).starts_with("--advertise-client-url:"));
    }

    #[test]
    fn a_duration_without_a_valid_unit_is_refused() {
        let read = |text| duration(text).ok();
        assert_eq!(read("150ms"), Some(Duration::from_millis(150)));
        assert_eq!(read("2m"), Some(Duration::from_secs(120)));
        for wrong in ["", "5", "ms", "5 s", "-1s", "1.5s", "25h", "99999999999999999999s"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }
}
