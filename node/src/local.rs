//! `raft-node local`: a cluster of separate processes on the loopback interface, for development and benchmarks. Owns their
//! start, their first record and their end; each of them is an ordinary `raft-node run`.
//!
//! ```text
//! DIR/record          cluster ID and token, made once
//! DIR/member-1/       its data
//! DIR/member-1.log    what it says
//! ```

mod process;
mod record;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use proto::admin as wire;
use proto::admin::admin_client::AdminClient;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;

use crate::local::process::Process;
use crate::local::record::Record;

/// From a client port to the peer and the HTTP port of the same member.
const PEER_PORT_OFFSET: u16 = 10;
const HTTP_PORT_OFFSET: u16 = 20;
/// Members must answer, and then elect a leader, within this.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A member that ended is started again so often at most.
const REVIVE_EVERY: Duration = Duration::from_secs(1);
/// How often something that is not there yet is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Flags of `raft-node local`.
#[derive(Args, Clone, Debug)]
pub struct LocalArgs {
    /// How many members; all of them vote.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub members: u16,
    /// Where they keep their data; made if missing, gone on with if not.
    #[arg(long)]
    pub dir: PathBuf,
    /// Client port of the first member; the others follow by one. Their peer ports are 10 higher, their HTTP ports 20.
    #[arg(long, default_value_t = 23_790, value_parser = clap::value_parser!(u16).range(1..=65_500))]
    pub client_port: u16,
    /// Flags for each member, as for `raft-node run`.
    #[arg(last = true)]
    pub run_flags: Vec<String>,
}

/// Why there is no local cluster (any more).
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another process listens there.
    #[error("port {port} of {what} cannot be had ({source}): end what uses it, or choose another --client-port")]
    Port {
        /// The port.
        port: u16,
        /// Whose.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file or process operation failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
    /// The record in the directory is not one.
    #[error("{} is no record of a local cluster: give another --dir", path.display())]
    Record {
        /// The file.
        path: PathBuf,
    },
    /// A member did not start.
    #[error("member-{number} ended ({status}); the last it said:\n{said}")]
    Ended {
        /// Which one.
        number: u16,
        /// How.
        status: String,
        /// The end of its log.
        said: String,
    },
    /// The directory does not hold this cluster.
    #[error("member-{number} {reason}: give another --dir, or the --members of its first start")]
    Foreign {
        /// Which one.
        number: u16,
        /// What is wrong with it.
        reason: String,
    },
    /// Something did not happen in time.
    #[error("{what} within {within:?}; see the logs in {}", dir.display())]
    Late {
        /// What did not.
        what: String,
        /// The time there was.
        within: Duration,
        /// Where the logs are.
        dir: PathBuf,
    },
}

/// Runs a cluster until a signal comes. A member that ends later is started again, as by any supervisor.
///
/// # Errors
/// It did not start; no member is left running.
pub fn run(args: LocalArgs) -> Result<(), LocalError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(system("start a runtime"))?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(system("listen for signals"))?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system("listen for signals"))?;
        let mut members = Vec::new();
        let outcome = tokio::select! {
            outcome = live(&args, &mut members) => outcome,
            _ = terminate.recv() => Ok(()),
            _ = interrupt.recv() => Ok(()),
        };
        process::end_all(members).await;
        outcome
    })
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> LocalError {
    move |source| LocalError::System { what: what.into(), source }
}

