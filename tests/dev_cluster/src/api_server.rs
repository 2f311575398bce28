//! A Kubernetes API server alone, with its etcd, for tests that need only its answers: admission, field management,
//! preconditions. There are no nodes and no controllers. Several such servers can run at the same time, also next to the
//! dev cluster. Owns the two processes, which end with the value.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::{Run, command};
use crate::loopback::own_address;
use crate::process::terminate;
use crate::programs::{self, Built, Program};
use crate::wait::until;

/// Time limit of both processes, so that they do not outlive a test that was killed.
const LIFETIME: &str = "1200";
/// Token of the only user, who may do everything.
const TOKEN: &str = "test";

/// A running API server. Dropping it ends the server and deletes its data.
#[derive(Debug)]
pub struct ApiServer {
    built: Built,
    folder: PathBuf,
    processes: Vec<Child>,
}

impl ApiServer {
    /// Starts an API server that holds its data in a new folder. Builds the programs that are not cached.
    ///
    /// # Errors
    /// Returns an error if a program cannot be built or started, or if the API server is not ready in time.
    pub fn start(say: &dyn Fn(&str)) -> Result<Self> {
        let built = programs::build(&[Program::Etcd, Program::KubeApiserver, Program::Kubectl], say)?;
        let (etcd, own) = (own_address().to_string(), own_address().to_string());
        let folder = std::env::temp_dir().join(format!("raft-operator-api-server-{own}"));
        fs::create_dir_all(&folder).with_context(|| format!("{} was not created", folder.display()))?;
        let mut server = Self { built, folder, processes: Vec::new() };
        server.write_credentials(&own)?;
        let flags = etcd_flags(&server.folder, &etcd);
        server.spawn(Program::Etcd, &flags)?;
        let flags = server_flags(&server.folder, &own, &etcd);
        server.spawn(Program::KubeApiserver, &flags)?;
        until("the API server is ready", Duration::from_secs(120), || {
            server.check_alive()?;
            server.kubectl(["get", "namespace", "default"]).text().map(Some)
        })?;
        Ok(server)
    }

    /// A command of kubectl for this API server.
    pub fn kubectl<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<std::ffi::OsStr>,
    {
        let mut kubectl = command(&self.built.path(Program::Kubectl).to_string_lossy(), args);
        kubectl.env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.folder);
        kubectl
    }

    /// Path of a kubeconfig for this API server.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    fn write_credentials(&self, address: &str) -> Result<()> {
        fs::write(self.folder.join("tokens.csv"), format!("{TOKEN},admin,admin,system:masters\n"))?;
        let key = ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "sa.key"];
        command("openssl", key).current_dir(&self.folder).text()?;
        command("openssl", ["pkey", "-in", "sa.key", "-pubout", "-out", "sa.pub"]).current_dir(&self.folder).text()?;
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://{address}:6443"), "insecure-skip-tls-verify": true,
            }}],
            "users": [{"name": "admin", "user": { "token": TOKEN }}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
            "current-context": "test",
        });
        fs::write(self.kubeconfig(), serde_json::to_vec_pretty(&config)?)?;
        Ok(())
    }

    fn spawn(&mut self, program: Program, flags: &[String]) -> Result<()> {
        let log = fs::File::create(self.folder.join(format!("{}.log", program.name())))?;
        let mut command = command("timeout", ["--signal=KILL", LIFETIME]);
        command.arg(self.built.path(program)).args(flags).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("{} was not started", program.name()))?;
        self.processes.push(child);
        Ok(())
    }

    fn check_alive(&mut self) -> Result<()> {
        for (process, program) in self.processes.iter_mut().zip([Program::Etcd, Program::KubeApiserver]) {
            let ended = process.try_wait()?;
            let log = self.folder.join(format!("{}.log", program.name()));
            let tail = || {
                let text = fs::read_to_string(&log).unwrap_or_default();
                text.lines().rev().take(5).map(str::to_owned).collect::<Vec<_>>().join("\n")
            };
            ensure!(ended.is_none(), "{} has ended: {}", program.name(), tail());
        }
        Ok(())
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            // `timeout` passes SIGTERM on to its child.
            let _ = i32::try_from(process.id()).map(terminate);
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn etcd_flags(folder: &Path, address: &str) -> Vec<String> {
    let (client, peer) = (format!("http://{address}:2379"), format!("http://{address}:2380"));
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".into(),
    ]
}

fn server_flags(folder: &Path, address: &str, etcd: &str) -> Vec<String> {
    let folder = folder.display();
    vec![
        format!("--etcd-servers=http://{etcd}:2379"),
        format!("--bind-address={address}"),
        "--secure-port=6443".into(),
        format!("--advertise-address={address}"),
        "--endpoint-reconciler-type=none".into(),
        format!("--cert-dir={folder}/certificates"),
        format!("--token-auth-file={folder}/tokens.csv"),
        format!("--service-account-key-file={folder}/sa.pub"),
        format!("--service-account-signing-key-file={folder}/sa.key"),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--authorization-mode=RBAC".into(),
        // Without controllers no namespace has a service account, and pods could not be created.
        "--disable-admission-plugins=ServiceAccount".into(),
    ]
}
