//! Setup of each test: the operator, which is installed once for all tests, and the test's own namespace. Owns which
//! tests run at the same time, and the logs that a failing test prints.

use std::path::Path;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use dev_cluster::{Cluster, ObjectStore, Run};
use scenario::operator::{Release, SHARED};
use scenario::raft_cluster::RaftCluster;
use scenario::{Kubernetes, backup, operator};

/// Maximum time that a change may take on a busy machine with two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Image of the member. `cargo xtask` builds and loads this image and those below.
pub(crate) const NODE: &str = "localhost/raft-node:dev";
pub(crate) const OPERATOR: &str = "localhost/raft-operator:dev";
pub(crate) const ETCDCTL: &str = "localhost/etcdctl:dev";
pub(crate) const TRAFFIC: &str = "localhost/traffic:dev";

/// Tests that change nothing outside their namespace share the dev cluster. The others have it to themselves.
static DEV_CLUSTER: RwLock<()> = RwLock::new(());

/// What a test may do to the dev cluster. A test that panicked has still removed its namespace, so a poisoned lock is
/// used as any other.
enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
    OfAnotherNamespace,
}

/// The dev cluster, and a namespace in it. The namespace is deleted when the test ends, even by a panic.
pub(crate) struct TestNamespace {
    pub(crate) cluster: Cluster,
    pub(crate) kubernetes: Kubernetes,
    // Fields are dropped after the namespace is deleted.
    _turn: Turn,
}

impl TestNamespace {
    /// Creates a namespace for a test that changes nothing outside it and sets no limit on time without service. Other
    /// such tests run at the same time. Installs the operator unless an earlier test has installed it.
    pub(crate) fn new(namespace: &str) -> Self {
        Self::create_in(namespace, Turn::Shared { _guard: DEV_CLUSTER.read().unwrap_or_else(PoisonError::into_inner) })
    }

    /// Creates a namespace for a test that measures time, or that changes the shared release, the object store, a node or
    /// a definition. No other test runs at the same time.
    pub(crate) fn alone(namespace: &str) -> Self {
        Self::create_in(namespace, Turn::Alone { _guard: DEV_CLUSTER.write().unwrap_or_else(PoisonError::into_inner) })
    }

    /// Creates a further namespace for the test that has this one.
    pub(crate) fn another(&self, namespace: &str) -> Self {
        Self::create_in(namespace, Turn::OfAnotherNamespace)
    }

    fn create_in(namespace: &str, turn: Turn) -> Self {
        let cluster = Cluster::open().expect("the dev cluster is up: run `cargo xtask test`");
        let kubernetes = Kubernetes::of(&cluster, namespace);
        static INSTALLED: OnceLock<()> = OnceLock::new();
        INSTALLED.get_or_init(|| install(&kubernetes));
        kubernetes.create_namespace().expect("the namespace is created");
        Self { cluster, kubernetes, _turn: turn }
    }

    /// Returns the address, bucket and keys of the S3 server.
    pub(crate) fn store(&self) -> ObjectStore {
        self.cluster.object_store().clone()
    }

    /// Creates a RaftCluster. `extra` holds lines of YAML that are added under `spec:`. Does not wait until the cluster
    /// is Ready.
    pub(crate) fn create(&self, name: &str, replicas: u32, extra: &str) -> RaftCluster<'_> {
        let manifest = format!(
            "apiVersion: raftoperator.io/v1alpha1\nkind: RaftCluster\nmetadata: {{name: {name}}}\nspec:\n  replicas: \
             {replicas}\n  storage: {{size: 1Gi}}\n  tls: {{client: Plaintext, peer: Plaintext}}\n{extra}"
        );
        self.kubernetes.apply(&manifest).expect("a valid RaftCluster is admitted");
        RaftCluster::named(&self.kubernetes, name)
    }

    /// Creates the Secret with the keys of the S3 server.
    pub(crate) fn create_credentials(&self) {
        let store = self.store();
        backup::create_credentials(&self.kubernetes, &store.access_key, &store.secret_key)
            .expect("the Secret is created");
    }

    /// Runs `etcdctl ARGS` against a cluster and returns its output.
    pub(crate) fn etcdctl(&self, cluster: &RaftCluster<'_>, args: &[&str]) -> String {
        let etcdctl = scenario::client::Etcdctl::new(&self.kubernetes, ETCDCTL, &cluster.endpoint());
        etcdctl.run(args).expect("etcdctl succeeds")
    }
}

/// Installs the chart of this repository with Helm, as the release that all tests share.
pub(crate) fn install(kubernetes: &Kubernetes) {
    install_release(kubernetes, &SHARED);
}

/// Installs or upgrades a release of the chart of this repository.
pub(crate) fn install_release(kubernetes: &Kubernetes, release: &Release<'_>) {
    try_install(kubernetes, release).expect("helm installs the operator");
}

/// Installs or upgrades a release of the chart of this repository, or returns Helm's refusal.
pub(crate) fn try_install(kubernetes: &Kubernetes, release: &Release<'_>) -> anyhow::Result<String> {
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts");
    release.install(kubernetes, &charts, OPERATOR, NODE)
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The namespace is deleted below, so the state that explains the failure is printed first.
            for query in ["get raft,pods,statefulsets,persistentvolumeclaims -o wide", "get raft -o yaml", "get events"]
            {
                let output =
                    self.kubernetes.kubectl(query.split(' ')).text().unwrap_or_else(|error| format!("{error:#}"));
                eprintln!("--- kubectl {query}\n{output}");
            }
            for pod in self.kubernetes.list("pods", "").unwrap_or_default() {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                for previous in ["--previous=false", "--previous=true"] {
                    if let Ok(output) = self.kubernetes.kubectl(["logs", &name, "--tail=60", previous]).text() {
                        eprintln!("--- kubectl logs {name} {previous}\n{output}");
                    }
                }
            }
            let logs = [
                "logs",
                "--namespace",
                operator::RELEASE,
                "--selector=app.kubernetes.io/name=raft-operator",
                "--tail=200",
            ];
            eprintln!("--- operator\n{}", self.kubernetes.kubectl(logs).text().unwrap_or_default());
        }
        if let Err(error) = self.kubernetes.abandon_namespace(PATIENCE) {
            eprintln!("the namespace could not be deleted: {error:#}");
        }
    }
}
