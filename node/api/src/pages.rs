//! Owns the pages that etcd's clients request over plain HTTP, `/health` and `/version`, and the format of plain
//! answers. Does not own the ports that serve these pages, nor the other pages of the HTTP port. Paths, texts and codes
//! equal those of etcd.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use engine::handle::Handle;
use engine::status::Phase;
use http::{HeaderValue, Method, Response, StatusCode, header};
use mvcc::AlarmKind;
use serde::Serialize;

use crate::observer::{CallObserver, Success};
use crate::status::Refusal;
use crate::version;

/// Answers requests for `/health` and `/version` of one member. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct Pages {
    handle: Handle,
    observer: Arc<dyn CallObserver>,
}

#[derive(Serialize)]
struct Health {
    health: &'static str,
    reason: String,
}

#[derive(Serialize)]
struct Versions {
    etcdserver: &'static str,
    etcdcluster: &'static str,
    storage: &'static str,
}

impl Pages {
    /// Creates the pages for the member of `handle`.
    #[must_use]
    pub fn new(handle: Handle, observer: Arc<dyn CallObserver>) -> Pages {
        Pages { handle, observer }
    }

    /// Answers a request for `path`; `None` if the path is neither `/health` nor `/version`.
    pub async fn answer(&self, method: &Method, path: &str, query: &str) -> Option<Response<Bytes>> {
        let page = path.strip_prefix('/').unwrap_or(path);
        if !matches!(page, "health" | "version") {
            return None;
        }
        if method != Method::GET {
            return Some(method_not_allowed());
        }
        Some(if page == "health" { self.health(query).await } else { self.version() })
    }

    async fn health(&self, query: &str) -> Response<Bytes> {
        let reason = self.unhealthy(query).await;
        self.observer.health_checked(if reason.is_empty() { Success::Yes } else { Success::No });
        let health = if reason.is_empty() { "true" } else { "false" };
        let json = json(&Health { health, reason });
        if health == "true" { plain(StatusCode::OK, json) } else { failure(StatusCode::SERVICE_UNAVAILABLE, &json) }
    }

    /// The reason why the member is not healthy; empty if the member is healthy.
    async fn unhealthy(&self, query: &str) -> String {
        let published = self.handle.published();
        let excluded: BTreeSet<&str> = values(query, "exclude").collect();
        if let Some(alarm) =
            published.view.alarms().map(|alarm| alarm_name(alarm.kind)).find(|name| !excluded.contains(name))
        {
            return format!("ALARM {alarm}");
        }
        let status = self.handle.status();
        let local = values(query, "serializable").next() == Some("true");
        if let Err(reason) = status.serving() {
            return format!("RANGE ERROR:{}", Refusal::from(reason).text());
        }
        if local {
            return String::new();
        }
        if status.leader.is_none() {
            return "RAFT NO LEADER".to_owned();
        }
        match self.handle.linearizable().await {
            Ok(_) => String::new(),
            Err(error) => format!("RANGE ERROR:{}", Refusal::from(error).text()),
        }
    }

    fn version(&self) -> Response<Bytes> {
        let decided = self.handle.status().phase == Phase::Member;
        let versions = Versions {
            etcdserver: version::API,
            etcdcluster: if decided { version::STORAGE } else { "not_decided" },
            storage: version::STORAGE,
        };
        let mut response = plain(StatusCode::OK, json(&versions));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

fn alarm_name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::NoSpace => "NOSPACE",
        AlarmKind::Corrupt => "CORRUPT",
    }
}

/// Values of a query parameter, except empty ones. Percent-encoding is not decoded, because no valid value contains
/// it.
pub fn values<'q>(query: &'q str, name: &'q str) -> impl Iterator<Item = &'q str> {
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(move |(key, value)| *key == name && !value.is_empty())
        .map(|(_, value)| value)
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a struct of strings is always valid JSON")
}

/// Builds an answer in plain text.
#[must_use]
pub fn plain(code: StatusCode, text: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Builds an error in plain text, with a final newline, as Go's `http.Error` writes it.
#[must_use]
pub fn failure(code: StatusCode, text: &str) -> Response<Bytes> {
    plain(code, format!("{text}\n"))
}

/// Builds the answer to any method except GET.
#[must_use]
pub fn method_not_allowed() -> Response<Bytes> {
    let mut response = failure(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
    response
}

/// Builds the answer to an unknown path.
#[must_use]
pub fn not_found() -> Response<Bytes> {
    failure(StatusCode::NOT_FOUND, "404 page not found")
}
