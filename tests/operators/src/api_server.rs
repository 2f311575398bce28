//! A Kubernetes API server as far as the operator uses one: create, server-side apply, merge patches, deletion, with UIDs,
//! resource versions, preconditions and finalizers. Keeps its past, so that reads can be stale. Runs no controller.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crds::RaftCluster;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use plan::observed::Seen;
use serde_json::{Value, json};

/// Name of the cluster.
pub const CLUSTER: &str = "demo";
/// States kept for stale reads.
const PAST: usize = 40;

/// A wall-clock time of a run.
#[must_use]
pub fn wall_clock(now: Duration) -> Timestamp {
    let milliseconds = i64::try_from(now.as_millis()).expect("a run is short");
    Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).expect("a run is short")
}

/// Everything stored, at one version.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// The RaftCluster.
    pub cluster: Option<RaftCluster>,
    /// By name.
    pub services: BTreeMap<String, Service>,
    /// By name.
    pub budgets: BTreeMap<String, PodDisruptionBudget>,
    /// By name.
    pub sets: BTreeMap<String, StatefulSet>,
    /// By name.
    pub pods: BTreeMap<String, Pod>,
    /// By name.
    pub volumes: BTreeMap<String, PersistentVolumeClaim>,
    /// By name.
    pub secrets: BTreeMap<String, Secret>,
}

/// The API server.
#[derive(Debug, Default)]
pub struct ApiServer {
    objects: Objects,
    past: VecDeque<Objects>,
    version: u64,
    uid: u64,
}

/// What the API server answers instead of doing it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such object.
    NotFound,
    /// A precondition does not hold.
    Conflict,
    /// There is one already.
    AlreadyExists,
}

