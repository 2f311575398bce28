//! The port of probes and metrics. Owns which connections are open, and for how long, so that a probe is answered whatever
//! others do on this port: the kubelet restarts a member whose probes fail. Does not own the answers (`health.rs`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::Probes;

/// Maximum number of connections that are open at the same time.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// Maximum time of a connection, from its first byte to the last one of the answer. A connection carries one request.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

/// Maximum size of the head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// The request has not arrived.
const WAITS: u8 = 0;
/// A page is being written, such as the metrics. A client that does not read it delays its end.
const PAGE: u8 = 1;
/// A question is being answered for which the member may ask the others, such as whether it is ready.
const READ: u8 = 2;
/// Another question is being answered, such as whether the member is alive. The answer waits for nothing.
const SHORT: u8 = 3;

/// Serves probes and metrics until this future is dropped. The caller must keep the future running while the member
/// drains, because `/readyz` must then answer that the member is not ready.
pub async fn serve(listener: TcpListener, probes: Probes) -> Infallible {
    let (mut tasks, mut open) = (JoinSet::new(), Open::default());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection on the HTTP port");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while tasks.try_join_next().is_some() {}
        if !open.admits_one_more() {
            continue;
        }
        let doing = Arc::new(AtomicU8::new(WAITS));
        let task = tasks.spawn(connection(stream, probes.clone(), Arc::clone(&doing)));
        open.connections.push_back(Connection { doing, task });
    }
}

/// The open connections, oldest first.
#[derive(Default)]
struct Open {
    connections: VecDeque<Connection>,
}

struct Connection {
    doing: Arc<AtomicU8>,
    task: AbortHandle,
}

impl Open {
    /// Returns whether one more connection may be opened. If there are too many, closes the oldest one without a
    /// request, or else the oldest one that is sent a page, or else the oldest one whose answer waits for other members.
    fn admits_one_more(&mut self) -> bool {
        self.connections.retain(|connection| !connection.task.is_finished());
        if self.connections.len() < CONNECTIONS_MAX {
            return true;
        }
        let oldest = |doing| self.connections.iter().position(|one| one.doing.load(Ordering::Relaxed) == doing);
        let Some(closed) = [WAITS, PAGE, READ].into_iter().find_map(oldest) else { return false };
        if let Some(connection) = self.connections.remove(closed) {
            connection.task.abort();
        }
        true
    }
}

async fn connection(stream: TcpStream, probes: Probes, doing: Arc<AtomicU8>) {
    let service = service_fn(|request: Request<Incoming>| {
        let probes = probes.clone();
        let path = request.uri().path();
        let kind = match path {
            "/metrics" => PAGE,
            "/health" => READ,
            _ if path.starts_with("/readyz") => READ,
            _ => SHORT,
        };
        doing.store(kind, Ordering::Relaxed);
        async move {
            let query = request.uri().query().unwrap_or_default();
            let response = probes.answer(request.method(), request.uri().path(), query).await;
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).keep_alive(false).max_buf_size(HEAD_BYTES_MAX);
    let served = http.serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(CONNECTION_TIME_MAX, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection on the HTTP port failed"),
        Err(_) => tracing::debug!("a connection on the HTTP port took too long and is closed"),
    }
}
