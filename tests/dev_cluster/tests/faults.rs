//! Tests of the dev cluster itself, on a cluster that is up. They check that volumes are bound and removed, and that
//! each fault has an effect until it is ended. These tests are not part of `cargo test --workspace`: `cargo xtask test`
//! brings the cluster up for them.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use dev_cluster::{Cluster, Json, Node, Run, until};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(90);

fn cluster() -> Cluster {
    Cluster::open().expect("these tests run on a dev cluster that is up")
}

fn node(number: u8) -> Node {
    Node::new(number).expect("the cluster has three nodes")
}

/// A StatefulSet in its own namespace. Its only pod runs as an unprivileged user, has a volume and does nothing. The
/// namespace is deleted at the end of the test.
struct Idle<'a> {
    cluster: &'a Cluster,
    namespace: &'static str,
}

impl<'a> Idle<'a> {
    const POD: &'static str = "idle-0";
    const CLAIM: &'static str = "data-idle-0";

    fn on(node: Node, cluster: &'a Cluster, namespace: &'static str) -> Idle<'a> {
        cluster.kubectl(["create", "namespace", namespace]).text().unwrap();
        let idle = Idle { cluster, namespace };
        let set = json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "idle"},
            "spec": {
                "selector": {"matchLabels": {"app": "idle"}},
                "serviceName": "idle",
                "template": {"metadata": {"labels": {"app": "idle"}}, "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": node.to_string()},
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": {"runAsNonRoot": true, "runAsUser": 65532},
                    "containers": [{
                        "name": "idle", "image": "localhost/pause:dev", "imagePullPolicy": "Never",
                        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                    }],
                }},
                "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {
                    "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
                }}],
            },
        });
        idle.kubectl("apply -f -").text_from(&serde_json::to_vec(&set).unwrap()).unwrap();
        idle.await_running();
        idle
    }

    fn kubectl(&self, line: &str) -> Command {
        self.cluster.kubectl(["-n", self.namespace].into_iter().chain(line.split(' ')))
    }

    fn volume(&self) -> PathBuf {
        self.cluster.volume_folder(self.namespace, Idle::CLAIM).unwrap()
    }

    fn await_running(&self) {
        self.await_status(|status| status["containerStatuses"][0]["ready"] == true);
    }

    fn await_restart(&self) {
        self.await_status(|status| {
            let container = &status["containerStatuses"][0];
            container["restartCount"] == 1 && container["ready"] == true
        });
    }

    fn await_status(&self, holds: impl Fn(&Value) -> bool) {
        until(&format!("the pod of {} has the expected status", self.namespace), LIMIT, || {
            let pod = self.kubectl(&format!("get pod {} -o json", Idle::POD)).json()?;
            Ok(holds(&pod["status"]).then_some(()))
        })
        .unwrap();
    }
}

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        // An error is ignored here, because it would hide the error of a failing test.
        let _ = self.cluster.kubectl(["delete", "namespace", self.namespace, "--wait=false"]).text();
    }
}

fn await_readiness(cluster: &Cluster, expected: [bool; 3]) {
    until(&format!("the nodes' readiness is {expected:?}"), LIMIT, || {
        let found: Vec<bool> = cluster.readiness()?.into_iter().map(|(_, ready)| ready).collect();
        Ok((found == expected).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_volume_is_on_its_pods_node_and_is_removed_with_its_claim() {
    let cluster = cluster();
    let idle = Idle::on(node(2), &cluster, "volumes");
    let folder = idle.volume();
    assert!(folder.to_string_lossy().contains("/node2/"), "{}", folder.display());
    fs::create_dir(folder.join("log")).unwrap();
    fs::write(folder.join("log/1"), "entry").unwrap();
    cluster.empty_volume("volumes", Idle::CLAIM).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    idle.kubectl(&format!("delete statefulset/idle pvc/{}", Idle::CLAIM)).text().unwrap();
    until("the folder of the volume is removed", LIMIT, || Ok((!folder.exists()).then_some(()))).unwrap();
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    until("the volume is removed", LIMIT, || {
        let names = cluster.kubectl(["get", "pv", "-o", "name"]).text()?;
        Ok((!names.contains(&name)).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_killed_container_is_started_again_in_the_same_pod() {
    let cluster = cluster();
    let idle = Idle::on(node(1), &cluster, "containers");
    cluster.kill_container("containers", Idle::POD, "idle").unwrap();
    idle.await_restart();
    idle.await_status(|status| status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137);
}

#[test]
fn disconnected_paused_and_killed_nodes_return_with_pods_and_volumes() {
    let cluster = cluster();
    let idle = Idle::on(node(1), &cluster, "nodes");
    let kept = idle.volume().join("kept");
    fs::write(&kept, "entry").unwrap();
    cluster.kill(node(1)).unwrap();
    cluster.cut_off(node(2)).unwrap();
    cluster.pause(node(3)).unwrap();
    await_readiness(&cluster, [false, false, false]);
    cluster.restart(node(1)).unwrap();
    cluster.rejoin(node(2)).unwrap();
    cluster.resume(node(3)).unwrap();
    await_readiness(&cluster, [true, true, true]);
    idle.await_restart();
    assert_eq!(fs::read_to_string(kept).unwrap(), "entry");
}

#[test]
fn a_drained_node_has_no_pods_until_it_is_uncordoned() {
    let cluster = cluster();
    let idle = Idle::on(node(3), &cluster, "drains");
    cluster.drain(node(3), "60s").unwrap();
    idle.await_status(|status| status["phase"] == "Pending");
    cluster.uncordon(node(3)).unwrap();
    idle.await_running();
}

#[test]
fn a_paused_control_plane_does_not_respond_until_it_is_resumed() {
    let cluster = cluster();
    cluster.pause_control_plane().unwrap();
    let silent = cluster.kubectl(["get", "--raw", "/readyz", "--request-timeout", "2s"]).text();
    cluster.resume_control_plane().unwrap();
    assert!(silent.is_err());
    until("the API server responds", LIMIT, || cluster.kubectl(["get", "--raw", "/readyz"]).text().map(Some)).unwrap();
    await_readiness(&cluster, [true, true, true]);
}

#[test]
fn the_object_store_stops_and_starts_again() {
    let cluster = cluster();
    let address = cluster.object_store().endpoint.trim_start_matches("http://").to_owned();
    assert!(TcpStream::connect(&address).is_ok());
    cluster.stop_object_store().unwrap();
    assert!(TcpStream::connect(&address).is_err());
    cluster.start_object_store().unwrap();
    assert!(TcpStream::connect(&address).is_ok());
}