/// What is stored by name.
pub trait Stored: Clone + Serialize + DeserializeOwned {
    /// The kind's shelf.
    fn shelf(objects: &mut Objects) -> &mut BTreeMap<String, Self>;
    /// The object's metadata.
    fn meta(&self) -> &ObjectMeta;
    /// The object's metadata, to be changed.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

macro_rules! stored {
    ($($kind:ty => $shelf:ident),+) => {$(
        impl Stored for $kind {
            fn shelf(objects: &mut Objects) -> &mut BTreeMap<String, Self> {
                &mut objects.$shelf
            }
            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )+};
}

stored!(
    Service => services,
    PodDisruptionBudget => budgets,
    StatefulSet => sets,
    Pod => pods,
    PersistentVolumeClaim => volumes,
    Secret => secrets
);

impl ApiServer {
    /// What is stored now.
    #[must_use]
    pub fn now(&self) -> &Objects {
        &self.objects
    }

    /// What was stored some versions ago, as far as that is remembered.
    #[must_use]
    pub fn ago(&self, versions: usize) -> &Objects {
        if versions == 0 {
            return &self.objects;
        }
        let versions = versions.min(self.past.len());
        self.past.get(self.past.len().wrapping_sub(versions)).unwrap_or(&self.objects)
    }

    /// Begins the history that stale reads see: objects that exist now existed before every read.
    pub fn begin(&mut self) {
        self.past.clear();
    }

    /// Stores the RaftCluster as it is given, as users and status writers do.
    pub fn put_cluster(&mut self, mut cluster: RaftCluster) {
        self.remember();
        cluster.metadata.resource_version = Some(self.version.to_string());
        if cluster.metadata.uid.is_none() {
            self.uid += 1;
            cluster.metadata.uid = Some(format!("uid-{}", self.uid));
        }
        self.objects.cluster = Some(cluster);
    }

    /// Creates an object.
    ///
    /// # Errors
    /// Returns `Refused` if the object exists.
    pub fn create<K: Stored>(&mut self, object: &K) -> Result<K, Refused> {
        let name = object.meta().name.clone().unwrap_or_default();
        if K::shelf(&mut self.objects).contains_key(&name) {
            return Err(Refused::AlreadyExists);
        }
        self.remember();
        self.uid += 1;
        let mut object = object.clone();
        object.meta_mut().uid = Some(format!("uid-{}", self.uid));
        object.meta_mut().resource_version = Some(self.version.to_string());
        K::shelf(&mut self.objects).insert(name, object.clone());
        Ok(object)
    }

    /// Server-side apply, by force: fields given win, the others stay.
    ///
    /// # Errors
    /// Returns `Refused` if the UID given is not that of the object, or if there is no object.
    pub fn apply<K: Stored>(&mut self, object: &K) -> Result<(), Refused> {
        let name = object.meta().name.clone().unwrap_or_default();
        let uid = object.meta().uid.clone();
        match K::shelf(&mut self.objects).get(&name) {
            None if uid.is_some() => Err(Refused::Conflict),
            None => self.create(object).map(|_| ()),
            Some(live) if uid.is_some() && live.meta().uid != uid => Err(Refused::Conflict),
            Some(_) => self.merge::<K>(&name, None, &json!(object)),
        }
    }

    /// A merge patch on the incarnation that was seen; with its version, if that is to be compared.
    ///
    /// # Errors
    /// Returns `Refused` if the object is gone, is another one, or has changed.
    pub fn patch<K: Stored>(&mut self, seen: &Seen, compare: Compare, patch: &Value) -> Result<(), Refused> {
        let live = K::shelf(&mut self.objects).get(&seen.name).ok_or(Refused::NotFound)?;
        check(live.meta(), seen, compare)?;
        self.merge::<K>(&seen.name, Some(&seen.uid), patch)
    }

    /// Deletes the incarnation that was seen. With finalizers, or for a pod whose process runs, it is only marked.
    ///
    /// # Errors
    /// Returns `Refused` if the object is gone, is another one, or has changed.
    pub fn delete<K: Stored>(
        &mut self,
        seen: &Seen,
        compare: Compare,
        how: Deletion,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let live = K::shelf(&mut self.objects).get(&seen.name).ok_or(Refused::NotFound)?;
        check(live.meta(), seen, compare)?;
        let marked = live.meta().deletion_timestamp.is_some();
        self.remember();
        let version = self.version;
        let shelf = K::shelf(&mut self.objects);
        if how == Deletion::AtOnce {
            shelf.remove(&seen.name);
        } else if let Some(live) = shelf.get_mut(&seen.name).filter(|_| !marked) {
            live.meta_mut().deletion_timestamp = Some(Time(now));
            live.meta_mut().resource_version = Some(version.to_string());
        }
        Ok(())
    }

    fn merge<K: Stored>(&mut self, name: &str, uid: Option<&str>, patch: &Value) -> Result<(), Refused> {
        let live = K::shelf(&mut self.objects).get(name).ok_or(Refused::NotFound)?;
        debug_assert!(uid.is_none_or(|uid| live.meta().uid.as_deref() == Some(uid)));
        let before = json!(live);
        let mut after = before.clone();
        overlay(&mut after, patch);
        // The server's own fields are not to be patched.
        for own in ["uid", "resourceVersion", "deletionTimestamp"] {
            after["metadata"][own] = before["metadata"][own].clone();
        }
        if after == before {
            return Ok(());
        }
        let mut object: K = serde_json::from_value(after).expect("a merged object is one of its kind");
        self.remember();
        object.meta_mut().resource_version = Some(self.version.to_string());
        K::shelf(&mut self.objects).insert(name.to_owned(), object);
        Ok(())
    }

    fn remember(&mut self) {
        self.version += 1;
        self.past.push_back(self.objects.clone());
        if self.past.len() > PAST {
            self.past.pop_front();
        }
    }
}

/// Whether the resource version is a precondition too; the UID always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Any version of this incarnation.
    Incarnation,
    /// Exactly what was seen.
    Version,
}

/// How an object goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// No finalizer holds it.
    AtOnce,
    /// A finalizer or a running process holds it for a while.
    Marked,
}

fn check(live: &ObjectMeta, seen: &Seen, compare: Compare) -> Result<(), Refused> {
    let same = live.uid.as_deref() == Some(seen.uid.as_str());
    let unchanged = live.resource_version.as_deref() == Some(seen.version.as_str());
    if same && (unchanged || compare == Compare::Incarnation) { Ok(()) } else { Err(Refused::Conflict) }
}

fn overlay(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                overlay(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}
