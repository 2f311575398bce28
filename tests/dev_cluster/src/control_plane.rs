//! Processes on the host: etcd, API server, controllers, scheduler, DNS and the volume provisioner. Owns their flags
//! and the order in which they start.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::certificates::{folder, kubeconfig};
use crate::command::{Run, command};
use crate::network::{HOST, SERVICE_RANGE};
use crate::process::{Identity, Start, recorded};
use crate::programs::Program;
use crate::provisioner;
use crate::wait::until;

/// A loopback address that no other program uses. Another etcd may listen on 127.0.0.1, and this cluster must not
/// connect to it.
const LOOPBACK: &str = "127.0.88.1";
const ETCD_CLIENT: &str = "http://127.0.88.1:2379";
const ETCD_PEER: &str = "http://127.0.88.1:2380";
/// Names of all processes of the control plane. Once the cluster is up, all of them must be alive.
const NAMES: [&str; 6] = ["etcd", "apiserver", "controller-manager", "scheduler", "coredns", "provisioner"];

/// The control plane of one run of the dev cluster.
pub(crate) struct ControlPlane<'a> {
    /// The run directory.
    pub(crate) run: &'a Path,
    /// Files into which a process writes its ID to join the host's cgroup.
    pub(crate) cgroup: &'a [PathBuf],
}

impl ControlPlane<'_> {
    /// Starts etcd and the API server, and returns when the API server is ready.
    pub(crate) fn start_api_server(&self) -> Result<()> {
        self.start("etcd", Program::Etcd, &etcd_flags(self.run))?;
        self.start("apiserver", Program::KubeApiserver, &api_server_flags(&folder(self.run)))?;
        // Neither etcd nor the API server is started again if it ends. In that case the wait below ends at once with an
        // error.
        let ours = &NAMES[..2];
        until("the API server is ready", Duration::from_secs(120), || {
            if let Err(ended) = self.check_alive(ours) {
                return Ok(Some(Err(ended)));
            }
            self.kubectl(&["get", "--raw", "/readyz"]).map(|_| Some(Ok(())))
        })?
    }

    /// Starts the processes that need the API server.
    pub(crate) fn start_the_rest(&self, provisioner: &[OsString]) -> Result<()> {
        let admin = kubeconfig(self.run, "admin");
        self.start("controller-manager", Program::KubeControllerManager, &controller_flags(&folder(self.run), &admin))?;
        let scheduler = [format!("--kubeconfig={}", admin.display()), "--leader-elect=false".into(), bind()];
        self.start("scheduler", Program::KubeScheduler, &scheduler)?;
        fs::write(self.run.join("Corefile"), corefile(&admin))?;
        self.start("coredns", Program::CoreDns, &["-conf".into(), "Corefile".into()])?;
        let class = serde_json::to_vec(&provisioner::storage_class())?;
        let mut apply = command(&self.program(Program::Kubectl), ["apply", "-f", "-"]);
        apply.env("KUBECONFIG", &admin).text_from(&class).context("the StorageClass was not created")?;
        // The provisioner runs from a copy of this program, because a build may replace this program's file while the
        // cluster is up.
        let own = self.run.join("bin/provisioner");
        fs::copy("/proc/self/exe", &own).context("this program was not copied")?;
        let mut line: Vec<OsString> = vec![own.into()];
        line.extend(provisioner.iter().cloned().chain([self.run.into()]));
        self.spawn("provisioner", line)
    }

    /// Returns an error if a process of the control plane has ended.
    pub(crate) fn check_all_alive(&self) -> Result<()> {
        self.check_alive(&NAMES)
    }

    fn check_alive(&self, names: &[&str]) -> Result<()> {
        for name in names {
            let alive = recorded(self.run, name).is_some_and(Identity::alive);
            ensure!(alive, "{name} has ended: see {name}.log for the reason");
        }
        Ok(())
    }

    fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut kubectl = command(&self.program(Program::Kubectl), args);
        kubectl.env("KUBECONFIG", kubeconfig(self.run, "admin")).text()
    }

    fn program(&self, program: Program) -> String {
        self.run.join("bin").join(program.name()).to_string_lossy().into_owned()
    }

    fn start(&self, name: &str, program: Program, flags: &[String]) -> Result<()> {
        let line = std::iter::once(self.program(program)).chain(flags.iter().cloned()).map(OsString::from);
        self.spawn(name, line.collect())
    }

    fn spawn(&self, name: &str, line: Vec<OsString>) -> Result<()> {
        Start { name: name.into(), run: self.run, cgroup: self.cgroup, line, env: Vec::new() }.spawn()?;
        Ok(())
    }
}

fn bind() -> String {
    format!("--bind-address={LOOPBACK}")
}

fn etcd_flags(run: &Path) -> Vec<String> {
    vec![
        format!("--data-dir={}", run.join("etcd").display()),
        format!("--listen-client-urls={ETCD_CLIENT}"),
        format!("--advertise-client-urls={ETCD_CLIENT}"),
        format!("--listen-peer-urls={ETCD_PEER}"),
        format!("--initial-advertise-peer-urls={ETCD_PEER}"),
        format!("--initial-cluster=default={ETCD_PEER}"),
        // The cluster is temporary, so the data of its etcd need not survive a crash of the machine.
        "--unsafe-no-fsync".into(),
    ]
}

fn api_server_flags(pki: &Path) -> Vec<String> {
    let pki = pki.display();
    vec![
        format!("--etcd-servers={ETCD_CLIENT}"),
        format!("--bind-address={HOST}"),
        "--secure-port=6443".into(),
        format!("--advertise-address={HOST}"),
        format!("--client-ca-file={pki}/ca.crt"),
        format!("--tls-cert-file={pki}/apiserver.crt"),
        format!("--tls-private-key-file={pki}/apiserver.key"),
        format!("--kubelet-client-certificate={pki}/admin.crt"),
        format!("--kubelet-client-key={pki}/admin.key"),
        "--kubelet-preferred-address-types=InternalIP".into(),
        format!("--service-account-key-file={pki}/sa.pub"),
        format!("--service-account-signing-key-file={pki}/sa.key"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--authorization-mode=Node,RBAC".into(),
        "--allow-privileged=true".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
    ]
}

fn controller_flags(pki: &Path, admin: &Path) -> Vec<String> {
    let pki = pki.display();
    vec![
        format!("--kubeconfig={}", admin.display()),
        format!("--service-account-private-key-file={pki}/sa.key"),
        format!("--root-ca-file={pki}/ca.crt"),
        format!("--cluster-signing-cert-file={pki}/ca.crt"),
        format!("--cluster-signing-key-file={pki}/ca.key"),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
        bind(),
        // With this grace period, Kubernetes reports a lost node within seconds, so that tests of a lost node are
        // short.
        "--node-monitor-grace-period=16s".into(),
    ]
}

/// Configuration of CoreDNS. It does not forward queries, because no packet may leave the machine. A query for a name
/// outside the cluster is therefore answered with "not found".
fn corefile(admin: &Path) -> String {
    format!(
        ".:53 {{
    bind {HOST}
    errors
    kubernetes cluster.local in-addr.arpa {{
        kubeconfig {} dev
        pods insecure
        ttl 1
    }}
}}
",
        admin.display()
    )
}
