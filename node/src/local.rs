//! `raft-node local`: a cluster of separate processes on the loopback interface, for development and benchmarks. Owns
//! the start and the end of the processes, and the bootstrap of the cluster. Does not own the members: each process is
//! an ordinary `raft-node run`.
//!
//! ```text
//! DIR/record          cluster ID and token, written once
//! DIR/member-1/       data directory of the first member
//! DIR/member-1.log    log lines of the first member
//! ```

mod identity;
mod process;

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use proto::admin as wire;
use proto::admin::admin_client::AdminClient;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use crate::local::identity::LocalIdentity;
use crate::local::process::Process;

/// Distance from the client port of a member to its peer port.
const PEER_PORT_OFFSET: u16 = 10;
/// Distance from the client port of a member to its HTTP port.
const HTTP_PORT_OFFSET: u16 = 20;
/// Time within which all members must answer and elect a leader.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Interval between checks for members that have exited and must be restarted.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);
/// Interval between checks while waiting for a member to listen or for a leader.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Time within which the feature level is raised. The cluster serves at its former level, too.
const RAISE_WITHIN: Duration = Duration::from_secs(30);

/// Flags of `raft-node local`.
#[derive(Args, Clone, Debug)]
pub struct LocalArgs {
    /// Number of members; all of them are voters.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub members: u16,
    /// Directory for the members' data and logs. It is created if missing; if it holds a local cluster, that cluster is
    /// started again.
    #[arg(long, default_value = "raft-local")]
    pub dir: PathBuf,
    /// Client port of the first member. Each further member uses the next port. Peer ports are higher by 10, and HTTP
    /// ports by 20.
    #[arg(long, default_value_t = 23_790, value_parser = clap::value_parser!(u16).range(1..=65_500))]
    pub client_port: u16,
    /// Flags of `raft-node run` for every member.
    #[arg(last = true)]
    pub run_flags: Vec<String>,
}

/// Reason why the local cluster did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// A port cannot be bound.
    #[error(
        "port {port} of {what} cannot be bound ({source}): stop the process that uses it, or choose another --client-port"
    )]
    Port {
        /// The port.
        port: u16,
        /// Name of the member, and the service on the port.
        what: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// A file or process operation failed.
    #[error("{what}: {source}")]
    System {
        /// The operation that failed.
        what: String,
        /// Error of the operating system.
        source: io::Error,
    },
    /// The identity file in the directory cannot be parsed.
    #[error("{} is not the identity of a local cluster: give another --dir", path.display())]
    Identity {
        /// Path of the file.
        path: PathBuf,
    },
    /// A member exited.
    #[error("member-{number} exited ({status}); the last lines of its log:\n{log_tail}")]
    Exited {
        /// Number of the member, from 1.
        number: u16,
        /// Exit status.
        status: String,
        /// Last lines of the member's log.
        log_tail: String,
    },
    /// The directory holds another cluster, or a cluster with another number of members.
    #[error("member-{number} {reason}: give another --dir, or the --members of its first start")]
    Foreign {
        /// Number of the member, from 1.
        number: u16,
        /// How the member differs from a member of this cluster.
        reason: String,
    },
    /// The cluster did not become ready in time.
    #[error("{what} within {within:?}; see the logs in {}", dir.display())]
    TimedOut {
        /// The event that did not happen in time.
        what: String,
        /// The time limit.
        within: Duration,
        /// Directory of the logs.
        dir: PathBuf,
    },
}

