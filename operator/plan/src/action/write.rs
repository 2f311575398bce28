//! The kinds of requests that write to the Kubernetes API. Owns the precondition of each kind: it is a part of the
//! type, so that no write can lack it. Does not own which writes there are (`action.rs`), nor how a request is sent
//! (the shell's `raft_cluster/apply.rs`).

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube_core::Resource;
use kube_core::discovery::ApiResource;
use serde::Serialize;
use serde_json::{Value, json};

use super::object::Object;
use crate::observed::Seen;

/// A request that writes to the Kubernetes API.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// Creates an object that does not exist.
    Create(Create),
    /// Replaces an observed object as a whole.
    Replace(Replace),
    /// Applies an object on the server side.
    Apply(Apply),
    /// Changes labels and annotations of an observed object, or the size of a volume claim.
    Patch(MergePatch),
    /// Deletes an observed object.
    Delete(Delete),
    /// Evicts an observed pod.
    Evict(Evict),
}

/// The part of an observed object that must be unchanged when a write arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The UID: the write may follow any change of the object, but never reaches a later object of the same name.
    Uid,
    /// The UID and the resource version: the write follows no other change (compare-and-swap).
    Version,
}

/// The meaning of an object that exists already when it is to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// The object is as wanted: the create counts as done.
    Done,
    /// Another operator created the object: the pass ends, and the next pass observes it.
    ObserveAgain,
}

/// The creation of an object. Precondition: no object has its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    object: Object,
    if_exists: IfExists,
}

impl Create {
    /// The creation of `wanted`, which must not carry the UID or version of an observed object.
    pub fn of<K>(wanted: &K, if_exists: IfExists) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize,
    {
        let object = Object::of(wanted);
        let metadata = &object.body().metadata;
        assert!(
            metadata.uid.is_none() && metadata.resource_version.is_none(),
            "a create never names an incarnation: {object}"
        );
        Self { object, if_exists }
    }

    /// The object to create.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// What it means if the object exists already.
    #[must_use]
    pub fn if_exists(&self) -> IfExists {
        self.if_exists
    }
}

/// The replacement of a whole object. Preconditions: UID and resource version of the observed object.
#[derive(Clone, Debug, PartialEq)]
pub struct Replace {
    object: Object,
    seen: Seen,
    changes_spec: bool,
}

impl Replace {
    /// The replacement of `live` by `wanted`. A field that `wanted` lacks is removed.
    pub fn of<K>(wanted: &K, live: &K) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize,
    {
        let seen = Seen::of(live.meta());
        let mut object = Object::of(wanted);
        let changes_spec = object.body().data.get("spec") != Object::of(live).body().data.get("spec");
        assert_eq!(object.name(), seen.name, "an object is replaced by one of the same name");
        let metadata = object.metadata_mut();
        metadata.uid = Some(seen.uid.clone());
        metadata.resource_version = Some(seen.version.clone());
        Self { object, seen, changes_spec }
    }

    /// Whether `spec` changes. Otherwise only labels and annotations do.
    #[must_use]
    pub fn changes_spec(&self) -> bool {
        self.changes_spec
    }

    /// The object to write. It carries the UID and the resource version of the observed object.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The observed object.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }
}

/// A server-side apply. Precondition: the UID of the observed object, if one was observed. Without it, the apply could
/// create an object again that was deleted meanwhile.
#[derive(Clone, Debug, PartialEq)]
pub struct Apply {
    object: Object,
    seen: Option<Seen>,
}

impl Apply {
    /// The apply of `wanted` to the live object, if there is one.
    pub fn of<K>(wanted: &K, live: Option<&K>) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize,
    {
        let seen = live.map(|live| Seen::of(live.meta()));
        let mut object = Object::of(wanted);
        assert!(
            seen.as_ref().is_none_or(|seen| seen.name == object.name()),
            "an object is applied to the live one of its own name"
        );
        object.metadata_mut().uid = seen.as_ref().map(|seen| seen.uid.clone());
        Self { object, seen }
    }

    /// The object to apply. It carries the UID of the observed object.
    #[must_use]
    pub fn object(&self) -> &Object {
        &self.object
    }

    /// The observed object; `None` if the object did not exist.
    #[must_use]
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }
}

/// A change of labels and annotations of an observed object, or of the size of a volume claim, as a JSON merge patch.
/// Preconditions: those of [`Compare`].
#[derive(Clone, Debug, PartialEq)]
pub struct MergePatch {
    resource: ApiResource,
    seen: Seen,
    body: Value,
}

