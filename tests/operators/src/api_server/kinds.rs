//! The kinds of objects that the simulated API server stores. Owns the table of kinds, and the conversion between an
//! object's JSON and its type. Does not own the objects (`api_server.rs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use crds::RaftCluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use serde_json::Value;

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The custom resource.
    RaftCluster,
    /// A Service.
    Service,
    /// A disruption budget.
    Budget,
    /// A StatefulSet.
    StatefulSet,
    /// A pod.
    Pod,
    /// A volume claim.
    Claim,
    /// A Secret.
    Secret,
    /// A lease, which one operator holds.
    Lease,
}

/// All stored objects at one version.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// The RaftCluster; `None` if it does not exist.
    pub cluster: Option<RaftCluster>,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// Disruption budgets by name.
    pub budgets: BTreeMap<String, PodDisruptionBudget>,
    /// StatefulSets by name.
    pub sets: BTreeMap<String, Arc<StatefulSet>>,
    /// Pods by name.
    pub pods: BTreeMap<String, Arc<Pod>>,
    /// Volume claims by name.
    pub volumes: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, Secret>,
    /// Leases by name.
    pub leases: BTreeMap<String, Lease>,
}

/// A type of object that is stored by name.
pub trait Stored: Clone + Serialize + DeserializeOwned {
    /// The kind.
    const KIND: Kind;
    /// Returns the object's metadata.
    fn meta(&self) -> &ObjectMeta;
}

macro_rules! stored {
    ($($type:ty => $kind:ident),+) => {$(
        impl Stored for $type {
            const KIND: Kind = Kind::$kind;
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
        }
    )+};
}

stored!(
    RaftCluster => RaftCluster,
    Service => Service,
    PodDisruptionBudget => Budget,
    StatefulSet => StatefulSet,
    Pod => Pod,
    PersistentVolumeClaim => Claim,
    Secret => Secret,
    Lease => Lease
);

impl Kind {
    /// Returns the kind with this API group and plural name.
    #[must_use]
    pub fn of_path(group: &str, plural: &str) -> Option<Self> {
        Some(match (group, plural) {
            ("raftoperator.io", "raftclusters") => Self::RaftCluster,
            ("", "services") => Self::Service,
            ("policy", "poddisruptionbudgets") => Self::Budget,
            ("apps", "statefulsets") => Self::StatefulSet,
            ("", "pods") => Self::Pod,
            ("", "persistentvolumeclaims") => Self::Claim,
            ("", "secrets") => Self::Secret,
            ("coordination.k8s.io", "leases") => Self::Lease,
            _ => return None,
        })
    }

    /// Returns whether a write of the spec increases `metadata.generation`.
    pub(super) fn has_generation(self) -> bool {
        match self {
            Self::RaftCluster | Self::Budget | Self::StatefulSet | Self::Pod => true,
            Self::Service | Self::Claim | Self::Secret | Self::Lease => false,
        }
    }

    /// Returns whether only a write of the subresource `status` changes the status.
    pub(super) fn has_status(self) -> bool {
        match self {
            Self::RaftCluster | Self::Service | Self::Budget | Self::StatefulSet | Self::Pod | Self::Claim => true,
            Self::Secret | Self::Lease => false,
        }
    }

    /// Returns whether a replacement creates the object if it does not exist.
    pub(super) fn is_created_by_replacement(self) -> bool {
        match self {
            Self::Service | Self::Lease => true,
            Self::RaftCluster | Self::Budget | Self::StatefulSet | Self::Pod | Self::Claim | Self::Secret => false,
        }
    }

    /// Returns whether a replacement must name the resource version that it replaces.
    pub(super) fn replaces_only_a_version(self) -> bool {
        match self {
            Self::RaftCluster | Self::Budget | Self::Lease => true,
            Self::Service | Self::StatefulSet | Self::Pod | Self::Claim | Self::Secret => false,
        }
    }

