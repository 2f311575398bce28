//! The parts of a Kubernetes API server that the operator uses: create, replace, server-side apply, merge patch and
//! delete, with UIDs, resource versions, preconditions and finalizers. Keeps past states, so that reads can be stale.
//! Does not own controllers (`controllers.rs`).

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

/// Name of the only RaftCluster.
pub const CLUSTER: &str = "demo";
/// Number of past states that are kept for stale reads.
const PAST: usize = 40;

/// Converts a time since the start of the run into wall-clock time.
#[must_use]
pub fn wall_clock(now: Duration) -> Timestamp {
    let milliseconds = i64::try_from(now.as_millis()).expect("a run is short");
    Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).expect("a run is short")
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
}

/// The simulated API server.
#[derive(Debug, Default)]
pub struct ApiServer {
    objects: Objects,
    past: VecDeque<Objects>,
    version: u64,
    uid: u64,
}

/// The reason why the API server refused a request. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The object does not exist.
    NotFound,
    /// A precondition does not hold.
    Conflict,
    /// An object of this name exists already.
    AlreadyExists,
}

/// A kind of object that is stored by name.
pub trait Stored: Clone + Serialize + DeserializeOwned {
    /// Returns all objects of the kind.
    fn collection(objects: &mut Objects) -> &mut BTreeMap<String, Self>;
    /// Returns the object's metadata.
    fn meta(&self) -> &ObjectMeta;
    /// Returns the object's metadata, to be changed.
    fn meta_mut(&mut self) -> &mut ObjectMeta;
}

