//! A Kubernetes API server with the kinds of objects that the operator uses: create, replace, server-side apply, merge
//! patch, delete and evict, with UIDs, resource versions, preconditions, owners of fields, immutable fields and
//! refusals. Keeps past states, so that reads can be stale. `tests/rings/likeness` compares it with a real server. Does
//! not own its HTTP interface (`http.rs`), the owners of fields (`fields.rs`), what Kubernetes sets in an object
//! (`defaults.rs`), budgets (`eviction.rs`), or controllers (`controllers.rs`).

mod defaults;
mod eviction;
pub mod fields;
pub mod http;
pub mod kinds;
mod others;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use self::fields::{FieldOwner, Operation, Part};
pub use self::kinds::{Kind, Objects, Stored};
pub use self::others::{Compare, Deletion};

/// Name of the only RaftCluster.
pub const CLUSTER: &str = "demo";
/// Namespace of all objects.
pub const NAMESPACE: &str = "default";
/// Number of past states that are kept for stale reads.
const PAST: usize = 40;
/// Time for which a past state can be read. Caches lag, but not for as long as nothing changes.
const PAST_FOR: SignedDuration = SignedDuration::from_secs(10);
/// Name under which controllers, users and faults write.
const OTHERS: &str = "others";

/// Metadata that only the server sets.
const OF_SERVER: [&str; 7] =
    ["name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"];

/// Converts a time since the start of the run into wall-clock time.
#[must_use]
pub fn wall_clock(now: Duration) -> Timestamp {
    let milliseconds = i64::try_from(now.as_millis()).expect("a run is short");
    Timestamp::from_millisecond(1_800_000_000_000 + milliseconds).expect("a run is short")
}

/// An object with the owners of its fields.
#[derive(Clone, Debug)]
pub struct Record {
    /// The object.
    pub object: Value,
    /// The object as bytes, which are the body of an answer.
    pub bytes: bytes::Bytes,
    managers: Vec<FieldOwner>,
}

impl Record {
    fn of(object: Value, managers: Vec<FieldOwner>) -> Self {
        let bytes = serde_json::to_vec(&object).expect("JSON always serializes").into();
        Self { object, bytes, managers }
    }

    /// Returns the owners of the object's fields.
    #[must_use]
    pub fn managers(&self) -> &[FieldOwner] {
        &self.managers
    }
}

/// An object's key: its kind and name.
type Key = (Kind, String);

/// The simulated API server.
#[derive(Debug, Default)]
pub struct ApiServer {
    objects: Objects,
    records: BTreeMap<Key, Arc<Record>>,
    /// The former state of each changed object with the time of the change, oldest first.
    past: VecDeque<(Timestamp, Key, Option<Arc<Record>>)>,
    clock: Timestamp,
    version: u64,
    uid: u64,
    /// Kinds of which the server admits no new object and no change, as an exhausted quota or a faulty webhook does.
    pub refuses: Vec<Kind>,
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
    /// The object is not valid.
    Invalid(&'static str),
    /// Admission refuses the write.
    Forbidden,
    /// The disruption budget allows no eviction.
    Budget,
}

/// Preconditions of a write. `None` means that the write does not depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// The UID.
    pub uid: Option<String>,
    /// The resource version.
    pub version: Option<String>,
}

impl Expected {
    /// Returns the preconditions that an object's metadata contains.
    fn in_metadata(object: &Value) -> Self {
        let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
        Self { uid: text("uid"), version: text("resourceVersion") }
    }

    fn check(&self, live: &Value) -> Result<(), Refused> {
        let holds = holds(&self.uid, live, "uid") && holds(&self.version, live, "resourceVersion");
        if holds { Ok(()) } else { Err(Refused::Conflict) }
    }

    /// Checks the preconditions of a patch or an apply. To Kubernetes another UID in a patch is a change of the UID,
    /// which is not valid. A write of a custom resource's status ignores all metadata except the resource version.
    fn check_patch(&self, kind: Kind, part: Part, live: &Value) -> Result<(), Refused> {
        self.check_version(live)?;
        let is_ignored = kind == Kind::RaftCluster && part == Part::Status;
        if is_ignored || holds(&self.uid, live, "uid") { Ok(()) } else { Err(Refused::Invalid("metadata.uid")) }
    }

    fn check_version(&self, live: &Value) -> Result<(), Refused> {
        if holds(&self.version, live, "resourceVersion") { Ok(()) } else { Err(Refused::Conflict) }
    }
}

