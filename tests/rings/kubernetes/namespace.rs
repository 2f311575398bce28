//! What every test needs: the operator, installed once, and a namespace of its own. Owns what a failing test prints.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use dev_cluster::{Cluster, ObjectStore, Run};
use scenario::raft_cluster::RaftCluster;
use scenario::{Kubernetes, backup, operator};

/// How long a change may take on a busy machine of two cores.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Images as `cargo xtask` loads them.
pub(crate) const NODE: &str = "localhost/raft-node:dev";
pub(crate) const OPERATOR: &str = "localhost/raft-operator:dev";
pub(crate) const ETCDCTL: &str = "localhost/etcdctl:dev";
pub(crate) const TRAFFIC: &str = "localhost/traffic:dev";

/// The dev cluster and a namespace in it, which goes when the test ends, however it ends.
pub(crate) struct TestNamespace {
    pub(crate) cluster: Cluster,
    pub(crate) kubernetes: Kubernetes,
}

impl TestNamespace {
    /// Creates a fresh namespace, and installs the operator if no test did before.
    pub(crate) fn set(namespace: &str) -> Self {
        let cluster = Cluster::open().expect("the dev cluster is up: run `cargo xtask test`");
        let kubernetes = Kubernetes::of(&cluster, namespace);
        static INSTALLED: OnceLock<()> = OnceLock::new();
        INSTALLED.get_or_init(|| install(&kubernetes));
        kubernetes.create_namespace().expect("a namespace can be made");
        Self { cluster, kubernetes }
    }

    /// The S3 server's address, bucket and keys.
    pub(crate) fn store(&self) -> ObjectStore {
        self.cluster.object_store().clone()
    }

    /// Creates a RaftCluster with `extra` lines of YAML under `spec:`; does not wait.
    pub(crate) fn create(&self, name: &str, replicas: u32, extra: &str) -> RaftCluster<'_> {
        let manifest = format!(
            "apiVersion: raftoperator.io/v1alpha1\nkind: RaftCluster\nmetadata: {{name: {name}}}\nspec:\n  replicas: \
             {replicas}\n  storage: {{size: 1Gi}}\n  tls: {{client: Plaintext, peer: Plaintext}}\n{extra}"
        );
        self.kubernetes.apply(&manifest).expect("a valid RaftCluster is admitted");
        RaftCluster::named(&self.kubernetes, name)
    }

    /// Makes the Secret with the S3 server's keys.
    pub(crate) fn give_credentials(&self) {
        let store = self.store();
        backup::create_credentials(&self.kubernetes, &store.access_key, &store.secret_key)
            .expect("a Secret can be made");
    }

    /// `etcdctl ARGS` against a cluster; what it printed.
    pub(crate) fn etcdctl(&self, cluster: &RaftCluster<'_>, args: &[&str]) -> String {
        let etcdctl = scenario::client::Etcdctl::new(&self.kubernetes, ETCDCTL, &cluster.endpoint());
        etcdctl.run(args).expect("etcdctl succeeds")
    }
}

/// `helm install` of the chart in the tree.
pub(crate) fn install(kubernetes: &Kubernetes) {
    let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts");
    operator::install(kubernetes, &charts, OPERATOR, NODE).expect("helm installs the operator");
}

impl Drop for TestNamespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // What a person needs to understand the failure; the namespace is about to go.
            for look in ["get raft,pods,statefulsets,persistentvolumeclaims -o wide", "get raft -o yaml", "get events"]
            {
                let said = self.kubernetes.kubectl(look.split(' ')).text().unwrap_or_else(|error| format!("{error:#}"));
                eprintln!("--- kubectl {look}\n{said}");
            }
            for pod in self.kubernetes.list("pods", "").unwrap_or_default() {
                let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                for previous in ["--previous=false", "--previous=true"] {
                    if let Ok(said) = self.kubernetes.kubectl(["logs", &name, "--tail=60", previous]).text() {
                        eprintln!("--- kubectl logs {name} {previous}\n{said}");
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
        if let Err(error) = self.kubernetes.delete_namespace(PATIENCE) {
            eprintln!("the namespace stays: {error:#}");
        }
    }
}
