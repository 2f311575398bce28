//! The dev cluster as its users see it. Owns the start and the status of the cluster, the loading of images, and the
//! environment of clients. Does not own faults (`fault.rs`) or the removal of the cluster (`teardown.rs`).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::certificates::{self, kubeconfig};
use crate::cgroup::Hierarchy;
use crate::command::{Json, search_path};
use crate::control_plane::ControlPlane;
use crate::image::Image;
use crate::network::{self, MOST_NODES, Node};
use crate::node::{Machine, PAUSE_IMAGE};
use crate::object_store::ObjectStore;
use crate::process::{self, Identity};
use crate::programs::{self, Program};
use crate::state_file::{Exclusive, Phase, StateFile};
use crate::wait::{so, until};
use crate::{packages, teardown};

/// Cgroup of the control plane.
pub(crate) const HOST_GROUP: &str = "host";
/// Cgroup of the S3 server.
pub(crate) const STORE_GROUP: &str = "store";

/// Cgroup of tests and other clients.
const CLIENT_GROUP: &str = "clients";

/// Settings of a cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of nodes, 1 to 9.
    pub nodes: u8,
    /// Arguments with which the calling program is started a second time as the provisioner; the run directory is
    /// appended to them. That second process must pass the run directory to [`crate::provisioner::run`].
    pub provisioner: Vec<OsString>,
    /// When the cluster counts as abandoned.
    pub lifetime: Lifetime,
}

/// When a cluster counts as abandoned. The next `up` may remove an abandoned cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// The cluster never counts as abandoned: it stays up until the user takes it down.
    Standing,
    /// The cluster counts as abandoned once the process that brought the cluster up has ended.
    Tied,
}

/// A dev cluster that is up.
#[derive(Clone, Debug)]
pub struct Cluster {
    pub(crate) run: PathBuf,
    pub(crate) nodes: Vec<Node>,
    pub(crate) store: ObjectStore,
}

/// State of the dev cluster on this machine.
#[derive(Clone, Debug)]
pub enum Status {
    /// There is no cluster, and no crashed run has left files or processes.
    Absent,
    /// A crashed run has left files or processes, which `up` and `down` remove.
    Leftovers {
        /// Run directory of the crashed cluster.
        run: PathBuf,
    },
    /// The cluster is up.
    Up {
        /// The cluster.
        cluster: Box<Cluster>,
        /// Each node, and whether Kubernetes reports it as Ready.
        nodes: Vec<(Node, bool)>,
    },
}

impl Cluster {
    /// Installs and builds the programs that a cluster needs, then brings the cluster up. Returns when all nodes are
    /// Ready.
    ///
    /// # Errors
    /// Returns an error if the caller is not root, if a cluster is already up, or if a step fails. If a step fails, the
    /// parts of the cluster that were started are removed, and their logs are copied to the cache.
    pub fn up(options: &Options, say: &dyn Fn(&str)) -> Result<Cluster> {
        packages::require_root()?;
        ensure!((1..=MOST_NODES).contains(&options.nodes), "a dev cluster has 1 to {MOST_NODES} nodes");
        // This is checked before the long builds and again after them, because the lock is not held during the builds.
        refuse_a_live_cluster(&Exclusive::take()?, say)?;
        packages::install_needed(say)?;
        let built = programs::build(&Program::CLUSTER, say)?;
        let lock = Exclusive::take()?;
        refuse_a_live_cluster(&lock, say)?;

        let run = programs::cache()?.join("cluster");
        let nodes = (1..=options.nodes).map(Node::new).collect::<Result<Vec<_>>>()?;
        let owner = Some(Identity::own()?);
        let mut state = StateFile { run: run.clone(), nodes: options.nodes, phase: Phase::Unfinished, owner };
        state.write()?;
        fs::create_dir_all(&run).with_context(|| format!("{} cannot be created", run.display()))?;
        built.link_into(&run.join("bin"))?;

        let cluster = Cluster { run, nodes, store: ObjectStore::new()? };
        if let Err(error) = cluster.start(options, say) {
            let logs = programs::cache()?.join("failed");
            let kept = cluster.copy_logs(&logs).and_then(|()| teardown::remove(state, &lock));
            let outcome = match kept {
                Ok(()) => {
                    format!("the dev cluster did not come up and was removed; its logs are in {}", logs.display())
                }
                Err(error) => format!("the dev cluster did not come up, and was not removed: {error:#}"),
            };
            return Err(error.context(outcome));
        }
        state.phase = Phase::Up;
        state.owner = state.owner.filter(|_| options.lifetime == Lifetime::Tied);
        state.write()?;
        Ok(cluster)
    }

