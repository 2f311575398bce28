//! A write as it is sent to both servers. Preconditions are named by their age, because each server has its own UIDs
//! and resource versions. Owns the conversion to an HTTP request. Does not own which writes there are (`draw.rs`).

use std::fmt;

use http::Request;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request as Requests;
use kube::core::params::GetParams;
use operators::api_server::{Kind, fields};
use serde_json::{Value, json};

/// A UID that no object has.
const NO_UID: &str = "00000000-0000-4000-8000-000000000000";
/// A resource version that no object of a run has.
const NO_VERSION: &str = "999999999";

/// The UID or the resource version that a write expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// None.
    Any,
    /// That of the present object; of the last one, if none exists.
    Present,
    /// That of a former object of this name, or of a former state of the object.
    Former,
    /// That of no object.
    Never,
}

/// What a write does.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    /// Reads the object.
    Get,
    /// Lists the objects with this label.
    List(&'static str),
    /// Creates the object.
    Create(Value),
    /// Applies an object on the server side, to the object or to its status.
    Apply { object: Value, force: bool, status: bool },
    /// Replaces the object by this one.
    Replace(Value),
    /// Replaces the object by itself after this merge patch, as a program does that changes what it read.
    ReplaceLive(Value),
    /// Applies a merge patch, to the object or to its status.
    Merge { patch: Value, status: bool },
    /// Sets the number of replicas through the subresource `scale`.
    Scale(u64),
    /// Deletes the object. With `at_once`, as a kubelet does after the processes of a pod have ended.
    Delete { at_once: bool },
    /// Evicts a pod.
    Evict,
}

/// A write.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    /// The field manager.
    pub(crate) manager: &'static str,
    pub(crate) uid: Age,
    pub(crate) version: Age,
    pub(crate) action: Action,
}

/// What a test knows about the object of one name on one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// UIDs, oldest first.
    pub(crate) uids: Vec<String>,
    /// Resource versions, oldest first.
    pub(crate) versions: Vec<String>,
    /// The present object.
    pub(crate) live: Option<Value>,
}

impl Known {
    /// Notes the present object.
    pub(crate) fn note(&mut self, live: Option<Value>) {
        let text = |field: &str| live.as_ref().and_then(|live| live["metadata"][field].as_str()).map(str::to_owned);
        for (all, now) in [(&mut self.uids, text("uid")), (&mut self.versions, text("resourceVersion"))] {
            if let Some(now) = now.filter(|now| all.last() != Some(now)) {
                all.push(now);
            }
        }
        self.live = live;
    }
}

fn of_age(all: &[String], age: Age, none: &str) -> Option<String> {
    let place = match age {
        Age::Any => return None,
        Age::Never => None,
        Age::Present => all.len().checked_sub(1),
        Age::Former => all.len().checked_sub(2),
    };
    Some(place.map_or(none, |place| &all[place]).to_owned())
}

