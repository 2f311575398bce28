//! The threads that serve a member's ports. Clients are served on separate threads. Each client thread has its own
//! listener on the shared port, so that the kernel spreads connections over the threads and no runtime waits for another.
//! Peers, admin calls, probes and metrics are served on the main thread. Owns the start and the end of serving. Does not
//! own the ports (`ports.rs`) or the services (`api`, `peer`, `admin`, `health`).

use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use api::{ClientService, Connections, Limits, Settings};
use engine::fatal;
use engine::handle::Handle;
use engine::reply::ReplyLaneId;
use engine::shared::Shared;
use futures::Stream;
use proto::peer::peer_server::PeerServer;
use socket2::Socket;
use tokio::task::AbortHandle;
use tonic::transport::Server;

use crate::admin;
use crate::config::Config;
use crate::descriptors::PEERS_MAX;
use crate::health::{self, Probes};
use crate::member::StartError;
use crate::member::ports::{Ports, listen};
use crate::member::watched::Watched;
use crate::metrics::Metrics;
use crate::peer::Peers;
use crate::peer::first_message::FirstMessages;
use crate::peer::listen::{FRAME_BYTES_MAX, Listener};

/// HTTP/2 window of one stream of a peer, in bytes.
const PEER_STREAM_WINDOW: u32 = 8 << 20;
/// HTTP/2 window of a peer's connection, in bytes.
const PEER_CONNECTION_WINDOW: u32 = 16 << 20;
/// Number of calls at a time on one connection of a peer or operator. A member has two lanes, a greeting and a snapshot.
const PEER_STREAMS_MAX: u32 = 16;
/// Interval of HTTP/2 pings on a silent connection of a peer.
const PING: Duration = Duration::from_secs(30);
/// Time within which a ping must be answered; otherwise the connection is closed.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Time after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time within which calls in progress must end when the member stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);

/// Running listeners of a member.
pub(super) struct Serving {
    clients: Vec<Socket>,
    client_threads: Vec<JoinHandle<()>>,
    tasks: Vec<AbortHandle>,
}

impl Serving {
    /// Serves peers, admin calls and HTTP, but not clients yet.
    pub(super) fn start(
        config: &Config,
        handle: &Handle,
        metrics: &Metrics,
        peers: &Arc<OnceLock<Arc<Peers>>>,
        ports: Ports,
    ) -> Result<Self, StartError> {
        let refused = |source| StartError::System { what: "serve a port", source };
        let Ports { clients, peer, http } = ports;
        let peer = tokio::net::TcpListener::from_std(peer).map_err(refused)?;
        let members = PeerServer::new(Listener::new(Arc::clone(peers))).max_decoding_message_size(FRAME_BYTES_MAX);
        let server = Server::builder()
            .initial_stream_window_size(PEER_STREAM_WINDOW)
            .initial_connection_window_size(PEER_CONNECTION_WINDOW)
            .http2_keepalive_interval(Some(PING))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            .max_concurrent_streams(Some(PEER_STREAMS_MAX))
            .add_service(FirstMessages(members))
            .add_service(admin::service(handle.clone(), &config.args, Arc::clone(peers)))
            .serve_with_incoming(incoming(peer));
        let peer_task = tokio::spawn(async move {
            if let Err(reason) = server.await {
                fatal::fatal(format_args!("the peer port is no longer served: {reason}"));
            }
        });
        let http = tokio::net::TcpListener::from_std(http).map_err(refused)?;
        let probes = Probes::new(handle.clone(), config.quota_bytes, metrics.clone());
        let http_task = tokio::spawn(async move { match health::serve(http, probes).await {} });
        let tasks = vec![peer_task.abort_handle(), http_task.abort_handle()];
        Ok(Self { clients, client_threads: Vec::new(), tasks })
    }

