//! Volumes for claims. A volume is a directory on the node that the scheduler selected, offered as a `local` volume.
//! Owns these directories, and removes each with its volume. Runs as a separate process that receives changes from
//! `kubectl get --watch`. Does not enforce sizes.

use std::io::{BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::certificates::kubeconfig;
use crate::command::{Run, command};
use crate::network::Node;
use crate::programs::Program;

/// Name of the default StorageClass.
pub const STORAGE_CLASS: &str = "standard";
const PROVISIONER: &str = "raftoperator.io/dev-cluster";
/// Pause after a watch has ended, before it is started again.
const RESUME: Duration = Duration::from_secs(1);

/// The default StorageClass. It creates a volume when the first pod that uses the claim is scheduled, on the node of
/// that pod.
#[must_use]
pub(crate) fn storage_class() -> Value {
    json!({
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": STORAGE_CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "volumeBindingMode": "WaitForFirstConsumer",
        "reclaimPolicy": "Delete",
    })
}

/// The directory of the volume `name` on `node`.
pub(crate) fn directory(run: &Path, node: Node, name: &str) -> PathBuf {
    run.join("volumes").join(node.to_string()).join(name)
}

/// Serves the claims of the cluster in `run` until the process ends.
///
/// # Errors
/// Returns an error if the watching threads cannot be started, or all of them have ended.
pub fn run(run: &Path) -> Result<()> {
    let (events, inbox) = sync_channel(64);
    for kind in ["persistentvolumeclaims", "persistentvolumes"] {
        let (run, events) = (run.to_path_buf(), events.clone());
        thread::Builder::new().name(kind.into()).spawn(move || watch(&run, kind, &events))?;
    }
    drop(events);
    while let Ok(object) = inbox.recv() {
        // A failed action is repeated when the watch starts again or the object changes.
        if let Err(error) = handle(run, &object) {
            eprintln!("{}: {error:#}", object["metadata"]["name"]);
        }
    }
    anyhow::bail!("both watches have ended")
}

/// Watches all objects of a kind. Returns when the receiver of `events` has been dropped.
fn watch(run: &Path, kind: &str, events: &SyncSender<Value>) {
    loop {
        match watch_once(run, kind, events) {
            Ok(Listener::Gone) => return,
            Ok(Listener::There) => {}
            Err(error) => eprintln!("watching {kind}: {error:#}"),
        }
        thread::sleep(RESUME);
    }
}

/// State of the receiver of events.
enum Listener {
    There,
    Gone,
}

fn watch_once(run: &Path, kind: &str, events: &SyncSender<Value>) -> Result<Listener> {
    let mut child = kubectl(run, &["get", kind, "-A", "--watch", "-o", "json"]).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("standard output is a pipe")?;
    let listener = forward(BufReader::new(output), events);
    let _ = child.kill();
    child.wait()?;
    listener
}

/// Sends each object in a stream of JSON documents to the receiver.
fn forward(stream: impl Read, events: &SyncSender<Value>) -> Result<Listener> {
    for object in serde_json::Deserializer::from_reader(stream).into_iter::<Value>() {
        if events.send(object?).is_err() {
            return Ok(Listener::Gone);
        }
    }
    Ok(Listener::There)
}

fn handle(run: &Path, object: &Value) -> Result<()> {
    match decide(object)? {
        Action::Nothing => Ok(()),
        Action::Provide { node, name } => {
            let directory = directory(run, node, &name);
            fs::create_dir_all(&directory)?;
            // Every user may write, because a pod may run as any user.
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))?;
            let volume = volume(object, node, &name, &directory);
            match kubectl(run, &["create", "-f", "-"]).text_from(&serde_json::to_vec(&volume)?) {
                Err(error) if !error.to_string().contains("AlreadyExists") => Err(error),
                _ => Ok(()),
            }
        }
        Action::Remove { node, name } => {
            match fs::remove_dir_all(directory(run, node, &name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
                _ => {}
            }
            kubectl(run, &["delete", "persistentvolume", &name, "--wait=false", "--ignore-not-found"]).text()?;
            Ok(())
        }
    }
}

fn kubectl(run: &Path, args: &[&str]) -> Command {
    let program = run.join("bin").join(Program::Kubectl.name());
    let mut kubectl = command(&program.to_string_lossy(), args);
    kubectl.env("KUBECONFIG", kubeconfig(run, "admin"));
    kubectl
}

/// Action that an object requires.
#[derive(Debug, PartialEq, Eq)]
enum Action {
    /// No action: the object belongs to another provisioner, is not ready, or needs no further action.
    Nothing,
    /// Create the volume `name` on `node`.
    Provide { node: Node, name: String },
    /// Remove the volume and its data.
    Remove { node: Node, name: String },
}