impl MergePatch {
    /// Merges `labels` and `annotations`, both of which `metadata` may contain, into those of an object of the kind
    /// `K`. The value null removes a label or an annotation.
    #[must_use]
    pub fn of<K>(seen: &Seen, compare: Compare, mut metadata: Value) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        let only_notes = metadata
            .as_object()
            .is_some_and(|fields| fields.keys().all(|field| ["labels", "annotations"].contains(&field.as_str())));
        assert!(only_notes, "a patch changes only labels and annotations: {metadata}");
        metadata["uid"] = json!(seen.uid);
        match compare {
            Compare::Uid => {}
            Compare::Version => metadata["resourceVersion"] = json!(seen.version),
        }
        Self { resource: ApiResource::erase::<K>(&()), seen: seen.clone(), body: json!({ "metadata": metadata }) }
    }

    /// Asks for a larger volume. Preconditions: UID and resource version of the observed claim, because the size was
    /// compared with the one that this version asks for.
    #[must_use]
    pub fn growth(claim: &Seen, size: &Quantity) -> Self {
        let metadata = json!({ "uid": claim.uid, "resourceVersion": claim.version });
        let spec = json!({ "resources": { "requests": { "storage": size } } });
        let resource = ApiResource::erase::<PersistentVolumeClaim>(&());
        Self { resource, seen: claim.clone(), body: json!({ "metadata": metadata, "spec": spec }) }
    }

    /// API group, version, kind and plural name of the object.
    #[must_use]
    pub fn resource(&self) -> &ApiResource {
        &self.resource
    }

    /// The observed object.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// The patch. It carries the preconditions.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }
}

/// The deletion of an observed object. Preconditions: those of [`Compare`].
#[derive(Clone, Debug, PartialEq)]
pub struct Delete {
    resource: ApiResource,
    seen: Seen,
    compare: Compare,
}

impl Delete {
    /// The deletion of an object of the kind `K`.
    #[must_use]
    pub fn of<K>(seen: &Seen, compare: Compare) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Self { resource: ApiResource::erase::<K>(&()), seen: seen.clone(), compare }
    }

    /// API group, version, kind and plural name of the object.
    #[must_use]
    pub fn resource(&self) -> &ApiResource {
        &self.resource
    }

    /// Name of the object.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.seen.name
    }

    /// The UID that the object must have.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.seen.uid
    }

    /// The resource version that the object must have; `None` if any version may be deleted.
    #[must_use]
    pub fn version(&self) -> Option<&str> {
        match self.compare {
            Compare::Uid => None,
            Compare::Version => Some(&self.seen.version),
        }
    }
}

/// The eviction of an observed pod. Preconditions: its UID, and what the disruption budgets allow.
#[derive(Clone, Debug, PartialEq)]
pub struct Evict {
    pod: Seen,
}

impl Evict {
    /// The eviction of a pod.
    #[must_use]
    pub fn of(pod: &Seen) -> Self {
        Self { pod: pod.clone() }
    }

    /// Name of the pod.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.pod.name
    }

    /// The UID that the pod must have.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.pod.uid
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn config_map(version: Option<&str>) -> ConfigMap {
        let metadata = ObjectMeta {
            name: Some("demo".to_owned()),
            uid: version.map(|_| "u".to_owned()),
            resource_version: version.map(str::to_owned),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn preconditions(object: &Object) -> (Option<&str>, Option<&str>) {
        let metadata = &object.body().metadata;
        (metadata.uid.as_deref(), metadata.resource_version.as_deref())
    }

    #[test]
    fn each_kind_of_write_carries_its_precondition() {
        let (wanted, live) = (config_map(None), config_map(Some("7")));
        let seen = Seen::of(&live.metadata);
        assert_eq!(preconditions(Create::of(&wanted, IfExists::Done).object()), (None, None));
        assert_eq!(preconditions(Apply::of(&wanted, None).object()), (None, None));
        assert_eq!(preconditions(Apply::of(&wanted, Some(&live)).object()), (Some("u"), None));
        assert_eq!(preconditions(Replace::of(&wanted, &live).object()), (Some("u"), Some("7")));
        let patch = |compare| MergePatch::of::<ConfigMap>(&seen, compare, json!({ "labels": { "a": null } }));
        assert_eq!(patch(Compare::Uid).body(), &json!({ "metadata": { "uid": "u", "labels": { "a": null } } }));
        let strict = json!({ "metadata": { "uid": "u", "resourceVersion": "7", "labels": { "a": null } } });
        assert_eq!(patch(Compare::Version).body(), &strict);
        let growth = MergePatch::growth(&seen, &Quantity("2Gi".to_owned()));
        let wanted = json!({
            "metadata": { "uid": "u", "resourceVersion": "7" },
            "spec": { "resources": { "requests": { "storage": "2Gi" } } },
        });
        assert_eq!((growth.body(), growth.resource().kind.as_str()), (&wanted, "PersistentVolumeClaim"));
        let delete = |compare| Delete::of::<ConfigMap>(&seen, compare);
        assert_eq!((delete(Compare::Uid).uid(), delete(Compare::Uid).version()), ("u", None));
        assert_eq!((delete(Compare::Version).uid(), delete(Compare::Version).version()), ("u", Some("7")));
        assert_eq!((Evict::of(&seen).name(), Evict::of(&seen).uid()), ("demo", "u"));
    }

    #[test]
    #[should_panic(expected = "a create never names an incarnation")]
    fn a_create_of_an_observed_object_is_a_planner_error() {
        let _ = Create::of(&config_map(Some("7")), IfExists::Done);
    }

    #[test]
    #[should_panic(expected = "a patch changes only labels and annotations")]
    fn a_patch_of_the_spec_is_a_planner_error() {
        let seen = Seen::of(&config_map(Some("7")).metadata);
        let _ = MergePatch::of::<ConfigMap>(&seen, Compare::Version, json!({ "finalizers": [] }));
    }
}