fn holds(wanted: &Option<String>, live: &Value, field: &str) -> bool {
    wanted.is_none() || wanted.as_deref() == live["metadata"][field].as_str()
}

/// A write by server-side apply, replace or patch.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'w> {
    /// Name of the writer.
    pub manager: &'w str,
    /// The part of the object that is written.
    pub part: Part,
}

impl ApiServer {
    /// Returns the newest objects.
    #[must_use]
    pub fn now(&self) -> &Objects {
        &self.objects
    }

    /// Returns the number of changes so far.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Sets the server's wall clock, and drops states that are too old for a stale read.
    pub fn tick(&mut self, now: Timestamp) {
        self.clock = now;
        while self.past.front().is_some_and(|(changed, _, _)| *changed + PAST_FOR < now) {
            self.past.pop_front();
        }
    }

    /// Drops past states, so that no stale read lacks the objects that exist now. These objects are older than the
    /// RaftCluster, and an operator sees the RaftCluster before it reads other objects.
    pub fn begin(&mut self) {
        self.past.clear();
    }

    /// Returns an object as it was `age` versions ago, or in the oldest state that is kept.
    #[must_use]
    pub fn get(&self, kind: Kind, name: &str, age: usize) -> Option<Arc<Record>> {
        let mut changed = self.past.iter().skip(self.past.len().saturating_sub(age));
        match changed.find(|(_, (of, changed), _)| *of == kind && changed == name) {
            Some((_, _, former)) => former.clone(),
            None => self.records.get(&(kind, name.to_owned())).cloned(),
        }
    }

    /// Returns the objects of a kind that have all these labels, as they were `age` versions ago.
    #[must_use]
    pub fn list(&self, kind: Kind, labels: &[(String, String)], age: usize) -> Vec<Arc<Record>> {
        let newest = self.records.range((kind, String::new())..).take_while(|((of, _), _)| *of == kind);
        let mut found: BTreeMap<&str, Arc<Record>> =
            newest.map(|((_, name), record)| (name.as_str(), Arc::clone(record))).collect();
        let changed = self.past.iter().skip(self.past.len().saturating_sub(age));
        for (_, (_, name), former) in changed.rev().filter(|(_, (of, _), _)| *of == kind) {
            match former {
                Some(former) => drop(found.insert(name, Arc::clone(former))),
                None => drop(found.remove(name.as_str())),
            }
        }
        let matches = |record: &Record| {
            labels.iter().all(|(key, value)| record.object["metadata"]["labels"][key] == value.as_str())
        };
        found.into_values().filter(|record| matches(record)).collect()
    }

    /// Creates an object with a new UID. The writer owns its fields by update, even if it applies them later.
    ///
    /// # Errors
    /// Returns a refusal if the object exists already, or admission refuses it.
    pub fn post(&mut self, kind: Kind, object: Value, manager: &str) -> Result<Arc<Record>, Refused> {
        self.insert(kind, object, manager, Operation::Update)
    }

