//! The kinds of objects that the simulated API server stores. Owns the table of kinds, and the conversion between an
//! object's JSON and its type. Does not own the objects (`api_server.rs`).

use std::collections::BTreeMap;

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
    pub sets: BTreeMap<String, StatefulSet>,
    /// Pods by name.
    pub pods: BTreeMap<String, Pod>,
    /// Volume claims by name.
    pub volumes: BTreeMap<String, PersistentVolumeClaim>,
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

    /// Returns whether a deleted object stays until something that uses it has ended: a pod until its process ended, a
    /// claim until no pod uses it.
    pub(super) fn is_held(self) -> bool {
        match self {
            Self::Pod | Self::Claim => true,
            Self::RaftCluster | Self::Service | Self::Budget | Self::StatefulSet | Self::Secret | Self::Lease => false,
        }
    }

    /// Returns the field that may not be changed, if a write changes one.
    pub(super) fn changed_immutable(self, live: &Value, now: &Value) -> Option<&'static str> {
        match self {
            Self::StatefulSet => ["selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"]
                .into_iter()
                .find(|field| live["spec"][field] != now["spec"][field]),
            Self::Secret => (live["immutable"] == true && live["data"] != now["data"]).then_some("data"),
            Self::RaftCluster | Self::Service | Self::Budget | Self::Pod | Self::Claim | Self::Lease => None,
        }
    }
}

impl Objects {
    /// Stores or removes an object under its name.
    pub(super) fn put(&mut self, kind: Kind, name: &str, object: Option<&Value>) {
        match kind {
            Kind::RaftCluster => self.cluster = object.map(parse),
            Kind::Service => set(&mut self.services, name, object),
            Kind::Budget => set(&mut self.budgets, name, object),
            Kind::StatefulSet => set(&mut self.sets, name, object),
            Kind::Pod => set(&mut self.pods, name, object),
            Kind::Claim => set(&mut self.volumes, name, object),
            Kind::Secret => set(&mut self.secrets, name, object),
            Kind::Lease => set(&mut self.leases, name, object),
        }
    }
}

fn set<K: DeserializeOwned>(objects: &mut BTreeMap<String, K>, name: &str, object: Option<&Value>) {
    match object {
        Some(object) => drop(objects.insert(name.to_owned(), parse(object))),
        None => drop(objects.remove(name)),
    }
}

fn parse<K: DeserializeOwned>(object: &Value) -> K {
    K::deserialize(object).unwrap_or_else(|error| panic!("{object} is not of its kind: {error}"))
}