    /// Starts to serve clients.
    pub(super) fn serve_clients(
        &mut self,
        config: &Config,
        handle: &Handle,
        shared: &Arc<Shared>,
        metrics: &Metrics,
    ) -> Result<(), StartError> {
        let limits = Limits { request_bytes_max: config.args.max_request_bytes };
        let settings = Settings { limits, quota_bytes: config.quota_bytes };
        let connections = Connections::with_memory(config.clients_max, config.memory.clients());
        for (number, socket) in std::mem::take(&mut self.clients).into_iter().enumerate() {
            let listener = listen(socket).map_err(|source| StartError::System { what: "listen to clients", source })?;
            // Lane 0 is for calls from all other threads.
            let lane = ReplyLaneId(number + 1);
            let service = ClientService::new(handle.on_reply_lane(lane), settings, Arc::new(metrics.clone()));
            let (shared, connections) = (Arc::clone(shared), Arc::clone(&connections));
            let serve = move || clients(listener, service, lane, shared, connections);
            self.client_threads.push(fatal::spawn("clients", serve));
        }
        Ok(())
    }

    /// Accepts no more clients, waits a limited time until the calls in progress end, then closes all client
    /// connections.
    pub(super) async fn stop_clients(&mut self, shared: &Shared) {
        shared.announce_stop();
        self.clients.clear();
        let threads = std::mem::take(&mut self.client_threads);
        let ended = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // Joining cannot fail, because a panic in the thread ends the whole process.
                let _ = thread.join();
            }
        });
        let _ = ended.await;
    }

    /// Stops serving peers, admin calls and HTTP.
    pub(super) fn stop(self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Minimum time between two log lines about refused connections.
const WARN_INTERVAL: Duration = Duration::from_secs(10);

/// The connections to the port of members. Members do not authenticate themselves yet, so the number of connections is
/// limited.
fn incoming(listener: tokio::net::TcpListener) -> impl Stream<Item = std::io::Result<Watched>> {
    futures::stream::unfold(
        (listener, Connections::new(PEERS_MAX, 0), None),
        async |(listener, connections, mut warned)| {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let _ = stream.set_nodelay(true);
                        if let Some(place) = connections.admit() {
                            return Some((Ok(Watched::new(stream, place)), (listener, connections, warned)));
                        }
                        if warned.is_none_or(|at: Instant| at.elapsed() >= WARN_INTERVAL) {
                            warned = Some(Instant::now());
                            tracing::warn!(
                                "a peer is refused: {PEERS_MAX} connections of members and operators are in use"
                            );
                        }
                    }
                    Err(reason) => {
                        tracing::warn!(%reason, "cannot accept a peer's connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        },
    )
}

/// Serves the connections of one client thread until the member stops.
fn clients(
    listener: TcpListener,
    service: ClientService,
    lane: ReplyLaneId,
    shared: Arc<Shared>,
    connections: Arc<Connections>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.unwrap_or_else(|reason| fatal::fatal(format_args!("the runtime for clients cannot start: {reason}")));
    runtime.block_on(async move {
        let replies = Arc::clone(&shared);
        tokio::spawn(async move { replies.deliver_replies(lane).await });
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(reason) => fatal::fatal(format_args!("the client port cannot be served: {reason}")),
        };
        accept(listener, service, &shared, &connections).await;
    });
}

async fn accept(
    listener: tokio::net::TcpListener,
    service: ClientService,
    shared: &Arc<Shared>,
    connections: &Arc<Connections>,
) {
    let mut stopping = shared.subscribe_stopping();
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => break,
            // A connection has ended. `join_next` removes it from the set.
            Some(_) = tasks.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                // Without this option, small answers would wait for the client's TCP acknowledgements.
                let _ = stream.set_nodelay(true);
                let Some(place) = connections.admit() else {
                    tracing::debug!(
                        "a client is refused, because there are too many connections with calls in progress"
                    );
                    continue;
                };
                let mut stopping = shared.subscribe_stopping();
                let stops = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
                tasks.spawn(service.clone().serve(stream, place, stops));
            }
            Err(reason) => {
                // The usual cause is that the process has no free file descriptor. One may become free soon, so the
                // loop continues.
                tracing::warn!(%reason, "cannot accept a client's connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, ended).await.is_err() {
        tracing::info!("client connections that did not end in time are closed");
    }
}
