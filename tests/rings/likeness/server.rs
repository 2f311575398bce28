//! A server that is compared, behind a client of the operator's kind. Owns the connection, and what is known about each
//! object. Does not own the comparison (`compare.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dev_cluster::Run;
use http::Request;
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::core::params::GetParams;
use operators::api_server::fields::FieldOwner;
use operators::api_server::http::ApiRequest;
use operators::api_server::{ApiServer, Kind, NAMESPACE, wall_clock};
use serde_json::{Value, json};
use tower::BoxError;
use tower::util::service_fn;

use crate::owners::Owned;
use crate::write::{Known, Write, requests};
use crate::{exceptions, owners};

/// A simulated or a real API server.
pub(crate) struct Server {
    client: Client,
    namespace: String,
    known: BTreeMap<(Kind, &'static str), Known>,
    /// The simulated server; `None` for a real one.
    simulated: Option<Arc<Mutex<ApiServer>>>,
}

/// The answer to a write, and its effect.
pub(crate) struct Answer {
    /// HTTP code.
    pub(crate) code: u16,
    /// Reason in the status of a refusal; empty for a success.
    pub(crate) reason: String,
    /// The object before the write.
    pub(crate) before: Option<Value>,
    /// The object after the write.
    pub(crate) after: Option<Value>,
    /// The owners of the object's fields after the write.
    pub(crate) owned: Owned,
    /// Body of the answer.
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn succeeded(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// The names of the objects in a list.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.body["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown =
            |object: &Option<Value>| object.as_ref().map(exceptions::without_managed_fields).unwrap_or_default();
        let (before, after) = (shown(&self.before), shown(&self.after));
        writeln!(f, "{} {} {}", self.code, self.reason, self.body["message"])?;
        write!(f, "before: {before}\nafter:  {after}\nowners: {:?}", self.owned)
    }
}

impl Server {
    /// Creates a simulated server without objects.
    pub(crate) fn simulated() -> Self {
        let api = Arc::new(Mutex::new(ApiServer::default()));
        let shared = Arc::clone(&api);
        let service = service_fn(move |request: Request<Body>| {
            let api = Arc::clone(&shared);
            async move {
                let (head, body) = request.into_parts();
                let request = ApiRequest::parse(&head, &body.collect_bytes().await?);
                let mut api = api.lock().unwrap_or_else(PoisonError::into_inner);
                Ok::<_, BoxError>(api.answer(&request, 0, wall_clock(Duration::ZERO)).map(Body::from))
            }
        });
        let client = Client::new(service, NAMESPACE);
        Self { client, namespace: NAMESPACE.to_owned(), known: BTreeMap::new(), simulated: Some(api) }
    }

    /// Creates a new namespace on a real server.
    pub(crate) async fn real(server: &dev_cluster::ApiServer, namespace: &str) -> Self {
        let server = Self {
            client: client(server).await,
            namespace: namespace.to_owned(),
            known: BTreeMap::new(),
            simulated: None,
        };
        let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let request = Request::post("/api/v1/namespaces").header("content-type", "application/json");
        let (code, answer) = server.send(request.body(body.to_string().into_bytes()).expect("a request")).await;
        assert_eq!(code, 201, "{answer}");
        server
    }

    /// The object as this test saw it last.
    pub(crate) fn live(&self, kind: Kind, name: &'static str) -> Option<&Value> {
        self.known.get(&(kind, name))?.live.as_ref()
    }

    /// The path prefix of requests about a kind.
    pub(crate) fn requests(&self, kind: Kind) -> kube::core::Request {
        requests(kind, &self.namespace)
    }

    /// Sends a request. Returns the code and the body of the answer.
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> (u16, Value) {
        let answer = self.client.send(request.map(Body::from)).await.expect("the server answers");
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("the answer is complete").to_bytes();
        (code, serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body))))
    }

    async fn get(&self, kind: Kind, name: &str) -> Option<Value> {
        let request = self.requests(kind).get(name, &GetParams::default()).expect("a request");
        let (code, body) = self.send(request).await;
        (code == 200).then_some(body)
    }

    /// Carries out a write, and reads the object before and after it.
    pub(crate) async fn carry_out(&mut self, write: &Write) -> Answer {
        let before = self.get(write.kind, write.name).await;
        let known = self.known.entry((write.kind, write.name)).or_default();
        // What was written since by the party that counts disruptions is no former state of this run.
        if let (Some(now), Some(last)) = (&before, known.versions.last_mut())
            && known.live.is_some()
        {
            *last = now["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        }
        known.note(before.clone());
        let request = write.request(known, &self.namespace);
        let (code, body) = self.send(request).await;
        let after = self.get(write.kind, write.name).await;
        self.known.entry((write.kind, write.name)).or_default().note(after.clone());
        let reason = if code < 300 { "" } else { body["reason"].as_str().unwrap_or_default() }.to_owned();
        let owned = match &self.simulated {
            Some(api) => owners::of_simulated(&managers(api, write.kind, write.name)),
            None => after.as_ref().map(owners::of_real).unwrap_or_default(),
        };
        Answer { code, reason, before, after, owned, body }
    }
}

fn managers(api: &Mutex<ApiServer>, kind: Kind, name: &str) -> Vec<FieldOwner> {
    let api = api.lock().unwrap_or_else(PoisonError::into_inner);
    api.get(kind, name, 0).map(|record| record.managers().to_vec()).unwrap_or_default()
}

/// Creates a client of a real server.
async fn client(server: &dev_cluster::ApiServer) -> Client {
    // An error means that the same provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let file = Kubeconfig::read_from(server.kubeconfig()).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.expect("a configuration");
    // A refused eviction would be sent again and again.
    config.default_retry = false;
    Client::try_from(config).expect("a client")
}

/// Installs the definition of RaftClusters and a StorageClass whose volumes can grow.
pub(crate) async fn define(server: &dev_cluster::ApiServer) {
    let definition = crds::definitions().into_iter().find(|definition| definition.spec.names.kind == "RaftCluster");
    let text = serde_json::to_vec(&definition.expect("RaftCluster is defined")).expect("plain data");
    server.kubectl(["create", "--filename", "-"]).text_from(&text).expect("the definition is accepted");
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": { "name": "fast" },
        "provisioner": "none", "allowVolumeExpansion": true,
    });
    let created = server.kubectl(["create", "--filename", "-"]).text_from(class.to_string().as_bytes());
    created.expect("the class is accepted");
    let name = "crd/raftclusters.raftoperator.io";
    let established = ["wait", "--for=condition=Established", "--timeout=60s", name];
    server.kubectl(established).text().expect("the definition is served");
}