    /// Returns the field that may not be changed, if a write changes one.
    pub(super) fn changed_immutable(self, live: &Value, now: &Value) -> Option<&'static str> {
        let spec_without = |object: &Value, change: fn(&mut Value)| {
            let mut spec = object["spec"].clone();
            change(&mut spec);
            spec
        };
        let changed = |change: fn(&mut Value)| spec_without(live, change) != spec_without(now, change);
        match self {
            Self::StatefulSet => ["selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"]
                .into_iter()
                .find(|field| live["spec"][field] != now["spec"][field]),
            Self::Secret if live["type"] != now["type"] => Some("type"),
            Self::Secret if live["immutable"] != true => None,
            Self::Secret => ["data", "immutable"].into_iter().find(|field| live[field] != now[field]),
            Self::Service => (live["spec"]["clusterIP"] != now["spec"]["clusterIP"]).then_some("clusterIP"),
            Self::Pod => changed(without_images).then_some("spec"),
            // A volume that is not bound yet has no size that could grow.
            Self::Claim if live["status"]["phase"] != "Bound" => changed(|_| ()).then_some("spec"),
            Self::Claim if shrinks(live, now) => Some("spec.resources.requests.storage"),
            Self::Claim => changed(|spec| spec["resources"]["requests"] = Value::Null).then_some("spec"),
            Self::RaftCluster | Self::Budget | Self::Lease => None,
        }
    }
}

impl Kind {
    /// Returns a field that an object must have and lacks.
    pub(super) fn missing(self, object: &Value) -> Option<&'static str> {
        let required: &[&'static str] = match self {
            Self::StatefulSet => &["/spec/selector", "/spec/template/spec/containers/0/image"],
            Self::Pod => &["/spec/containers/0/image"],
            Self::Claim => &["/spec/accessModes", "/spec/resources/requests/storage"],
            Self::Service if object["spec"]["clusterIP"] != "None" => &["/spec/ports/0"],
            Self::Service | Self::RaftCluster | Self::Budget | Self::Secret | Self::Lease => &[],
        };
        let missing = required.iter().copied().find(|path| object.pointer(path).is_none_or(Value::is_null));
        let selects = |spec: &Value| {
            let mut wanted = spec["selector"]["matchLabels"].as_object().into_iter().flatten();
            wanted.all(|(key, value)| spec["template"]["metadata"]["labels"][key] == *value)
        };
        let mut conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        let whole = ["type", "status", "reason", "message", "lastTransitionTime"];
        if self == Self::RaftCluster
            && conditions.any(|condition| whole.iter().any(|part| condition.get(part).is_none()))
        {
            return Some("/status/conditions");
        }
        let is_selected = self != Self::StatefulSet || selects(&object["spec"]);
        missing.or_else(|| (!is_selected).then_some("/spec/template/metadata/labels"))
    }
}

/// Returns whether a claim asks for less than before, and for no more than its volume has. All sizes must have the same
/// unit.
fn shrinks(live: &Value, now: &Value) -> bool {
    let number = |of: &Value| of["storage"].as_str()?.trim_end_matches(char::is_alphabetic).parse::<u64>().ok();
    let asked = |claim: &Value| number(&claim["spec"]["resources"]["requests"]);
    asked(now) < asked(live) && asked(now) <= number(&live["status"]["capacity"])
}

fn without_images(spec: &mut Value) {
    for container in spec["containers"].as_array_mut().into_iter().flatten() {
        container["image"] = Value::Null;
    }
}

impl Objects {
    /// Stores or removes an object under its name.
    ///
    /// # Errors
    /// Returns an error if the object is not of its kind. Nothing was changed.
    pub(super) fn put(&mut self, kind: Kind, name: &str, object: Option<&Value>) -> Result<(), serde_json::Error> {
        match kind {
            Kind::RaftCluster => {
                self.cluster = object.map(<RaftCluster as k8s_openapi::serde::Deserialize>::deserialize).transpose()?
            }
            Kind::Service => set::<Service, _>(&mut self.services, name, object)?,
            Kind::Budget => set::<PodDisruptionBudget, _>(&mut self.budgets, name, object)?,
            Kind::StatefulSet => set::<StatefulSet, _>(&mut self.sets, name, object)?,
            Kind::Pod => set::<Pod, _>(&mut self.pods, name, object)?,
            Kind::Claim => set::<PersistentVolumeClaim, _>(&mut self.volumes, name, object)?,
            Kind::Secret => set::<Secret, _>(&mut self.secrets, name, object)?,
            Kind::Lease => set::<Lease, _>(&mut self.leases, name, object)?,
        }
        Ok(())
    }
}

fn set<K: DeserializeOwned, S: From<K>>(
    objects: &mut BTreeMap<String, S>,
    name: &str,
    object: Option<&Value>,
) -> Result<(), serde_json::Error> {
    match object {
        Some(object) => drop(objects.insert(name.to_owned(), K::deserialize(object)?.into())),
        None => drop(objects.remove(name)),
    }
    Ok(())
}
