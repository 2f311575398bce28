//! One node: containerd, kubelet and kube-proxy in its network namespace. Owns their configuration, their start and the
//! import of images.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde_json::json;

use crate::certificates::{folder as certificates, kubeconfig};
use crate::cgroup::TREE;
use crate::command::{Run, command};
use crate::network::{CLUSTER_RANGE, HOST, Node};
use crate::process::Start;
use crate::programs::Program;
use crate::wait::{PATIENCE, until};

/// The image of the pause container, whose program holds a pod's namespaces open.
pub(crate) const PAUSE_IMAGE: &str = "localhost/pause:dev";
/// Name of the CNI network. The names of the cache files that the CNI plugins keep on the host begin with this name.
pub(crate) const CNI_NETWORK: &str = "raftdev";
const CNI_PLUGINS: &str = "/usr/lib/cni";
/// Socket for device plugins. It has the same path for every kubelet of a machine.
const DEVICE_SOCKET: &str = "/var/lib/kubelet/device-plugins/kubelet.sock";

/// Time at which the socket for device plugins was made; `None` if there is none.
fn device_socket() -> Option<SystemTime> {
    fs::metadata(DEVICE_SOCKET).and_then(|socket| socket.modified()).ok()
}

/// A node and its folder in the run directory.
pub(crate) struct Machine<'a> {
    /// The run directory.
    pub(crate) run: &'a Path,
    /// The node.
    pub(crate) node: Node,
}

