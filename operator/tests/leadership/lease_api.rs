//! The part of the Kubernetes API that leader election uses: get, create and replace of Leases, with resource versions.
//! Owns the stored leases, and how each client's connection fails. Served in this process, behind the real client.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

pub(crate) const NAMESPACE: &str = "operators";
const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/operators/leases";

/// The API server.
#[derive(Clone, Default)]
pub(crate) struct LeaseApi(Arc<Mutex<Stored>>);

#[derive(Default)]
struct Stored {
    leases: BTreeMap<String, Value>,
    version: u64,
}

/// The connection of one client. All clones share its state.
#[derive(Clone, Default)]
pub(crate) struct Link(Arc<Mutex<Connection>>);

/// How the API server answers one client.
#[derive(Clone, Copy, Default)]
pub(crate) enum Connection {
    #[default]
    Works,
    /// Requests are carried out immediately, and answered after this time.
    Slow(Duration),
    /// Writes are carried out immediately, and answered after this time.
    SlowWrites(Duration),
    /// Every request is refused with the code 500 after this time.
    Refuses(Duration),
    /// Every request for this lease is refused, because a right is missing.
    Forbids(&'static str),
    /// Requests do not arrive.
    Silent,
}

impl Link {
    pub(crate) fn set(&self, connection: Connection) {
        *lock(&self.0) = connection;
    }
}

impl LeaseApi {
    pub(crate) fn client(&self, link: &Link) -> Client {
        let (api, link) = (self.clone(), link.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            let (api, connection) = (api.clone(), *lock(&link.0));
            async move { Ok::<_, Infallible>(api.respond(request, connection).await) }
        });
        Client::new(service, NAMESPACE)
    }

    /// Name of the holder of a lease; empty if the lease is released or does not exist.
    pub(crate) fn holder(&self, name: &str) -> String {
        let stored = lock(&self.0);
        let lease = stored.leases.get(name).unwrap_or(&Value::Null);
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// Number of times that a lease changed hands.
    pub(crate) fn transitions(&self, name: &str) -> u64 {
        lock(&self.0).leases[name]["spec"]["leaseTransitions"].as_u64().unwrap_or_default()
    }

    /// Writes the name of a holder into a lease, as another program would.
    pub(crate) fn put(&self, name: &str, holder: &str) {
        let lease = json!({ "metadata": { "name": name }, "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 0,
        }});
        lock(&self.0).store(name, lease);
    }

    async fn respond(&self, request: Request<Body>, connection: Connection) -> Response<Body> {
        match connection {
            Connection::Works => self.carry_out(request).await,
            Connection::Slow(time) => {
                let answer = self.carry_out(request).await;
                tokio::time::sleep(time).await;
                answer
            }
            Connection::SlowWrites(time) => {
                let is_write = request.method() != Method::GET;
                let answer = self.carry_out(request).await;
                if is_write {
                    tokio::time::sleep(time).await;
                }
                answer
            }
            Connection::Refuses(time) => {
                tokio::time::sleep(time).await;
                refusal(StatusCode::INTERNAL_SERVER_ERROR)
            }
            Connection::Forbids(name) if request.uri().path().ends_with(&format!("/{name}")) => {
                refusal(StatusCode::FORBIDDEN)
            }
            Connection::Forbids(_) => self.carry_out(request).await,
            Connection::Silent => std::future::pending().await,
        }
    }

    async fn carry_out(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let name = head.uri.path().strip_prefix(PATH).expect("only leases are used").trim_start_matches('/').to_owned();
        let body = body.collect_bytes().await.expect("the request is complete");
        let mut stored = lock(&self.0);
        match head.method {
            Method::GET => stored.leases.get(&name).map_or_else(|| refusal(StatusCode::NOT_FOUND), answer),
            Method::POST => {
                let lease: Value = serde_json::from_slice(&body).expect("a lease");
                let name = lease["metadata"]["name"].as_str().expect("a lease has a name").to_owned();
                if stored.leases.contains_key(&name) {
                    return refusal(StatusCode::CONFLICT);
                }
                answer(stored.store(&name, lease))
            }
            Method::PUT => {
                let lease: Value = serde_json::from_slice(&body).expect("a lease");
                let Some(live) = stored.leases.get(&name) else { return refusal(StatusCode::NOT_FOUND) };
                let read = &lease["metadata"]["resourceVersion"];
                assert!(read.is_string(), "a replacement names the version that was read");
                if *read != live["metadata"]["resourceVersion"] {
                    return refusal(StatusCode::CONFLICT);
                }
                answer(stored.store(&name, lease))
            }
            other => panic!("leader election does not use {other}"),
        }
    }
}

impl Stored {
    fn store(&mut self, name: &str, mut lease: Value) -> &Value {
        self.version += 1;
        lease["apiVersion"] = json!("coordination.k8s.io/v1");
        lease["kind"] = json!("Lease");
        lease["metadata"]["namespace"] = json!(NAMESPACE);
        lease["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.leases.insert(name.to_owned(), lease);
        &self.leases[name]
    }
}

fn answer(lease: &Value) -> Response<Body> {
    Response::new(Body::from(lease.to_string().into_bytes()))
}

fn refusal(code: StatusCode) -> Response<Body> {
    let reason = match code {
        StatusCode::NOT_FOUND => "NotFound",
        StatusCode::CONFLICT => "Conflict",
        StatusCode::FORBIDDEN => "Forbidden",
        _ => "InternalError",
    };
    let code_number = code.as_u16();
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": reason, "code": code_number,
    });
    let mut response = Response::new(Body::from(status.to_string().into_bytes()));
    *response.status_mut() = code;
    response
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