fn decide(object: &Value) -> Result<Action> {
    let annotation = |name: &str| object["metadata"]["annotations"][name].as_str();
    match object["kind"].as_str() {
        Some("PersistentVolumeClaim") => {
            let is_ours = annotation("volume.kubernetes.io/storage-provisioner") == Some(PROVISIONER);
            let pending = object["status"]["phase"] == "Pending" && object["spec"]["volumeName"].is_null();
            let leaving = !object["metadata"]["deletionTimestamp"].is_null();
            let (true, true, false, Some(node)) =
                (is_ours, pending, leaving, annotation("volume.kubernetes.io/selected-node"))
            else {
                return Ok(Action::Nothing);
            };
            let uid = object["metadata"]["uid"].as_str().context("a claim has a UID")?;
            Ok(Action::Provide { node: node.parse()?, name: format!("pvc-{uid}") })
        }
        Some("PersistentVolume") => {
            let is_ours = annotation("pv.kubernetes.io/provisioned-by") == Some(PROVISIONER);
            let released =
                object["status"]["phase"] == "Released" && object["spec"]["persistentVolumeReclaimPolicy"] == "Delete";
            if !(is_ours && released) {
                return Ok(Action::Nothing);
            }
            let (node, name) = place(object)?;
            Ok(Action::Remove { node, name })
        }
        _ => Ok(Action::Nothing),
    }
}

/// Node and name of a volume of this provisioner. They are the last two parts of the volume's path.
pub(crate) fn place(volume: &Value) -> Result<(Node, String)> {
    let path = volume["spec"]["local"]["path"]
        .as_str()
        .context("the volume has no local path, so it belongs to another provisioner")?;
    let mut parts = path.rsplit('/');
    let name = parts.next().unwrap_or_default();
    ensure!(volume["metadata"]["name"] == name, "the volume's path {path} does not end in its name");
    Ok((parts.next().unwrap_or_default().parse()?, name.into()))
}

fn volume(claim: &Value, node: Node, name: &str, directory: &Path) -> Value {
    let (metadata, spec) = (&claim["metadata"], &claim["spec"]);
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "accessModes": spec["accessModes"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": spec["storageClassName"],
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "local": {"path": directory},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.to_string()]},
            ]}]}},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Value {
        json!({
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "default", "uid": "u-1", "annotations": {
                "volume.kubernetes.io/storage-provisioner": PROVISIONER,
                "volume.kubernetes.io/selected-node": "node2",
            }},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "storageClassName": STORAGE_CLASS,
                "resources": {"requests": {"storage": "1Gi"}},
            },
            "status": {"phase": "Pending"},
        })
    }

    fn node2() -> Node {
        Node::new(2).unwrap()
    }

    #[test]
    fn a_scheduled_claim_gets_a_volume_on_its_node() {
        assert_eq!(decide(&claim()).unwrap(), Action::Provide { node: node2(), name: "pvc-u-1".into() });
        let volume = volume(&claim(), node2(), "pvc-u-1", Path::new("/x/volumes/node2/pvc-u-1"));
        assert_eq!(volume["spec"]["claimRef"]["uid"], "u-1");
        assert_eq!(volume["spec"]["capacity"]["storage"], "1Gi");
        assert_eq!(place(&volume).unwrap(), (node2(), "pvc-u-1".into()));
    }

    #[test]
    fn claims_that_wait_are_bound_or_belong_to_others_are_left_alone() {
        let unset = |pointer: &str, value: Value| {
            let mut claim = claim();
            *claim.pointer_mut(pointer).unwrap() = value;
            decide(&claim).unwrap()
        };
        assert_eq!(unset("/metadata/annotations/volume.kubernetes.io~1selected-node", Value::Null), Action::Nothing);
        assert_eq!(
            unset("/metadata/annotations/volume.kubernetes.io~1storage-provisioner", json!("x")),
            Action::Nothing
        );
        assert_eq!(unset("/status/phase", json!("Bound")), Action::Nothing);
    }

    #[test]
    fn only_a_released_volume_of_this_provisioner_is_removed() {
        let mut volume = volume(&claim(), node2(), "pvc-u-1", Path::new("/x/volumes/node2/pvc-u-1"));
        volume["status"]["phase"] = json!("Bound");
        assert_eq!(decide(&volume).unwrap(), Action::Nothing);
        volume["status"]["phase"] = json!("Released");
        assert_eq!(decide(&volume).unwrap(), Action::Remove { node: node2(), name: "pvc-u-1".into() });
        volume["spec"]["persistentVolumeReclaimPolicy"] = json!("Retain");
        assert_eq!(decide(&volume).unwrap(), Action::Nothing);
    }

    #[test]
    fn a_path_that_is_not_the_volumes_own_is_never_removed() {
        let volume = json!({
            "kind": "PersistentVolume",
            "metadata": {"name": "pvc-u-1", "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
            "spec": {"local": {"path": "/etc/node2/other"}, "persistentVolumeReclaimPolicy": "Delete"},
            "status": {"phase": "Released"},
        });
        assert!(decide(&volume).is_err());
    }

    #[test]
    fn documents_of_a_watch_are_separated() {
        let (events, inbox) = sync_channel(4);
        assert!(matches!(forward(&b"{\"a\": 1}\n{\"a\":\n2}"[..], &events).unwrap(), Listener::There));
        assert_eq!(inbox.try_iter().map(|event| event["a"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    }
}
