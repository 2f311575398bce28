//! Faults of cables, machines, containers, volumes and the object store. Owns how each fault is caused: every call
//! causes or ends a fault and returns. Does not wait until Kubernetes or the members react (the caller does).

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cgroup::Hierarchy;
use crate::cluster::{Cluster, HOST_GROUP, STORE_GROUP};
use crate::command::{Json, Run};
use crate::network::{self, Node, PortState};
use crate::object_store::ObjectStore;
use crate::{process, provisioner, teardown};

impl Cluster {
    /// Disconnects the node from the network. The node and its pods keep running.
    ///
    /// # Errors
    /// Returns an error if there is no such node.
    pub fn cut_off(&self, node: Node) -> Result<()> {
        network::set_port(node, PortState::Down)
    }

    /// Connects the node to the network again.
    ///
    /// # Errors
    /// Returns an error if there is no such node.
    pub fn rejoin(&self, node: Node) -> Result<()> {
        network::set_port(node, PortState::Up)
    }

    /// Freezes every process of the node, pods included, as a hypervisor pauses a machine.
    ///
    /// # Errors
    /// Returns an error if the kernel does not freeze the processes within seconds.
    pub fn pause(&self, node: Node) -> Result<()> {
        Hierarchy::detect().freeze(&node.to_string())
    }

    /// Lets a paused node run again.
    ///
    /// # Errors
    /// Returns an error if the kernel does not thaw the node's processes within seconds.
    pub fn resume(&self, node: Node) -> Result<()> {
        Hierarchy::detect().thaw(&node.to_string())
    }

    /// Cuts the node's power: disconnects the network, then kills every process at the same moment. The files on the
    /// node's disk stay.
    ///
    /// # Errors
    /// Returns an error if a process does not end.
    pub fn kill(&self, node: Node) -> Result<()> {
        self.cut_off(node)?;
        Hierarchy::detect().kill(&node.to_string())
    }

    /// Starts a killed node with the files on its disk. The kubelet starts the node's pods again.
    ///
    /// # Errors
    /// Returns an error if containerd does not respond in time.
    pub fn restart(&self, node: Node) -> Result<()> {
        let (hierarchy, machine) = (Hierarchy::detect(), self.machine(node));
        hierarchy.kill(&node.to_string())?;
        // A real boot removes all mounts, all cgroups, and the runtime state of containerd and runc. They are therefore
        // removed here.
        teardown::remove_shim_sockets(&self.run);
        teardown::unmount_below(&machine.folder())?;
        for folder in ["containerd/state", "runc"] {
            let _ = fs::remove_dir_all(machine.folder().join(folder));
        }
        hierarchy.remove(&node.to_string())?;
        let group = hierarchy.create(&node.to_string())?;
        self.rejoin(node)?;
        machine.start_containerd(&group)?;
        machine.await_containerd()?;
        machine.start_kubelet(&group)
    }

    /// Runs `kubectl drain`, which evicts the node's pods within their disruption budgets, and keeps new pods off the
    /// node.
    ///
    /// # Errors
    /// Returns an error if pods could not be evicted within `limit` (for example `60s`).
    pub fn drain(&self, node: Node, limit: &str) -> Result<()> {
        let flags = ["--ignore-daemonsets", "--delete-emptydir-data", "--timeout", limit];
        self.kubectl(["drain", &node.to_string()]).args(flags).text()?;
        Ok(())
    }

    /// Permits pods on a drained node again.
    ///
    /// # Errors
    /// Returns an error if there is no such node.
    pub fn uncordon(&self, node: Node) -> Result<()> {
        self.kubectl(["uncordon", &node.to_string()]).text()?;
        Ok(())
    }

    /// Sends SIGKILL to the main process of a pod's container, and returns the ID of that process.
    ///
    /// # Errors
    /// Returns an error if the pod has no running container of that name.
    pub fn kill_container(&self, namespace: &str, pod: &str, container: &str) -> Result<i32> {
        let object = self.kubectl(["-n", namespace, "get", "pod", pod, "-o", "json"]).json()?;
        let (node, id) = container_of(&object, container)?;
        let tasks = self.machine(node).ctr(&["-n", "k8s.io", "tasks", "list"])?;
        let pid = task_pid(&tasks, &id).with_context(|| format!("{pod}/{container} has no process on {node}"))?;
        process::kill(pid)?;
        Ok(pid)
    }