    fn start(&self, options: &Options, say: &dyn Fn(&str)) -> Result<()> {
        let start = Instant::now();
        let took = |what: &str| say(&format!("{what} after {:.1} s", start.elapsed().as_secs_f64()));
        network::create(&self.nodes)?;
        certificates::create(&self.run, &self.nodes)?;
        let hierarchy = Hierarchy::detect();
        let host = hierarchy.create(HOST_GROUP)?;
        let control_plane = ControlPlane { run: &self.run, cgroup: &host };
        // containerd does not need the API server. It is started first, so that it becomes ready while the API server
        // starts.
        let pause = self.write_pause_image()?;
        let mut groups = Vec::new();
        for node in &self.nodes {
            let group = hierarchy.create(&node.to_string())?;
            let machine = self.machine(*node);
            machine.configure()?;
            machine.start_containerd(&group)?;
            groups.push(group);
        }
        control_plane.start_api_server()?;
        took("API server ready");
        control_plane.start_the_rest(&options.provisioner)?;
        for (node, group) in self.nodes.iter().zip(&groups) {
            let machine = self.machine(*node);
            machine.await_containerd()?;
            machine.import(&pause)?;
            machine.start_kubelet(group)?;
        }
        self.store.start(&self.run, &hierarchy.create(STORE_GROUP)?)?;
        self.await_nodes(Duration::from_secs(120))?;
        control_plane.check_all_alive()?;
        took(&format!("{} nodes Ready", self.nodes.len()));
        Ok(())
    }

    /// Opens the cluster that is up on this machine.
    ///
    /// # Errors
    /// Returns an error if no cluster is up.
    pub fn open() -> Result<Cluster> {
        match StateFile::read()? {
            Some(state) if state.live() => Cluster::of(&state),
            Some(_) => {
                bail!("the dev cluster is not up, a crash left parts of it: bring it up with `cargo xtask cluster up`")
            }
            None => bail!("no dev cluster is up: bring it up with `cargo xtask cluster up`"),
        }
    }

    fn of(state: &StateFile) -> Result<Cluster> {
        let nodes = (1..=state.nodes).map(Node::new).collect::<Result<Vec<_>>>()?;
        Ok(Cluster { run: state.run.clone(), nodes, store: ObjectStore::read(&state.run)? })
    }

    /// Reads the state of the dev cluster on this machine.
    ///
    /// # Errors
    /// Returns an error if the state file cannot be read or the API server of a live cluster does not respond.
    pub fn status() -> Result<Status> {
        let Some(state) = StateFile::read()? else { return Ok(Status::Absent) };
        if !state.live() {
            return Ok(Status::Leftovers { run: state.run });
        }
        let cluster = Cluster::of(&state)?;
        let nodes = cluster.readiness()?;
        Ok(Status::Up { cluster: Box::new(cluster), nodes })
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The S3 server.
    #[must_use]
    pub fn object_store(&self) -> &ObjectStore {
        &self.store
    }

    /// The folder that holds the S3 server's bucket. Each object is a file in it. Some tests damage such a file.
    #[must_use]
    pub fn bucket_folder(&self) -> PathBuf {
        self.store.bucket_folder(&self.run)
    }

    /// Path of the administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        kubeconfig(&self.run, "admin")
    }

