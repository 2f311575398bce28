//! Starts and stops the operator: health, leadership, controllers. Owns the order of these steps, and which objects
//! each controller watches.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use crds::{RaftBackup, RaftCluster};
use futures::StreamExt;
use futures::future::{join_all, select_all};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::controller::Config;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};
use plan::names;
use serde_json::Value;
use tokio::sync::watch;

use crate::cluster_object::ClusterObject;
use crate::context::Context;
use crate::health::{self, Readiness};
use crate::leadership::{Candidate, LeaseError};
use crate::machine::{Machine, NoEntropy, ThisMachine};
use crate::member::client::Members;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::{raft_backup, raft_cluster, readable};

/// Maximum number of objects of one kind that are reconciled at the same time.
const CONCURRENCY: u16 = 16;

/// The reason why the operator stopped.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The async runtime did not start.
    #[error("the runtime did not start: {0}")]
    Runtime(#[source] io::Error),
    /// The Kubernetes API cannot be reached.
    #[error("the Kubernetes API cannot be reached: {0}")]
    Kubernetes(#[from] kube::Error),
    /// Health and metrics cannot be served.
    #[error("health and metrics cannot be served: {0}")]
    Health(#[source] io::Error),
    /// Signals cannot be received.
    #[error("signals cannot be received: {0}")]
    Signals(#[source] io::Error),
    /// Leadership was lost.
    #[error(transparent)]
    Lease(#[from] LeaseError),
    /// No random bytes are available for the name of this process.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// Runs the operator until a signal stops it.
///
/// # Errors
/// Returns an error if the operator cannot start or loses the lease.
pub fn blocking(settings: Settings) -> Result<(), RunError> {
    // An error means that the same provider is already installed.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(RunError::Runtime)?;
    runtime.block_on(run(settings))
}

async fn run(settings: Settings) -> Result<(), RunError> {
    let stop = stop_signal().map_err(RunError::Signals)?;
    let (metrics, readiness) = (Metrics::new(), Readiness::default());
    let serving = health::serve(settings.health_addr, readiness.clone(), metrics.clone());
    tokio::select! {
        ended = serving => ended.map_err(RunError::Health),
        ended = work(settings, readiness, metrics, stop) => ended,
    }
}

async fn work(
    settings: Settings,
    readiness: Readiness,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
) -> Result<(), RunError> {
    let client = client(kube::Config::infer().await.map_err(kube::Error::InferConfig)?)?;
    let version = client.apiserver_version().await?;
    tracing::info!(kubernetes = version.git_version, "reached the Kubernetes API");
    // A restarted pod keeps its name. The random suffix prevents the new process from mistaking the lease of the
    // previous process for its own.
    let process = format!("{}_{:08x}", settings.pod_name, ThisMachine.entropy()?.cluster_id as u32);
    let mut candidate = Candidate::new(client.clone(), &settings.pod_namespace, &settings.lease_name, process);
    if !candidate.acquire(&readiness, stopped(stop.clone())).await {
        return Ok(());
    }
    metrics.leads();
    tracing::info!("holds the lease: starts to reconcile");
    let (members, machine) = (Members::default(), Box::new(ThisMachine));
    let (instance, release) = (settings.pod_name.clone(), settings.release());
    let context = Context::new(client, members, machine, settings.operator(), metrics, instance, release);
    let context = Arc::new(context);
    let lost = tokio::select! {
        lost = candidate.keep() => Some(lost),
        () = controllers(&settings, &context, &stop) => None,
    };
    if let Some(lost) = lost {
        return Err(lost.into());
    }
    // No task of this process acts any more, therefore another process may acquire the lease.
    candidate.release().await;
    Ok(())
}

/// Creates a client that sends each request only once. After a failed request, the next pass plans anew. A retry
/// within a pass would act on an old observation, would delay the pass while an eviction is refused, and could create
/// an object twice.
fn client(mut config: kube::Config) -> kube::Result<Client> {
    config.default_retry = false;
    Client::try_from(config)
}

/// Runs all controllers until a signal stops them. Returns after the passes in progress have ended.
async fn controllers(settings: &Settings, context: &Arc<Context>, stop: &watch::Receiver<bool>) {
    let namespaces = settings.namespaces();
    let scopes: Vec<Option<&str>> =
        if namespaces.is_empty() { vec![None] } else { namespaces.into_iter().map(Some).collect() };
    let mut running: Vec<Pin<Box<dyn Future<Output = ()> + Send>>> = Vec::new();
    for scope in &scopes {
        running.push(Box::pin(clusters(Arc::clone(context), *scope, stop.clone())));
        running.push(Box::pin(backups(Arc::clone(context), *scope, stop.clone())));
    }
    join_all(running).await;
}

async fn clusters(context: Arc<Context>, scope: Option<&str>, stop: watch::Receiver<bool>) {
    let client = context.client.clone();
    let ours = || watcher::Config::default().labels(names::LABEL_CLUSTER);
    let (all, kind) = readable::all::<RaftCluster>(&client, scope);
    let (pods, volumes) = (kind.clone(), kind.clone());
    let controller = Controller::new_with(all, watcher::Config::default(), kind.clone())
        .with_config(Config::default().concurrency(CONCURRENCY))
        .owns(api::<StatefulSet>(&client, scope), ours())
        .owns(api::<Service>(&client, scope), ours())
        .owns(api::<PodDisruptionBudget>(&client, scope), ours())
        .watches(api::<Pod>(&client, scope), ours(), move |pod| cluster_of(&pod, &pods))
        .watches(api::<PersistentVolumeClaim>(&client, scope), ours(), move |volume| cluster_of(&volume, &volumes));
    let store = controller.store();
    let waits_for = move |backup: DynamicObject| {
        let waiting = store.state().into_iter().filter(|cluster| is_restored_from(cluster, &backup));
        waiting.map(|cluster| ObjectRef::from_obj_with(&*cluster, kind.clone())).collect::<Vec<_>>()
    };
    let (backups, kind) = readable::all::<RaftBackup>(&client, scope);
    controller
        .watches_with(backups, kind, watcher::Config::default(), waits_for)
        .graceful_shutdown_on(stopped(stop))
        .run(raft_cluster::reconcile, raft_cluster::retry, context)
        .for_each(|outcome| {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a RaftCluster's pass ended early");
            }
            std::future::ready(())
        })
        .await;
}

async fn backups(context: Arc<Context>, scope: Option<&str>, stop: watch::Receiver<bool>) {
    let (all, kind) = readable::all::<RaftBackup>(&context.client, scope);
    Controller::new_with(all, watcher::Config::default(), kind)
        .with_config(Config::default().concurrency(CONCURRENCY))
        .graceful_shutdown_on(stopped(stop))
        .run(raft_backup::reconcile, raft_backup::retry, context)
        .for_each(|outcome| {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a RaftBackup's pass ended early");
            }
            std::future::ready(())
        })
        .await;
}

/// Returns whether a RaftCluster begins with this RaftBackup. Neither is decoded, because one that cannot be decoded
/// must not hide the others.
fn is_restored_from(cluster: &DynamicObject, backup: &DynamicObject) -> bool {
    let name = cluster.data.pointer("/spec/bootstrap/restore/backupName").and_then(Value::as_str);
    cluster.metadata.namespace == backup.metadata.namespace && name.is_some() && name == backup.metadata.name.as_deref()
}

fn api<K: ClusterObject>(client: &Client, scope: Option<&str>) -> Api<K> {
    match scope {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// The cluster that an object belongs to, according to its labels. `kind` is the kind of clusters.
fn cluster_of(object: &impl ResourceExt, kind: &ApiResource) -> Option<ObjectRef<DynamicObject>> {
    let name = object.labels().get(names::LABEL_CLUSTER)?;
    Some(ObjectRef::new_with(name, kind.clone()).within(&object.namespace()?))
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // The sender is dropped only when the process ends, which is also a reason to stop.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Returns a receiver whose value becomes true at SIGTERM or SIGINT.
fn stop_signal() -> io::Result<watch::Receiver<bool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        select_all(signals.iter_mut().map(|signal| Box::pin(signal.recv()))).await;
        tracing::info!("received a signal to stop");
        // The receiver may have been dropped already if the process is ending.
        let _ = sender.send(true);
    });
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Maximum wait for an answer on a busy machine. A client that retries would send a second request within this
    /// time.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// Runs an API server that counts requests, and refuses each of them as a disruption budget refuses an eviction.
    async fn refuse_all(listener: TcpListener, requests: Arc<AtomicU32>) {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            requests.fetch_add(1, Ordering::Relaxed);
            let refusal = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            let _ = connection.write_all(refusal).await;
        }
    }

    #[tokio::test]
    async fn a_refused_request_is_not_sent_again_within_a_pass() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let requests = Arc::new(AtomicU32::new(0));
        let server = tokio::spawn(refuse_all(listener, Arc::clone(&requests)));
        let config = kube::Config::new(format!("http://{address}").parse().expect("a URL"));
        let client = client(config).expect("a client");
        let refused = tokio::time::timeout(PATIENCE, client.apiserver_version()).await;
        assert_eq!(requests.load(Ordering::Relaxed), 1);
        assert!(matches!(refused, Ok(Err(_))), "{refused:?}");
        server.abort();
    }
}