impl Machine<'_> {
    /// Folder with the files of the node's disk. The node's volumes are in another folder.
    pub(crate) fn folder(&self) -> PathBuf {
        self.run.join(self.node.to_string())
    }

    /// Folder in which the kubelet keeps the logs of pods.
    pub(crate) fn pod_logs(&self) -> PathBuf {
        self.folder().join("podlogs")
    }

    /// Writes the configuration of the node's programs.
    pub(crate) fn configure(&self) -> Result<()> {
        let folder = self.folder();
        fs::create_dir_all(folder.join("cni"))?;
        fs::create_dir_all(folder.join("kubelet"))?;
        fs::write(folder.join("containerd.toml"), self.containerd_config(snapshotter(self.run)))?;
        fs::write(folder.join("cni/10-bridge.conflist"), serde_json::to_vec_pretty(&self.cni_config())?)?;
        fs::write(folder.join("kubelet.yaml"), serde_json::to_vec_pretty(&self.kubelet_config())?)?;
        fs::write(folder.join("proxy.yaml"), serde_json::to_vec_pretty(&self.proxy_config())?)?;
        Ok(())
    }

    /// Starts containerd without waiting until it responds. [`Machine::await_containerd`] waits for that.
    pub(crate) fn start_containerd(&self, cgroup: &[PathBuf]) -> Result<()> {
        let config = self.folder().join("containerd.toml");
        self.start("containerd", cgroup, vec!["containerd".into(), "--config".into(), config.into()])
    }

    /// Waits until containerd responds.
    pub(crate) fn await_containerd(&self) -> Result<()> {
        until(&format!("containerd of {} responds", self.node), PATIENCE, || self.ctr(&["version"]).map(Some))?;
        Ok(())
    }

    /// Starts kubelet and kube-proxy. Waits until the kubelet has made its socket for device plugins: it removes the one that it
    /// finds, and ends if another kubelet makes one before it has made its own.
    pub(crate) fn start_kubelet(&self, cgroup: &[PathBuf]) -> Result<()> {
        let folder = self.folder();
        let kubelet = vec![
            self.program(Program::Kubelet),
            flag("--kubeconfig", kubeconfig(self.run, &self.node.to_string())),
            flag("--config", folder.join("kubelet.yaml")),
            flag("--root-dir", folder.join("kubelet")),
            flag("--hostname-override", self.node.to_string()),
            flag("--node-ip", self.node.address()),
            flag("--node-labels", format!("topology.kubernetes.io/zone={}", self.node.zone())),
        ];
        let before = device_socket();
        self.start("kubelet", cgroup, kubelet)?;
        until(&format!("the kubelet of {} has made {DEVICE_SOCKET}", self.node), PATIENCE, || {
            Ok(device_socket().filter(|made| Some(*made) != before))
        })?;
        let proxy = vec![self.program(Program::KubeProxy), flag("--config", folder.join("proxy.yaml"))];
        self.start("kube-proxy", cgroup, proxy)
    }

    /// Loads an image archive into the node's containerd.
    pub(crate) fn import(&self, archive: &Path) -> Result<()> {
        let archive = archive.to_str().context("the path of an image archive is text")?;
        self.ctr(&["-n", "k8s.io", "images", "import", archive])
            .with_context(|| format!("{archive} was not loaded into {}", self.node))?;
        Ok(())
    }

    /// Gives an image of the container runtime another name.
    pub(crate) fn tag(&self, name: &str, alias: &str) -> Result<()> {
        self.ctr(&["-n", "k8s.io", "images", "tag", "--force", name, alias])
            .with_context(|| format!("{name} was not tagged on {}", self.node))?;
        Ok(())
    }

    /// Runs containerd's client `ctr` and returns its output.
    pub(crate) fn ctr(&self, args: &[&str]) -> Result<String> {
        let mut ctr = command("ctr", ["-a"]);
        ctr.arg(self.folder().join("containerd.sock")).args(args).text()
    }

    fn program(&self, program: Program) -> OsString {
        self.run.join("bin").join(program.name()).into()
    }

    /// Starts a program in the node's network namespace. Uses `nsenter`, because `ip netns exec` would hide the
    /// kubelet's mounts from containerd.
    fn start(&self, name: &str, cgroup: &[PathBuf], program: Vec<OsString>) -> Result<()> {
        let mut line: Vec<OsString> =
            vec!["nsenter".into(), format!("--net=/run/netns/{}", self.node.namespace()).into()];
        line.extend(program);
        Start { name: format!("{name}-{}", self.node), run: self.run, cgroup, line, env: Vec::new() }.spawn()?;
        Ok(())
    }

    /// Configuration of containerd. `restrict_oom_score_adj` lets pods start on machines where root lacks
    /// CAP_SYS_RESOURCE. The network namespaces and the state of runc are in the node's folder, because otherwise all
    /// nodes would keep them in one directory.
    fn containerd_config(&self, snapshotter: &str) -> String {
        let folder = self.folder();
        let folder = folder.display();
        let cri = "io.containerd.grpc.v1.cri";
        format!(
            r#"version = 2
root = "{folder}/containerd/root"
state = "{folder}/containerd/state"
[grpc]
  address = "{folder}/containerd.sock"
[plugins."{cri}"]
  sandbox_image = "{PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."{cri}".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{folder}/cni"
  [plugins."{cri}".containerd]
    snapshotter = "{snapshotter}"
    [plugins."{cri}".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."{cri}".containerd.runtimes.runc.options]
        Root = "{folder}/runc"
"#
        )
    }

    fn cni_config(&self) -> serde_json::Value {
        let ipam = json!({
            "type": "host-local",
            "dataDir": self.folder().join("ipam"),
            "ranges": [[{"subnet": self.node.pod_range()}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        });
        json!({"cniVersion": "1.0.0", "name": CNI_NETWORK, "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true, "ipam": ipam},
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ]})
    }

    fn kubelet_config(&self) -> serde_json::Value {
        let (folder, pki) = (self.folder(), certificates(self.run));
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "x509": {"clientCAFile": pki.join("ca.crt")},
                "anonymous": {"enabled": false},
                "webhook": {"enabled": true},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            // Each kubelet has its own cgroup root, because kubelets that share one remove each other's pods.
            "cgroupRoot": format!("/{TREE}/{}", self.node),
            "failCgroupV1": false,
            "failSwapOn": false,
            "containerRuntimeEndpoint": format!("unix://{}/containerd.sock", folder.display()),
            "clusterDNS": [HOST],
            "clusterDomain": "cluster.local",
            "resolvConf": "",
            "tlsCertFile": pki.join(format!("{}.crt", self.node)),
            "tlsPrivateKeyFile": pki.join(format!("{}.key", self.node)),
            "podLogsDir": self.pod_logs(),
            "volumePluginDir": folder.join("plugins"),
            "nodeStatusUpdateFrequency": "4s",
            // A changed Secret reaches the files of a pod at the next sync. By default, that takes more than a minute.
            "syncFrequency": "10s",
            "registerNode": true,
            "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "imageGCHighThresholdPercent": 100, // Images are never removed, because they could not be pulled again.
        })
    }

    fn proxy_config(&self) -> serde_json::Value {
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": kubeconfig(self.run, "admin")},
            "clusterCIDR": CLUSTER_RANGE,
            "hostnameOverride": self.node.to_string(),
            "conntrack": {"maxPerCore": 0},
        })
    }
}

fn flag(name: &str, value: impl AsRef<std::ffi::OsStr>) -> OsString {
    let mut flag = OsString::from(name);
    flag.push("=");
    flag.push(value);
    flag
}

/// Chooses a snapshotter. If this machine is a container, its file system often is an overlay, on which no other
/// overlay can be mounted.
fn snapshotter(run: &Path) -> &'static str {
    let kind = command("stat", ["-f", "-c", "%T"]).arg(run).text().unwrap_or_default();
    if kind.trim() == "overlayfs" { "native" } else { "overlayfs" }
}