/// Starts the cluster, then looks after it for ever.
async fn live(args: &LocalArgs, members: &mut Vec<Process>) -> Result<(), LocalError> {
    std::fs::create_dir_all(&args.dir).map_err(system(format!("make {}", args.dir.display())))?;
    let ports: Vec<Ports> = (1..=args.members).map(|number| Ports::of(args.client_port, number)).collect();
    ports.iter().try_for_each(Ports::check)?;
    let record = Record::open(&args.dir)?;
    for ports in &ports {
        members.push(Process::start(&args.dir, ports, &args.run_flags)?);
    }
    let deadline = Instant::now() + READY_WITHIN;
    let doors = knock(args, &ports, members, deadline).await?;
    introduce(&ports, &record, doors.clone()).await?;
    await_leader(args, &record, doors, members, deadline).await?;
    let endpoints: Vec<String> = ports.iter().map(|ports| url(ports.client)).collect();
    println!("ready: {}", endpoints.join(","));
    loop {
        tokio::time::sleep(REVIVE_EVERY).await;
        for (member, ports) in members.iter_mut().zip(&ports) {
            if let Err(ended) = member.check_alive() {
                eprintln!("{ended}\nstarting it again");
                *member = Process::start(&args.dir, ports, &args.run_flags)?;
            }
        }
    }
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

    /// Fails early and clearly, not in a child's log.
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

type Door = AdminClient<Channel>;

/// A connection to every member's admin door, once each listens.
async fn knock(
    args: &LocalArgs,
    ports: &[Ports],
    members: &mut [Process],
    deadline: Instant,
) -> Result<Vec<Door>, LocalError> {
    let mut doors = Vec::new();
    for ports in ports {
        let door = loop {
            match AdminClient::connect(url(ports.peer)).await {
                Ok(door) => break door,
                Err(_) if Instant::now() < deadline => {
                    check_alive(members)?;
                    tokio::time::sleep(LOOK).await;
                }
                Err(_) => {
                    return Err(late(args, format!("member-{} did not listen", ports.number)));
                }
            }
        };
        doors.push(door);
    }
    Ok(doors)
}

fn late(args: &LocalArgs, what: String) -> LocalError {
    LocalError::Late { what, within: READY_WITHIN, dir: args.dir.clone() }
}

/// Gives blank members their record, all the same one. What an earlier start left half done is finished.
async fn introduce(ports: &[Ports], record: &Record, mut doors: Vec<Door>) -> Result<(), LocalError> {
    let mut described = Vec::new();
    for (door, ports) in doors.iter_mut().zip(ports) {
        described.push(describe(door, record).await.map_err(|status| foreign(ports.number, &status))?);
    }
    let voters: Vec<wire::MemberInfo> = described
        .iter()
        .zip(ports)
        .map(|(said, ports)| wire::MemberInfo {
            id: said.member_id.clone(),
            name: name(ports.number),
            peer_url: url(ports.peer),
            client_url: url(ports.client),
        })
        .collect();
    for (said, ports) in described.iter().zip(ports) {
        check_described(said, ports, &voters)?;
    }
    for ((door, said), ports) in doors.iter_mut().zip(&described).zip(ports) {
        if said.phase() != wire::Phase::Blank {
            continue;
        }
        let request = wire::BootstrapRequest {
            cluster_id: record.cluster.to_string(),
            token: record.token.clone(),
            voters: voters.clone(),
            name: name(ports.number),
        };
        let bootstrapped = door.bootstrap(with_token(request, record)).await;
        bootstrapped.map_err(|status| foreign(ports.number, &status))?;
    }
    Ok(())
}

/// A member that has a cluster must have this one, at these ports.
fn check_described(
    said: &wire::DescribeResponse,
    ports: &Ports,
    voters: &[wire::MemberInfo],
) -> Result<(), LocalError> {
    let refuse = |reason: String| Err(LocalError::Foreign { number: ports.number, reason });
    match said.phase() {
        wire::Phase::Blank => Ok(()),
        wire::Phase::Member => {
            let configured = said.configuration.as_ref().map(|configuration| &configuration.members[..]).unwrap_or(&[]);
            // Either order may come first: a member may know of none yet.
            match voters.iter().find(|voter| !configured.is_empty() && !configured.contains(voter)) {
                Some(stranger) => refuse(format!("does not know {} at these ports", stranger.name)),
                None => Ok(()),
            }
        }
        phase => refuse(format!("is {}: {}", phase.as_str_name().to_lowercase(), said.error)),
    }
}

fn foreign(number: u16, status: &tonic::Status) -> LocalError {
    LocalError::Foreign { number, reason: format!("refuses the record ({})", status.message()) }
}

async fn describe(door: &mut Door, record: &Record) -> Result<wire::DescribeResponse, tonic::Status> {
    Ok(door.describe(with_token(wire::DescribeRequest {}, record)).await?.into_inner())
}

fn with_token<T>(message: T, record: &Record) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    // The record holds hexadecimal digits only, which every header takes.
    if let Ok(token) = AsciiMetadataValue::try_from(&record.token) {
        request.metadata_mut().insert("raft-token", token);
    }
    request
}

/// Until every member names a leader.
async fn await_leader(
    args: &LocalArgs,
    record: &Record,
    mut doors: Vec<Door>,
    members: &mut [Process],
    deadline: Instant,
) -> Result<(), LocalError> {
    for door in &mut doors {
        loop {
            if describe(door, record).await.is_ok_and(|said| !said.leader.is_empty()) {
                break;
            }
            check_alive(members)?;
            if Instant::now() >= deadline {
                return Err(late(args, "no leader was elected".to_owned()));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
    Ok(())
}
