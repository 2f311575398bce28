//! Liveness, readiness and metrics over HTTP. Owns the three paths. Does not own what the metrics count
//! (`metrics.rs`).

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

/// Maximum number of connections that are served at the same time.
const CONNECTIONS_MAX: usize = 64;
/// Time within which a client must send its headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Whether the operator is ready: it can use its leases. An operator that waits for another one is ready, too.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// Marks the operator as ready, because it can use its leases. Otherwise an upgrade would replace an operator that
    /// works by one that can never be active, for example without the rights.
    pub fn reached(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns whether the operator is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Serves health and metrics until the future is dropped.
///
/// # Errors
/// Returns an error if the address cannot be bound. Nothing is served.
pub async fn serve(address: SocketAddr, readiness: Readiness, metrics: Metrics) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection for health or metrics was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (readiness, metrics) = (readiness.clone(), metrics.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &readiness, &metrics);
                async move { Ok::<_, Infallible>(response) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(false);
            // A client may close its connection at any time.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(slot);
        });
    }
}

fn answer(request: &Request<Incoming>, readiness: &Readiness, metrics: &Metrics) -> Response<Full<Bytes>> {
    let (status, text) = respond(request.method(), request.uri().path(), readiness, metrics);
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response
}

fn respond(method: &Method, path: &str, readiness: &Readiness, metrics: &Metrics) -> (StatusCode, String) {
    match (method, path) {
        (&Method::GET, "/livez") => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/readyz") if readiness.is_ready() => (StatusCode::OK, "ok\n".to_owned()),
        (&Method::GET, "/readyz") => {
            (StatusCode::SERVICE_UNAVAILABLE, "the leases could not be read and written yet: see the log\n".to_owned())
        }
        (&Method::GET, "/metrics") => (StatusCode::OK, metrics.text()),
        _ => (StatusCode::NOT_FOUND, "only /livez, /readyz and /metrics exist\n".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_ready_once_it_can_use_its_leases() {
        let (readiness, metrics) = (Readiness::default(), Metrics::new());
        let status = |path| respond(&Method::GET, path, &readiness, &metrics).0;
        assert_eq!((status("/livez"), status("/readyz")), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
        readiness.reached();
        assert_eq!((status("/readyz"), status("/metrics")), (StatusCode::OK, StatusCode::OK));
        assert_eq!(status("/"), StatusCode::NOT_FOUND);
    }
}