/// Runs a cluster until SIGTERM or SIGINT. A member that exits after the start is restarted, as a supervisor would do.
///
/// # Errors
/// Returns why the cluster did not start, or why a member could not be restarted. No member is left running.
pub fn run(args: LocalArgs) -> Result<(), LocalError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(system("start a runtime"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("listen for signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("listen for signals"))?;
        let mut members = Vec::new();
        let outcome = tokio::select! {
            outcome = keep_running(&args, &mut members) => outcome,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        };
        process::stop_all(members).await;
        outcome
    })
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> LocalError {
    move |source| LocalError::System { what: what.into(), source }
}

/// Starts the cluster, then restarts members that exit. Returns only on an error.
async fn keep_running(args: &LocalArgs, members: &mut Vec<Process>) -> Result<(), LocalError> {
    std::fs::create_dir_all(&args.dir).map_err(system(format!("create {}", args.dir.display())))?;
    let ports: Vec<Ports> = (1..=args.members).map(|number| Ports::of(args.client_port, number)).collect();
    ports.iter().try_for_each(Ports::check)?;
    let identity = LocalIdentity::open(&args.dir)?;
    for ports in &ports {
        members.push(Process::start(&args.dir, ports, &args.run_flags)?);
    }
    let deadline = Instant::now() + READY_WITHIN;
    let clients = connect(args, &ports, members, deadline).await?;
    bootstrap(&ports, &identity, clients.clone()).await?;
    await_leader(args, &identity, clients.clone(), members, deadline).await?;
    raise_level(&identity, clients).await;
    let endpoints: Vec<String> = ports.iter().map(|ports| url(ports.client)).collect();
    print(&greeting(&endpoints.join(","), &args.dir));
    loop {
        tokio::time::sleep(RESTART_INTERVAL).await;
        for (member, ports) in members.iter_mut().zip(&ports) {
            if let Err(exited) = member.check_alive() {
                eprintln!("{exited}\nmember-{} is restarted", ports.number);
                *member = Process::start(&args.dir, ports, &args.run_flags)?;
            }
        }
    }
}

/// Prints the greeting in one write. An error is ignored, because a reader that has read enough may close the pipe, and
/// the cluster must nevertheless keep running.
fn print(text: &str) {
    let _ = io::stdout().write_all(format!("{text}\n").as_bytes());
}

/// Text that is printed once the cluster serves clients. Programs read its first line, people read the rest.
fn greeting(endpoints: &str, dir: &Path) -> String {
    format!(
        "ready: {endpoints}\ntry:   etcdctl --endpoints={endpoints} put greeting hello\nstop:  Control-C; the data stays in {}",
        dir.display()
    )
}

fn check_alive(members: &mut [Process]) -> Result<(), LocalError> {
    members.iter_mut().try_for_each(Process::check_alive)
}

/// The ports of one member.
#[derive(Clone, Copy, Debug)]
struct Ports {
    number: u16,
    client: u16,
    peer: u16,
    http: u16,
}

impl Ports {
    fn of(first: u16, number: u16) -> Self {
        let client = first + number - 1;
        Self { number, client, peer: client + PEER_PORT_OFFSET, http: client + HTTP_PORT_OFFSET }
    }

    /// Tests whether the ports are free, so that the user sees the error here and not only in the log of a child
    /// process.
    fn check(&self) -> Result<(), LocalError> {
        for (port, kind) in [(self.client, "clients"), (self.peer, "peers"), (self.http, "HTTP")] {
            TcpListener::bind(address(port)).map_err(|source| LocalError::Port {
                port,
                what: format!("member-{} for {kind}", self.number),
                source,
            })?;
        }
        Ok(())
    }
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn url(port: u16) -> String {
    format!("http://{}", address(port))
}

fn name(number: u16) -> String {
    format!("member-{number}")
}

type Client = AdminClient<Channel>;

/// Waits until every member listens, and returns a client of each member's admin service.
async fn connect(
    args: &LocalArgs,
    ports: &[Ports],
    members: &mut [Process],
    deadline: Instant,
) -> Result<Vec<Client>, LocalError> {
    let mut clients = Vec::new();
    for ports in ports {
        let client = loop {
            match AdminClient::connect(url(ports.peer)).await {
                Ok(client) => break client,
                Err(_) if Instant::now() < deadline => {
                    check_alive(members)?;
                    tokio::time::sleep(POLL_INTERVAL).await;
                }
                Err(_) => {
                    return Err(timed_out(args, format!("member-{} did not listen", ports.number)));
                }
            }
        };
        clients.push(client);
    }
    Ok(clients)
}

fn timed_out(args: &LocalArgs, what: String) -> LocalError {
    LocalError::TimedOut { what, within: READY_WITHIN, dir: args.dir.clone() }
}

/// Bootstraps the blank members, all with the same identity. This also completes a bootstrap that an earlier start did
/// not finish.
async fn bootstrap(ports: &[Ports], identity: &LocalIdentity, mut clients: Vec<Client>) -> Result<(), LocalError> {
    let mut described = Vec::new();
    for (client, ports) in clients.iter_mut().zip(ports) {
        described.push(describe(client, identity).await.map_err(|status| foreign(ports.number, &status))?);
    }
    let voters: Vec<wire::MemberInfo> = described
        .iter()
        .zip(ports)
        .map(|(description, ports)| wire::MemberInfo {
            id: description.member_id.clone(),
            name: name(ports.number),
            peer_url: url(ports.peer),
            client_url: url(ports.client),
        })
        .collect();
    for (description, ports) in described.iter().zip(ports) {
        check_description(description, ports, &voters)?;
    }
    for ((client, description), ports) in clients.iter_mut().zip(&described).zip(ports) {
        if description.phase() != wire::Phase::Blank {
            continue;
        }
        let request = wire::BootstrapRequest {
            cluster_id: identity.cluster.to_string(),
            token: identity.token.clone(),
            voters: voters.clone(),
            name: name(ports.number),
        };
        let bootstrapped = client.bootstrap(with_token(request, identity)).await;
        bootstrapped.map_err(|status| foreign(ports.number, &status))?;
    }
    Ok(())
}

/// Checks that a member is blank, or belongs to this cluster at these ports.
fn check_description(
    description: &wire::DescribeResponse,
    ports: &Ports,
    voters: &[wire::MemberInfo],
) -> Result<(), LocalError> {
    let refuse = |reason: String| Err(LocalError::Foreign { number: ports.number, reason });
    match description.phase() {
        wire::Phase::Blank => Ok(()),
        wire::Phase::Member => {
            let configured =
                description.configuration.as_ref().map(|configuration| &configuration.members[..]).unwrap_or(&[]);
            // A member that has just started may report an empty configuration.
            match voters.iter().find(|voter| !configured.is_empty() && !configured.contains(voter)) {
                Some(unknown) => refuse(format!("does not know {} at these ports", unknown.name)),
                None => Ok(()),
            }
        }
        phase => refuse(format!("is {}: {}", phase.as_str_name().to_lowercase(), description.error)),
    }
}

fn foreign(number: u16, status: &tonic::Status) -> LocalError {
    LocalError::Foreign { number, reason: format!("refuses the cluster identity ({})", status.message()) }
}

async fn describe(client: &mut Client, identity: &LocalIdentity) -> Result<wire::DescribeResponse, tonic::Status> {
    Ok(client.describe(with_token(wire::DescribeRequest {}, identity)).await?.into_inner())
}

fn with_token<T>(message: T, identity: &LocalIdentity) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    // The token consists of hexadecimal digits, which are valid in metadata.
    if let Ok(token) = AsciiMetadataValue::try_from(&identity.token) {
        request.metadata_mut().insert("raft-token", token);
    }
    request
}

/// Waits until every member reports a leader.
async fn await_leader(
    args: &LocalArgs,
    identity: &LocalIdentity,
    mut clients: Vec<Client>,
    members: &mut [Process],
    deadline: Instant,
) -> Result<(), LocalError> {
    for client in &mut clients {
        loop {
            if describe(client, identity).await.is_ok_and(|description| !description.leader.is_empty()) {
                break;
            }
            check_alive(members)?;
            if Instant::now() >= deadline {
                return Err(timed_out(args, "no leader was elected".to_owned()));
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

/// Raises the feature level to the highest one that the members support. All of them run this program, so that there is
/// no former program to return to.
async fn raise_level(identity: &LocalIdentity, mut clients: Vec<Client>) {
    let deadline = Instant::now() + RAISE_WITHIN;
    loop {
        let mut last = String::new();
        for client in &mut clients {
            // Only the leader raises the level, once all members are connected to it.
            match client.raise_feature_level(with_token(wire::RaiseFeatureLevelRequest { to: 0 }, identity)).await {
                Ok(_) => return,
                Err(status) => last = status.message().to_owned(),
            }
        }
        if Instant::now() >= deadline {
            eprintln!("the feature level was not raised: {last}");
            return;
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