/// API version, kind, and path of the objects of a kind.
pub(crate) fn resource(kind: Kind) -> (&'static str, &'static str, &'static str) {
    match kind {
        Kind::RaftCluster => ("raftoperator.io/v1alpha1", "RaftCluster", "raftclusters"),
        Kind::Service => ("v1", "Service", "services"),
        Kind::Budget => ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
        Kind::StatefulSet => ("apps/v1", "StatefulSet", "statefulsets"),
        Kind::Pod => ("v1", "Pod", "pods"),
        Kind::Claim => ("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
        Kind::Secret => ("v1", "Secret", "secrets"),
        Kind::Lease => ("coordination.k8s.io/v1", "Lease", "leases"),
    }
}

/// The requests about the objects of a kind in a namespace.
pub(crate) fn requests(kind: Kind, namespace: &str) -> Requests {
    let (version, _, plural) = resource(kind);
    let root = if version.contains('/') { "apis" } else { "api" };
    Requests::new(format!("/{root}/{version}/namespaces/{namespace}/{plural}"))
}

impl Write {
    /// Whether the answer depends on disruption budgets.
    pub(crate) fn is_judged_by_budgets(&self) -> bool {
        matches!(self.action, Action::Evict)
    }

    /// The part of an object that the write contains; `None` if it contains none.
    pub(crate) fn contents(&self) -> Option<&Value> {
        match &self.action {
            Action::Create(object)
            | Action::Replace(object)
            | Action::ReplaceLive(object)
            | Action::Apply { object, .. }
            | Action::Merge { patch: object, .. } => Some(object),
            Action::Get | Action::List(_) | Action::Scale(_) | Action::Delete { .. } | Action::Evict => None,
        }
    }

    /// The request to a server on which the object is as `known`.
    pub(crate) fn request(&self, known: &Known, namespace: &str) -> Request<Vec<u8>> {
        let (requests, name) = (requests(self.kind, namespace), self.name);
        let uid = of_age(&known.uids, self.uid, NO_UID);
        let version = of_age(&known.versions, self.version, NO_VERSION);
        let expecting = |object: &Value| {
            let mut object = object.clone();
            for (field, wanted) in [("uid", &uid), ("resourceVersion", &version)] {
                if let Some(wanted) = wanted {
                    object["metadata"][field] = json!(wanted);
                }
            }
            object
        };
        let bytes = |object: &Value| object.to_string().into_bytes();
        let post = PostParams { field_manager: Some(self.manager.to_owned()), ..PostParams::default() };
        let patch = PatchParams { field_manager: Some(self.manager.to_owned()), ..PatchParams::default() };
        let made = match &self.action {
            Action::Get => requests.get(name, &GetParams::default()),
            Action::List(label) => requests.list(&ListParams::default().labels(label)),
            Action::Create(object) => requests.create(&post, bytes(object)),
            Action::Apply { object, force, status } => {
                let parameters = PatchParams { force: *force, ..patch };
                let body = Patch::Apply(expecting(object));
                match status {
                    true => requests.patch_subresource("status", name, &parameters, &body),
                    false => requests.patch(name, &parameters, &body),
                }
            }
            Action::Replace(object) => requests.replace(name, &post, bytes(&expecting(object))),
            Action::ReplaceLive(change) => {
                let mut object = known.live.clone().unwrap_or_else(|| json!({ "metadata": { "name": name } }));
                (object["apiVersion"], object["kind"]) = (json!(resource(self.kind).0), json!(resource(self.kind).1));
                fields::patch(&mut object, change);
                requests.replace(name, &post, bytes(&expecting(&object)))
            }
            Action::Merge { patch: change, status } => {
                let body = Patch::Merge(expecting(change));
                match status {
                    true => requests.patch_subresource("status", name, &patch, &body),
                    false => requests.patch(name, &patch, &body),
                }
            }
            Action::Scale(replicas) => {
                let body = Patch::Merge(json!({ "spec": { "replicas": replicas } }));
                requests.patch_subresource("scale", name, &patch, &body)
            }
            Action::Delete { at_once } => {
                let preconditions = Preconditions { uid, resource_version: version };
                let parameters = DeleteParams {
                    grace_period_seconds: at_once.then_some(0),
                    preconditions: Some(preconditions),
                    ..DeleteParams::background()
                };
                requests.delete(name, &parameters)
            }
            Action::Evict => {
                let preconditions = json!({ "uid": uid, "resourceVersion": version });
                let body = json!({
                    "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name },
                    "deleteOptions": { "preconditions": preconditions },
                });
                requests.create_subresource("eviction", name, &PostParams::default(), bytes(&body))
            }
        };
        made.expect("the request is complete")
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, manager, uid, version, action } = self;
        write!(f, "{manager} on {kind:?} {name}, UID {uid:?}, version {version:?}: ")?;
        match action {
            Action::Create(object) => write!(f, "create {object}"),
            Action::Apply { object, force, status } => write!(f, "apply, force {force}, status {status}: {object}"),
            Action::Replace(object) => write!(f, "replace by {object}"),
            Action::ReplaceLive(change) => write!(f, "replace after {change}"),
            Action::Merge { patch, status } => write!(f, "patch, status {status}: {patch}"),
            other => write!(f, "{other:?}"),
        }
    }
}