    fn insert(
        &mut self,
        kind: Kind,
        mut object: Value,
        manager: &str,
        operation: Operation,
    ) -> Result<Arc<Record>, Refused> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if name.is_empty() {
            return Err(Refused::Invalid("metadata.name"));
        }
        if self.records.contains_key(&(kind, name.clone())) {
            return Err(Refused::AlreadyExists);
        }
        self.uid += 1;
        object["metadata"]["uid"] = json!(format!("uid-{}", self.uid));
        object["metadata"]["namespace"] = json!(NAMESPACE);
        object["metadata"]["creationTimestamp"] = json!(Time(self.clock));
        let applied = object.clone();
        defaults::complete(kind, &mut object);
        // Kubernetes counts defaults as written by an update, and not as written by an apply.
        let written = match operation {
            Operation::Apply => &applied,
            Operation::Update => &object,
        };
        let fields = fields::paths(written, Part::Main);
        let managers = vec![FieldOwner { name: manager.to_owned(), operation, part: Part::Main, fields }];
        self.write(kind, name, object, managers)
    }

    /// Replaces an object. The UID and resource version in the object are preconditions.
    ///
    /// # Errors
    /// Returns a refusal if the object does not exist, a precondition does not hold, or the object is refused.
    pub fn replace(
        &mut self,
        kind: Kind,
        name: &str,
        writer: Writer<'_>,
        mut object: Value,
    ) -> Result<Arc<Record>, Refused> {
        let expected = Expected::in_metadata(&object);
        let Ok(live) = self.live(kind, name) else {
            return match expected.uid {
                // A replacement may create an object of these kinds.
                Some(_) if kind.is_created_by_replacement() => Err(Refused::Conflict),
                None if kind.is_created_by_replacement() => {
                    self.insert(kind, object, writer.manager, Operation::Update)
                }
                Some(_) | None => Err(Refused::NotFound),
            };
        };
        expected.check(&live.object)?;
        keep_others_part(kind, writer.part, &live.object, &mut object);
        defaults::complete(kind, &mut object);
        let mut managers = live.managers.clone();
        fields::update(&mut managers, writer.manager, writer.part, &live.object, &object);
        self.write(kind, name.to_owned(), object, managers)
    }

    /// Applies an object on the server side. The UID and resource version in the object are preconditions. Creates the
    /// object if it does not exist and no UID is given.
    ///
    /// # Errors
    /// Returns a refusal if a precondition does not hold, another writer owns a field and `force` is false, or the
    /// object is refused.
    pub fn apply(
        &mut self,
        kind: Kind,
        name: &str,
        writer: Writer<'_>,
        applied: &Value,
        force: bool,
    ) -> Result<Arc<Record>, Refused> {
        let expected = Expected::in_metadata(applied);
        let Ok(live) = self.live(kind, name) else {
            if writer.part == Part::Status {
                return Err(Refused::NotFound);
            }
            if expected.uid.is_some() {
                return Err(Refused::Conflict);
            }
            return self.insert(kind, applied.clone(), writer.manager, Operation::Apply);
        };
        expected.check_version(&live.object)?;
        let mut managers = live.managers.clone();
        if !force && fields::conflicts(&managers, writer.manager, writer.part, &live.object, applied) {
            return Err(Refused::Conflict);
        }
        expected.check_patch(kind, writer.part, &live.object)?;
        let mut object = fields::apply(&mut managers, writer.manager, writer.part, &live.object, applied);
        defaults::complete(kind, &mut object);
        self.write(kind, name.to_owned(), object, managers)
    }

    /// Applies a merge patch to an object. The UID and resource version in the patch are preconditions.
    ///
    /// # Errors
    /// Returns a refusal if the object does not exist, a precondition does not hold, or the object is refused.
    pub fn merge(&mut self, kind: Kind, name: &str, writer: Writer<'_>, patch: &Value) -> Result<Arc<Record>, Refused> {
        let live = self.live(kind, name)?;
        Expected::in_metadata(patch).check_patch(kind, writer.part, &live.object)?;
        let mut object = live.object.clone();
        fields::patch(&mut object, patch);
        keep_others_part(kind, writer.part, &live.object, &mut object);
        defaults::complete(kind, &mut object);
        let mut managers = live.managers.clone();
        fields::update(&mut managers, writer.manager, writer.part, &live.object, &object);
        self.write(kind, name.to_owned(), object, managers)
    }

    /// Deletes an object. A pod and an object with finalizers only get a deletion timestamp. A kubelet removes the pod
    /// later, and the object goes with its last finalizer.
    ///
    /// # Errors
    /// Returns a refusal if the object does not exist or a precondition does not hold.
    pub fn remove(&mut self, kind: Kind, name: &str, expected: &Expected, now: Timestamp) -> Result<(), Refused> {
        let live = self.live(kind, name)?;
        let has_ended = matches!(live.object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let is_held = kind == Kind::Pod && !has_ended || has_finalizers(&live.object);
        self.end(kind, name, expected, if is_held { Deletion::Marked } else { Deletion::AtOnce }, now)
    }

    /// Evicts a pod, which deletes it.
    ///
    /// # Errors
    /// Returns a refusal if the pod does not exist, a precondition does not hold, or at most as many of the pods that
    /// the disruption budget covers are ready as must be.
    pub fn evict(&mut self, name: &str, expected: &Expected, now: Timestamp) -> Result<(), Refused> {
        let live = self.live(Kind::Pod, name)?;
        let pod = self.objects.pods.get(name).ok_or(Refused::NotFound)?;
        if !eviction::is_allowed(pod, &self.objects) {
            return Err(Refused::Budget);
        }
        expected.check(&live.object)?;
        let mut record = (*live).clone();
        if eviction::note(&mut record.object, now) {
            self.store((Kind::Pod, name.to_owned()), Some(record))?;
        }
        if !live.object["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        self.remove(Kind::Pod, name, &Expected::default(), now)
    }

    fn end(
        &mut self,
        kind: Kind,
        name: &str,
        expected: &Expected,
        how: Deletion,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let live = self.live(kind, name)?;
        expected.check(&live.object)?;
        if how == Deletion::AtOnce {
            self.store((kind, name.to_owned()), None)?;
        } else if live.object["metadata"]["deletionTimestamp"].is_null() {
            let mut record = (*live).clone();
            record.object["metadata"]["deletionTimestamp"] = json!(now.to_string());
            if let Some(generation) = live.object["metadata"]["generation"].as_i64() {
                record.object["metadata"]["generation"] = json!(generation + 1);
            }
            self.store((kind, name.to_owned()), Some(record))?;
        }
        Ok(())
    }

    fn live(&self, kind: Kind, name: &str) -> Result<Arc<Record>, Refused> {
        self.records.get(&(kind, name.to_owned())).cloned().ok_or(Refused::NotFound)
    }

    /// Stores an object unless nothing changed.
    fn write(
        &mut self,
        kind: Kind,
        name: String,
        mut object: Value,
        managers: Vec<FieldOwner>,
    ) -> Result<Arc<Record>, Refused> {
        let key = (kind, name);
        let live = self.records.get(&key).cloned();
        let is_new = live.is_none();
        defaults::allot(kind, &mut object, live.as_ref().map(|live| &live.object), self.uid);
        if let Some(live) = live {
            // No writer can change the fields that the server sets.
            for own in OF_SERVER {
                object["metadata"][own] = live.object["metadata"][own].clone();
            }
            without_nulls(&mut object["metadata"]);
            if live.object == object && live.managers == managers {
                return Ok(live);
            }
            if let Some(field) = kind.changed_immutable(&live.object, &object) {
                return Err(Refused::Invalid(field));
            }
            if kind.has_generation() && live.object["spec"] != object["spec"] {
                let before = live.object["metadata"]["generation"].as_i64().unwrap_or(1);
                object["metadata"]["generation"] = json!(before + 1);
            }
            let is_deleted = !object["metadata"]["deletionTimestamp"].is_null();
            if is_deleted && has_finalizers(&live.object) && !has_finalizers(&object) {
                self.store(key, None)?;
                return Ok(Arc::new(Record::of(object, managers)));
            }
        } else if kind.has_generation() {
            object["metadata"]["generation"] = json!(1);
        }
        if let Some(field) = kind.missing(&object) {
            return Err(Refused::Invalid(field));
        }
        // A quota counts new pods. The kubelet's reports about pods pass every webhook.
        if self.refuses.contains(&kind) && (is_new || kind != Kind::Pod) {
            return Err(Refused::Forbidden);
        }
        Ok(self.store(key, Some(Record::of(object, managers)))?.expect("an object was stored"))
    }

    /// Stores or removes an object as the next version.
    fn store(&mut self, key: Key, record: Option<Record>) -> Result<Option<Arc<Record>>, Refused> {
        let version = self.version + 1;
        let record = record.map(|mut record| {
            record.object["metadata"]["resourceVersion"] = json!(version.to_string());
            Arc::new(Record::of(record.object, record.managers))
        });
        let stored = self.objects.put(key.0, &key.1, record.as_ref().map(|record| &record.object));
        stored.map_err(|_| Refused::Invalid("spec"))?;
        self.version = version;
        let former = match &record {
            Some(record) => self.records.insert(key.clone(), Arc::clone(record)),
            None => self.records.remove(&key),
        };
        self.past.push_back((self.clock, key, former));
        if self.past.len() > PAST {
            self.past.pop_front();
        }
        Ok(record)
    }
}

/// Takes the part that the request does not write from the live object. A write of the status changes no metadata.
fn keep_others_part(kind: Kind, part: Part, live: &Value, object: &mut Value) {
    if part == Part::Status {
        let status = object["status"].take();
        *object = live.clone();
        object["status"] = status;
    } else if kind.has_status() {
        object["status"] = live["status"].clone();
    }
    if object["status"].is_null()
        && let Some(fields) = object.as_object_mut()
    {
        fields.remove("status");
    }
}

fn has_finalizers(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty())
}

fn without_nulls(object: &mut Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}