    /// Folder with the logs of every process, one file for each process.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.run.join("log")
    }

    /// Replaces `folder` by a copy of the logs of every process, and of every pod whose logs the kubelets still keep.
    ///
    /// # Errors
    /// Returns an error if a file cannot be read or written.
    pub fn copy_logs(&self, folder: &Path) -> Result<()> {
        match fs::remove_dir_all(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        copy_files(&self.logs(), folder)?;
        for node in &self.nodes {
            copy_files(&self.machine(*node).pod_logs(), &folder.join(format!("pods-{node}")))?;
        }
        Ok(())
    }

    /// A command that runs one of the cluster's programs in an environment that selects this cluster.
    #[must_use]
    pub fn command(&self, program: Program) -> Command {
        let mut command = Command::new(self.run.join("bin").join(program.name()));
        command.envs(self.env());
        command
    }

    /// The command `kubectl ARGS`.
    #[must_use]
    pub fn kubectl<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(Program::Kubectl);
        command.args(args);
        command
    }

    /// The command `helm ARGS`. Helm keeps its own files in the run directory.
    #[must_use]
    pub fn helm<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = self.command(Program::Helm);
        for (name, folder) in [("HELM_CACHE_HOME", "cache"), ("HELM_CONFIG_HOME", "config"), ("HELM_DATA_HOME", "data")]
        {
            command.env(name, self.run.join("helm").join(folder));
        }
        command.args(args);
        command
    }

    /// Environment for a program or a shell that works with the cluster.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        let store = &self.store;
        vec![
            ("KUBECONFIG", self.kubeconfig().to_string_lossy().into_owned()),
            ("PATH", format!("{}:{}", self.run.join("bin").display(), search_path())),
            ("S3_ENDPOINT", store.endpoint.clone()),
            ("S3_BUCKET", store.bucket.clone()),
            ("AWS_REGION", store.region.clone()),
            ("AWS_ACCESS_KEY_ID", store.access_key.clone()),
            ("AWS_SECRET_ACCESS_KEY", store.secret_key.clone()),
        ]
    }

    /// Returns `command` as a client of the cluster: the client runs in the cluster's environment and is killed when
    /// the cluster is removed. Otherwise a client that outlived the cluster would send packets for the cluster's
    /// addresses out of this machine.
    ///
    /// # Errors
    /// Returns an error if the clients' cgroup cannot be created.
    pub fn confine(&self, command: &Command) -> Result<Command> {
        let group = Hierarchy::detect().create(CLIENT_GROUP)?;
        let mut confined = Command::new("sh");
        confined.args(["-c", &format!("{}exec \"$@\"", process::join_line(&group)), "client"]);
        confined.arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => confined.env(name, value),
                None => confined.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            confined.current_dir(folder);
        }
        confined.envs(self.env());
        Ok(confined)
    }

    /// Loads an image archive into every node.
    ///
    /// # Errors
    /// Returns an error if a node refuses the archive.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        self.nodes.iter().try_for_each(|node| self.machine(*node).import(archive))
    }

    /// Gives an image that is loaded another name, on every node.
    ///
    /// # Errors
    /// Returns an error if a node does not have the image.
    pub fn tag_image(&self, name: &str, alias: &str) -> Result<()> {
        self.nodes.iter().try_for_each(|node| self.machine(*node).tag(name, alias))
    }

    /// Lists each node, and whether Kubernetes reports it as Ready.
    ///
    /// # Errors
    /// Returns an error if the API server does not respond.
    pub fn readiness(&self) -> Result<Vec<(Node, bool)>> {
        let list = self.kubectl(["get", "nodes", "-o", "json"]).json()?;
        Ok(self.nodes.iter().map(|node| (*node, is_ready(&list, &node.to_string()))).collect())
    }

    /// Waits until every node is Ready.
    ///
    /// # Errors
    /// Returns an error if a node is not Ready after `limit`.
    pub fn await_nodes(&self, limit: Duration) -> Result<()> {
        until("every node is Ready", limit, || so(self.readiness()?.iter().all(|(_, ready)| *ready)))
    }

    pub(crate) fn machine(&self, node: Node) -> Machine<'_> {
        Machine { run: &self.run, node }
    }

    fn write_pause_image(&self) -> Result<PathBuf> {
        let path = self.run.join("pause.tar");
        Image::of_program(PAUSE_IMAGE, &self.run.join("bin/pause"), None)?.write(&path)?;
        Ok(path)
    }
}

fn refuse_a_live_cluster(lock: &Exclusive, say: &dyn Fn(&str)) -> Result<()> {
    let Some(state) = StateFile::read()? else { return Ok(()) };
    if state.live() {
        bail!("a dev cluster is already up in {}: take it down with `cargo xtask cluster down`", state.run.display());
    }
    say("removing what an earlier run left");
    teardown::remove(state, lock)
}

/// Copies a folder and, recursively, the folders in it. A missing folder counts as empty.
fn copy_files(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_files(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Returns whether the node `name` in a NodeList is Ready.
fn is_ready(list: &Value, name: &str) -> bool {
    let nodes = list["items"].as_array().into_iter().flatten();
    nodes.filter(|node| node["metadata"]["name"] == name).any(|node| {
        let conditions = node["status"]["conditions"].as_array().into_iter().flatten();
        conditions.filter(|condition| condition["type"] == "Ready").any(|condition| condition["status"] == "True")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_ready_only_if_its_condition_is_true() {
        let node = |name: &str, status: &str| {
            json!({"metadata": {"name": name}, "status": {"conditions": [
                {"type": "MemoryPressure", "status": "True"}, {"type": "Ready", "status": status},
            ]}})
        };
        let list = json!({"items": [node("node1", "True"), node("node2", "Unknown")]});
        assert!(is_ready(&list, "node1"));
        assert!(!is_ready(&list, "node2"));
        assert!(!is_ready(&list, "node3"));
    }
}
