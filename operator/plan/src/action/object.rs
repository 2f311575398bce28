//! An object to apply, of any Kubernetes kind. Owns the conversion of a typed object into an untyped one, so that the
//! shell needs no new branch for a new kind. Does not own the objects' contents (`desired`).

use std::fmt;

use k8s_openapi::NamespaceResourceScope;
use kube_core::Resource;
use kube_core::discovery::ApiResource;
use kube_core::dynamic::DynamicObject;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::observed::Seen;

/// An object to apply, and the observed incarnation of the same object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    resource: ApiResource,
    body: DynamicObject,
    seen: Option<Seen>,
}

impl Object {
    /// Builds the action's object from the desired object. If a live object was observed, `wanted` must carry its UID.
    pub fn of<K>(wanted: &K, live: Option<&K>) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize,
    {
        assert!(wanted.meta().name.is_some(), "an object without a name cannot be applied");
        let uid_of_live = live.and_then(|live| live.meta().uid.as_ref());
        assert_eq!(
            wanted.meta().uid.as_ref(),
            uid_of_live,
            "an apply of an observed object carries its UID, otherwise it could bring a deleted one back"
        );
        let json = serde_json::to_value(wanted).expect("API objects always serialize");
        let body = serde_json::from_value(json).expect("API objects have metadata");
        Self { resource: ApiResource::erase::<K>(&()), body, seen: live.map(|live| Seen::of(live.meta())) }
    }

    /// API group, version, kind and plural name of the object.
    #[must_use]
    pub fn resource(&self) -> &ApiResource {
        &self.resource
    }

    /// The untyped object that is applied.
    #[must_use]
    pub fn body(&self) -> &DynamicObject {
        &self.body
    }

    /// Kind of the object, such as `Service`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.resource.kind
    }

    /// Name of the object.
    #[must_use]
    pub fn name(&self) -> &str {
        self.body.metadata.name.as_deref().unwrap_or_default()
    }

    /// The observed incarnation of the object; `None` if the object did not exist.
    #[must_use]
    pub fn seen(&self) -> Option<&Seen> {
        self.seen.as_ref()
    }

    /// The object as a `K`; `None` if the object is of another kind.
    #[must_use]
    pub fn parse<K>(&self) -> Option<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let same = K::kind(&()) == self.resource.kind && K::api_version(&()) == self.resource.api_version;
        same.then(|| self.body.clone().try_parse().ok()).flatten()
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{ConfigMap, Secret};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn config_map(uid: Option<&str>) -> ConfigMap {
        let metadata = ObjectMeta {
            name: Some("demo".to_owned()),
            uid: uid.map(str::to_owned),
            resource_version: uid.map(|_| "7".to_owned()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, data: Some([("key".to_owned(), "value".to_owned())].into()), ..ConfigMap::default() }
    }

    #[test]
    fn a_kind_that_the_planner_never_used_is_carried_whole() {
        let object = Object::of(&config_map(None), None);
        assert_eq!((object.to_string().as_str(), object.resource().plural.as_str()), ("ConfigMap demo", "configmaps"));
        assert_eq!(object.parse::<ConfigMap>(), Some(config_map(None)));
        assert_eq!(object.parse::<Secret>(), None);
    }

    #[test]
    #[should_panic(expected = "carries its UID")]
    fn an_apply_without_the_uid_of_what_was_observed_is_a_planner_error() {
        let _ = Object::of(&config_map(None), Some(&config_map(Some("u"))));
    }
}
