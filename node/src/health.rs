//! Owns the probes of a member over HTTP (liveness, readiness, and the reason of a failure). Does not own their port
//! (`port.rs`), the state that the probes report (`engine`) nor the metrics (`metrics`).
//!
//! Every process that answers is alive (`/livez`), because a restart does not repair a blank, removed or damaged
//! member. A member is ready (`/readyz`) when clients may be sent to it. The kubelet's probe excludes
//! `linearizable_read` and `non_learner`, so that an election does not make every member unready, and learners can be
//! Ready. Paths, texts and codes are those of etcd. One check is added: `serving` fails while a process is not a member
//! of a cluster, and while a member drains.

mod port;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use api::Refusal;
use api::pages::{Pages, failure, method_not_allowed, not_found, plain, values};
use bytes::Bytes;
use engine::error::ReadError;
use engine::handle::Handle;
use engine::status::Status;
use http::{HeaderValue, Method, Response, StatusCode, header};
use mvcc::{AlarmKind, View};
use raft::Role;
use tokio::time::timeout;

use crate::metrics::{Metrics, State};

pub use port::serve;

/// Maximum time that a probe waits for the confirmation of a linearizable read.
const READ_WAIT_MAX: Duration = Duration::from_secs(4);

/// Answers the probes of one member. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Probes {
    handle: Handle,
    quota_bytes: u64,
    metrics: Metrics,
    pages: Pages,
}

/// One check of `/readyz`.
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

/// Reason why a check failed. If etcd has the same check, the text equals that of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NotReady {
    /// Calls of clients are refused.
    #[error("{}", .0.text())]
    Refuses(Refusal),
    /// The member is about to stop.
    #[error("this member is about to stop")]
    Draining,
    /// The alarm CORRUPT is raised: members disagree about the content of the store.
    #[error("alarm activated: CORRUPT")]
    Corrupt,
    /// The member is a learner.
    #[error("not supported for learner")]
    Learner,
}

/// Outcome of a list of checks.
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
        written.expect("writing to a string never fails");
    }
}

impl Probes {
    /// Creates the probes of the member to which `handle` belongs.
    #[must_use]
    pub fn new(handle: Handle, quota_bytes: u64, metrics: Metrics) -> Probes {
        let pages = Pages::new(handle.clone(), Arc::new(metrics.clone()));
        Probes { handle, quota_bytes, metrics, pages }
    }

    /// Answers one request.
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
            // A sub-path names one check; `exclude` and `verbose` do not apply to it.
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
                let read = timeout(READ_WAIT_MAX, self.handle.linearizable()).await;
                let read = read.unwrap_or(Err(ReadError::TimedOut));
                read.map(|_| ()).map_err(|error| NotReady::Refuses(error.into()))
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

/// Tests whether clients may be sent to this member.
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
        Some(index) => &checks[index..=index],
        None => &[],
    }
}

fn has(query: &str, name: &str) -> bool {
    query.split('&').any(|pair| pair.split_once('=').map_or(pair, |(key, _)| key) == name)
}
