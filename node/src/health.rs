//! Owns what a member says of its health over HTTP: alive, ready, and why not; and the port that says it, with the page of
//! metrics. Does not own what it tells of, nor what is done about it.
//!
//! Alive (`/livez`) is any process that answers: a blank, removed or damaged member is not mended by a restart. Ready
//! (`/readyz`) is a member that clients may be sent to; the kubelet asks without `linearizable_read` and `non_learner`, so
//! that an election does not make everybody unready and learners can be Ready. Paths, texts and codes are etcd's
//!, with one check more: `serving`, which fails on whatever is no member and while a member drains.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use api::Refusal;
use api::pages::{Pages, failure, method_not_allowed, not_found, plain, values};
use bytes::Bytes;
use engine::handle::Handle;
use engine::status::Status;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use mvcc::{AlarmKind, View};
use raft::Role;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::metrics::{Metrics, State};

/// Who asks at the same time; more wait to be accepted.
const CONNECTIONS_MAX: usize = 128;
/// How long a client may take to say what it wants.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(10);

/// Answers probes of one member. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Probes {
    handle: Handle,
    quota_bytes: u64,
    metrics: Metrics,
    pages: Pages,
}

/// A question that `/readyz` puts to the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Serving,
    DataCorruption,
    SerializableRead,
    LinearizableRead,
    NonLearner,
}

impl Check {
    const READY: &[Check] =
        &[Check::Serving, Check::DataCorruption, Check::SerializableRead, Check::LinearizableRead, Check::NonLearner];
    const ALIVE: &[Check] = &[Check::SerializableRead];

    fn name(self) -> &'static str {
        match self {
            Check::Serving => "serving",
            Check::DataCorruption => "data_corruption",
            Check::SerializableRead => "serializable_read",
            Check::LinearizableRead => "linearizable_read",
            Check::NonLearner => "non_learner",
        }
    }
}

/// Why a check failed. The texts are etcd's where etcd has the check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NotReady {
    /// A client would be refused.
    #[error("{}", .0.text())]
    Refuses(Refusal),
    /// The member was asked to stop.
    #[error("this member prepares to stop")]
    Draining,
    /// An alarm says that members disagree about the content.
    #[error("alarm activated: CORRUPT")]
    Corrupt,
    /// The member has no vote.
    #[error("not supported for learner")]
    Learner,
}

/// The outcome of a list of checks.
#[derive(Debug, Default)]
struct Report {
    text: String,
    failed: bool,
}

impl Report {
    fn add(&mut self, check: Check, outcome: Result<(), NotReady>) {
        let name = check.name();
        let written = match outcome {
            Ok(()) => writeln!(self.text, "[+]{name} ok"),
            Err(reason) => {
                self.failed = true;
                writeln!(self.text, "[-]{name} failed: {reason}")
            }
        };
        written.expect("a string takes whatever is written to it");
    }
}

impl Probes {
    /// Answers for the member behind `handle`.
    #[must_use]
    pub fn new(handle: Handle, quota_bytes: u64, metrics: Metrics) -> Probes {
        let pages = Pages::new(handle.clone(), Arc::new(metrics.clone()));
        Probes { handle, quota_bytes, metrics, pages }
    }

    /// Answers one request by its parts.
    pub async fn answer(&self, method: &Method, path: &str, query: &str) -> Response<Bytes> {
        if let Some(page) = self.pages.answer(method, path, query).await {
            return page;
        }
        let (root, check) = match path.strip_prefix('/').unwrap_or(path).split_once('/') {
            Some((root, check)) => (root, Some(check)),
            None => (path.trim_start_matches('/'), None),
        };
        let checks = match (root, check) {
            ("livez", None) => Check::ALIVE,
            ("readyz", None) => Check::READY,
            ("livez", Some(name)) => named(Check::ALIVE, name),
            ("readyz", Some(name)) => named(Check::READY, name),
            ("metrics", None) => &[],
            _ => return not_found(),
        };
        if checks.is_empty() && check.is_some() {
            return not_found();
        }
        if method != Method::GET {
            return method_not_allowed();
        }
        match root {
            "metrics" => self.metrics_page(),
            // A sub-path is one check, whatever else is asked.
            _ if check.is_some() => self.checks(root, checks, "").await,
            _ => self.checks(root, checks, query).await,
        }
    }

    async fn checks(&self, root: &str, checks: &[Check], query: &str) -> Response<Bytes> {
        let excluded: BTreeSet<&str> = values(query, "exclude").collect();
        let mut report = Report::default();
        for &check in checks.iter().filter(|check| !excluded.contains(check.name())) {
            let outcome = if root == "livez" { Ok(()) } else { self.run(check).await };
            report.add(check, outcome);
        }
        if report.failed {
            tracing::info!(probe = root, report = report.text, "a probe failed");
            return failure(StatusCode::SERVICE_UNAVAILABLE, &report.text);
        }
        let text = if has(query, "verbose") { report.text + "ok\n" } else { "ok\n".to_owned() };
        plain(StatusCode::OK, text)
    }

    async fn run(&self, check: Check) -> Result<(), NotReady> {
        let status = self.handle.status();
        match check {
            Check::Serving => ready(&status),
            Check::DataCorruption => uncorrupted(&self.handle.published().view),
            Check::SerializableRead => status.serving().map_err(|reason| NotReady::Refuses(reason.into())),
            Check::LinearizableRead => {
                status.serving().map_err(|reason| NotReady::Refuses(reason.into()))?;
                self.handle.linearizable().await.map(|_| ()).map_err(|error| NotReady::Refuses(error.into()))
            }
            Check::NonLearner if status.role == Role::Learner => Err(NotReady::Learner),
            Check::NonLearner => Ok(()),
        }
    }

    fn metrics_page(&self) -> Response<Bytes> {
        let state =
            State { status: self.handle.status(), published: self.handle.published(), quota_bytes: self.quota_bytes };
        let mut response = plain(StatusCode::OK, self.metrics.page(&state));
        let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// Serves the metrics and probes port until it is cancelled. Keep it up while the member drains: that is when `/readyz`
/// has something to say.
pub async fn serve(listener: TcpListener, probes: Probes) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection to the probes' port was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let probes = probes.clone();
        connections.spawn(async move {
            let _place = place;
            let service = service_fn(|request: Request<hyper::body::Incoming>| {
                let probes = probes.clone();
                async move {
                    let query = request.uri().query().unwrap_or_default();
                    let response = probes.answer(request.method(), request.uri().path(), query).await;
                    Ok::<_, Infallible>(response.map(Full::new))
                }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST_WAIT_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection to the probes' port broke");
            }
        });
    }
}

/// Whether clients may be sent here.
fn ready(status: &Status) -> Result<(), NotReady> {
    status.serving().map_err(|reason| NotReady::Refuses(reason.into()))?;
    if status.draining { Err(NotReady::Draining) } else { Ok(()) }
}

fn uncorrupted(view: &View) -> Result<(), NotReady> {
    if view.alarms().any(|alarm| alarm.kind == AlarmKind::Corrupt) {
        return Err(NotReady::Corrupt);
    }
    Ok(())
}

fn named(checks: &'static [Check], name: &str) -> &'static [Check] {
    match checks.iter().position(|check| check.name() == name) {
        Some(place) => &checks[place..=place],
        None => &[],
    }
}

fn has(query: &str, name: &str) -> bool {
    query.split('&').any(|pair| pair.split_once('=').map_or(pair, |(key, _)| key) == name)
}
