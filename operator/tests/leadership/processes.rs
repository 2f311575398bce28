//! Operators as processes: they wait for their leases, are active, and end. Owns the check that no two operators of one
//! release are active at the same time, and the rules of a former version. Does not own what is expected of them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use raft_operator::health::Readiness;
use raft_operator::leadership::Candidate;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::lease_api::{LeaseApi, Link, NAMESPACE};

/// The only lease of former versions.
pub(crate) const FORMER: &str = "raft-operator";

/// The API server, and every active process by the Deployment to which it belongs.
#[derive(Clone, Default)]
pub(crate) struct Namespace {
    pub(crate) api: LeaseApi,
    active: Arc<Mutex<BTreeMap<String, String>>>,
}

/// A running process.
pub(crate) struct Process {
    pub(crate) link: Link,
    pub(crate) readiness: Readiness,
    name: String,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Namespace {
    /// Starts an operator of this version. `release` is the full name of its release, and `name` the name of its pod.
    pub(crate) fn start(&self, release: &str, name: &str) -> Process {
        let (world, release) = (self.clone(), release.to_owned());
        self.spawn(name, move |link, readiness, name, stop| async move {
            let client = world.api.client(&link);
            let mut candidate = Candidate::new(client, NAMESPACE, &release, format!("{name}_1"));
            let mut stop = pin!(async {
                let _ = stop.await;
            });
            if !candidate.acquire(&readiness, &mut stop).await {
                return;
            }
            world.enter(&release, &name);
            let is_asked = tokio::select! { _ = candidate.keep() => false, () = stop => true };
            world.leave(&release, &name);
            if is_asked {
                candidate.release().await;
            }
        })
    }

    /// Starts an operator of the version before leases were named after releases.
    pub(crate) fn start_former(&self, release: &str, name: &str) -> Process {
        let (world, release) = (self.clone(), release.to_owned());
        self.spawn(name, move |link, _, name, stop| async move {
            let leases: Api<Lease> = Api::namespaced(world.api.client(&link), NAMESPACE);
            let holder = format!("{name}_1");
            let ends = former_version(&leases, &holder, || world.enter(&release, &name));
            tokio::select! { () = ends => {}, _ = stop => {} }
            if world.leave(&release, &name) {
                let lease = leases.get(FORMER).await.expect("it exists");
                let _ = leases.replace(FORMER, &PostParams::default(), &held(&lease, "")).await;
            }
        })
    }

    fn spawn<F>(&self, name: &str, run: impl FnOnce(Link, Readiness, String, oneshot::Receiver<()>) -> F) -> Process
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let (link, readiness) = (Link::default(), Readiness::default());
        let task = tokio::spawn(run(link.clone(), readiness.clone(), name.to_owned(), stopped));
        Process { link, readiness, name: name.to_owned(), stop: Some(stop), task }
    }

    fn enter(&self, release: &str, name: &str) {
        let other = self.active.lock().expect("no check failed").insert(release.to_owned(), name.to_owned());
        assert_eq!(other, None, "{name} is active although another operator of {release} is");
    }

    fn leave(&self, release: &str, name: &str) -> bool {
        let mut active = self.active.lock().expect("no check failed");
        let is_active = active.get(release).is_some_and(|active| active == name);
        if is_active {
            active.remove(release);
        }
        is_active
    }

    /// Name of the active process of a release; empty if there is none.
    pub(crate) fn active(&self, release: &str) -> String {
        let active = self.active.lock().expect("no two operators of one release were active at the same time");
        active.get(release).cloned().unwrap_or_default()
    }

    /// Waits until a process of a release is active, and returns the time that this took.
    pub(crate) async fn until_active(&self, release: &str, name: &str) -> Duration {
        self.until(|| self.active(release) == name).await
    }

    /// Waits until something is so, and returns the time that this took.
    pub(crate) async fn until(&self, so: impl Fn() -> bool) -> Duration {
        let began = Instant::now();
        while !so() {
            assert!(began.elapsed() < Duration::from_secs(120), "it took too long; active: {:?}", self.active);
            sleep(Duration::from_millis(100)).await;
        }
        began.elapsed()
    }
}

impl Process {
    /// Asks the process to end, as a deleted pod is asked, and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        // A process that has ended by itself does not receive.
        let _ = self.stop.take().expect("it is stopped once").send(());
        self.task.await.expect("the process ends without a failed check");
    }

    /// Ends the process without a chance to release its lease, as a lost machine does.
    pub(crate) fn kill(self, namespace: &Namespace, release: &str) {
        self.task.abort();
        namespace.leave(release, &self.name);
    }

    /// Returns whether the process has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

/// The loop of the former version: one lease for all releases, whose holder is named after the pod only.
async fn former_version(leases: &Api<Lease>, identity: &str, acquired: impl Fn()) {
    let (mut seen, mut is_active) = ((None, Instant::now()), false);
    loop {
        let Some(lease) = leases.get_opt(FORMER).await.expect("the API answers") else {
            let metadata = ObjectMeta { name: Some(FORMER.to_owned()), ..ObjectMeta::default() };
            // Another process may create it at the same time.
            let _ = leases.create(&PostParams::default(), &held(&Lease { metadata, spec: None }, identity)).await;
            continue;
        };
        if seen.0 != lease.metadata.resource_version {
            seen = (lease.metadata.resource_version.clone(), Instant::now());
        }
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default();
        let is_free = holder.is_empty() || holder == identity || seen.1.elapsed() >= Duration::from_secs(15);
        let wins = is_free && leases.replace(FORMER, &PostParams::default(), &held(&lease, identity)).await.is_ok();
        match (is_active, wins) {
            (false, true) => {
                acquired();
                is_active = true;
            }
            (true, false) => return,
            (false, false) | (true, true) => {}
        }
        sleep(Duration::from_secs(2)).await;
    }
}

fn held(lease: &Lease, identity: &str) -> Lease {
    let spec = LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: Some(15),
        ..LeaseSpec::default()
    };
    Lease { metadata: lease.metadata.clone(), spec: Some(spec) }
}