    /// The directory that holds the volume of a bound claim.
    ///
    /// # Errors
    /// Returns an error if the claim is not bound to a volume of the default StorageClass.
    pub fn volume_folder(&self, namespace: &str, claim: &str) -> Result<PathBuf> {
        let object = self.kubectl(["-n", namespace, "get", "pvc", claim, "-o", "json"]).json()?;
        let name = object["spec"]["volumeName"].as_str().with_context(|| format!("{claim} is not bound"))?;
        let volume = self.kubectl(["get", "pv", name, "-o", "json"]).json()?;
        let (node, name) = provisioner::place(&volume)?;
        Ok(provisioner::directory(&self.run, node, &name))
    }

    /// Empties the volume of a bound claim, as the loss of a disk does. A process can still use files that it has open.
    ///
    /// # Errors
    /// Returns an error if the claim has no directory, or if a file in the directory cannot be removed.
    pub fn empty_volume(&self, namespace: &str, claim: &str) -> Result<PathBuf> {
        let folder = self.volume_folder(namespace, claim)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(folder)
    }

    /// Freezes the control plane, so that the API server does not respond. Nodes and pods keep running.
    ///
    /// # Errors
    /// Returns an error if the kernel does not freeze the processes within seconds.
    pub fn pause_control_plane(&self) -> Result<()> {
        Hierarchy::detect().freeze(HOST_GROUP)
    }

    /// Lets a paused control plane run again.
    ///
    /// # Errors
    /// Returns an error if the kernel does not thaw the processes within seconds.
    pub fn resume_control_plane(&self) -> Result<()> {
        Hierarchy::detect().thaw(HOST_GROUP)
    }

    /// Ends the S3 server. Its objects stay.
    ///
    /// # Errors
    /// Returns an error if the server does not end.
    pub fn stop_object_store(&self) -> Result<()> {
        ObjectStore::stop(&self.run)
    }

    /// Starts the S3 server again with the same objects and keys.
    ///
    /// # Errors
    /// Returns an error if the server does not respond.
    pub fn start_object_store(&self) -> Result<()> {
        self.store.start(&self.run, &Hierarchy::detect().create(STORE_GROUP)?)
    }
}

/// Returns the node of a pod, and the ID that containerd gave to the container `container` of that pod.
fn container_of(pod: &Value, container: &str) -> Result<(Node, String)> {
    let node = pod["spec"]["nodeName"].as_str().context("the pod is on no node")?.parse()?;
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let id = statuses
        .filter(|status| status["name"] == container)
        .find_map(|status| status["containerID"].as_str()?.strip_prefix("containerd://"));
    Ok((node, id.with_context(|| format!("the pod has no started container {container}"))?.into()))
}

/// Process ID of a task, read from the output of `ctr tasks list`, whose columns are TASK, PID and STATUS.
fn task_pid(tasks: &str, id: &str) -> Option<i32> {
    tasks.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next() == Some(id)).then(|| fields.next()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_containers_process_is_found() {
        let pod = json!({
            "spec": {"nodeName": "node3"},
            "status": {"containerStatuses": [
                {"name": "sidecar", "containerID": "containerd://aaa"},
                {"name": "member", "containerID": "containerd://bbb"},
            ]},
        });
        let (node, id) = container_of(&pod, "member").unwrap();
        assert_eq!((node.number(), id.as_str()), (3, "bbb"));
        assert!(container_of(&pod, "other").is_err());
        let tasks = "TASK    PID     STATUS    \naaa     100     RUNNING\nbbb     200     RUNNING\n";
        assert_eq!(task_pid(tasks, "bbb"), Some(200));
        assert_eq!(task_pid(tasks, "TASK"), None);
        assert_eq!(task_pid(tasks, "ccc"), None);
    }
}