macro_rules! stored {
    ($($kind:ty => $collection:ident),+) => {$(
        impl Stored for $kind {
            fn collection(objects: &mut Objects) -> &mut BTreeMap<String, Self> {
                &mut objects.$collection
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
    /// Returns the newest objects.
    #[must_use]
    pub fn now(&self) -> &Objects {
        &self.objects
    }

    /// Returns the objects as they were `versions` versions ago, or the oldest state that is kept.
    #[must_use]
    pub fn ago(&self, versions: usize) -> &Objects {
        if versions == 0 {
            return &self.objects;
        }
        let versions = versions.min(self.past.len());
        self.past.get(self.past.len().wrapping_sub(versions)).unwrap_or(&self.objects)
    }

    /// Drops past states, so that no stale read lacks the objects that exist now. These objects are older than the
    /// RaftCluster, and an operator sees the RaftCluster before it reads other objects.
    pub fn begin(&mut self) {
        self.past.clear();
    }

    /// Stores the whole RaftCluster, as a user or a writer of its status does.
    pub fn put_cluster(&mut self, mut cluster: RaftCluster) {
        self.remember();
        cluster.metadata.resource_version = Some(self.version.to_string());
        if cluster.metadata.uid.is_none() {
            self.uid += 1;
            cluster.metadata.uid = Some(format!("uid-{}", self.uid));
        }
        self.objects.cluster = Some(cluster);
    }

    /// Creates an object with a new UID.
    ///
    /// # Errors
    /// Returns `Refused` if the object exists already.
    pub fn create<K: Stored>(&mut self, object: &K) -> Result<K, Refused> {
        let name = object.meta().name.clone().unwrap_or_default();
        if K::collection(&mut self.objects).contains_key(&name) {
            return Err(Refused::AlreadyExists);
        }
        self.remember();
        self.uid += 1;
        let mut object = object.clone();
        object.meta_mut().uid = Some(format!("uid-{}", self.uid));
        object.meta_mut().resource_version = Some(self.version.to_string());
        K::collection(&mut self.objects).insert(name, object.clone());
        Ok(object)
    }

    /// Applies an object on the server side with force: the given fields replace the stored ones, and other fields
    /// stay.
    ///
    /// # Errors
    /// Returns `Refused` if the object has a UID and no stored object has its name and UID.
    pub fn apply<K: Stored>(&mut self, object: &K) -> Result<(), Refused> {
        let name = object.meta().name.clone().unwrap_or_default();
        let uid = object.meta().uid.clone();
        match K::collection(&mut self.objects).get(&name) {
            None if uid.is_some() => Err(Refused::Conflict),
            None => self.create(object).map(|_| ()),
            Some(live) if uid.is_some() && live.meta().uid != uid => Err(Refused::Conflict),
            Some(_) => self.merge::<K>(&name, None, &json!(object)),
        }
    }

    /// Replaces an observed object, which carries the UID and resource version as preconditions. A field that the new
    /// object lacks is removed, except those that only the server and the controllers write.
    ///
    /// # Errors
    /// Returns `Refused` if the object does not exist or a precondition does not hold.
    pub fn replace<K: Stored>(&mut self, object: &K) -> Result<(), Refused> {
        let seen = Seen::of(object.meta());
        let live = K::collection(&mut self.objects).get(&seen.name).ok_or(Refused::NotFound)?;
        check(live.meta(), &seen, Compare::Version)?;
        let (before, mut after) = (json!(live), json!(object));
        if let Some(fields) = after.as_object_mut() {
            fields.extend(before.get("status").map(|status| ("status".to_owned(), status.clone())));
        }
        self.store::<K>(&seen.name, &before, after);
        Ok(())
    }

    /// Applies a merge patch to an observed object. The UID must match. With [`Compare::Version`], the resource
    /// version must match, too.
    ///
    /// # Errors
    /// Returns `Refused` if the object does not exist or a precondition of `compare` does not hold.
    pub fn patch<K: Stored>(&mut self, seen: &Seen, compare: Compare, patch: &Value) -> Result<(), Refused> {
        let live = K::collection(&mut self.objects).get(&seen.name).ok_or(Refused::NotFound)?;
        check(live.meta(), seen, compare)?;
        self.merge::<K>(&seen.name, Some(&seen.uid), patch)
    }

    /// Deletes an observed object. [`Deletion::Marked`] only marks the object, because a finalizer or a running
    /// process holds it.
    ///
    /// # Errors
    /// Returns `Refused` if the object does not exist or a precondition of `compare` does not hold.
    pub fn delete<K: Stored>(
        &mut self,
        seen: &Seen,
        compare: Compare,
        how: Deletion,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let live = K::collection(&mut self.objects).get(&seen.name).ok_or(Refused::NotFound)?;
        check(live.meta(), seen, compare)?;
        let marked = live.meta().deletion_timestamp.is_some();
        self.remember();
        let version = self.version;
        let collection = K::collection(&mut self.objects);
        if how == Deletion::AtOnce {
            collection.remove(&seen.name);
        } else if let Some(live) = collection.get_mut(&seen.name).filter(|_| !marked) {
            live.meta_mut().deletion_timestamp = Some(Time(now));
            live.meta_mut().resource_version = Some(version.to_string());
        }
        Ok(())
    }

    fn merge<K: Stored>(&mut self, name: &str, uid: Option<&str>, patch: &Value) -> Result<(), Refused> {
        let live = K::collection(&mut self.objects).get(name).ok_or(Refused::NotFound)?;
        debug_assert!(uid.is_none_or(|uid| live.meta().uid.as_deref() == Some(uid)));
        let before = json!(live);
        let mut after = before.clone();
        overlay(&mut after, patch);
        self.store::<K>(name, &before, after);
        Ok(())
    }

    /// Stores the new state of an object under a new version, unless nothing changed.
    fn store<K: Stored>(&mut self, name: &str, before: &Value, mut after: Value) {
        // A write cannot change the fields that the server sets.
        for own in ["uid", "resourceVersion", "deletionTimestamp"] {
            after["metadata"][own] = before["metadata"][own].clone();
        }
        let mut object: K = serde_json::from_value(after).expect("a written object decodes as its kind");
        if json!(object) == *before {
            return;
        }
        self.remember();
        object.meta_mut().resource_version = Some(self.version.to_string());
        K::collection(&mut self.objects).insert(name.to_owned(), object);
    }

    fn remember(&mut self) {
        self.version += 1;
        self.past.push_back(self.objects.clone());
        if self.past.len() > PAST {
            self.past.pop_front();
        }
    }
}

/// Preconditions of a write. The UID is a precondition of every write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Only the UID is a precondition.
    Uid,
    /// The UID and the resource version are preconditions.
    Version,
}

/// Way in which an object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// The object is removed immediately, because no finalizer holds it.
    AtOnce,
    /// The object only gets a deletion timestamp, because a finalizer or a running process holds it.
    Marked,
}

fn check(live: &ObjectMeta, seen: &Seen, compare: Compare) -> Result<(), Refused> {
    let same = live.uid.as_deref() == Some(seen.uid.as_str());
    let unchanged = live.resource_version.as_deref() == Some(seen.version.as_str());
    if same && (unchanged || compare == Compare::Uid) { Ok(()) } else { Err(Refused::Conflict) }
}

/// Merges as a JSON merge patch does: null removes a field.
fn overlay(base: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *base = patch.clone();
        return;
    };
    if !base.is_object() {
        *base = json!({});
    }
    let Value::Object(base) = base else { return };
    for (key, value) in patch {
        if value.is_null() {
            base.remove(key);
        } else {
            overlay(base.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
