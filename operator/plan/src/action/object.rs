//! An object to write, of any Kubernetes kind. Owns the conversion of a typed object into an untyped one, so that the
//! shell needs no new branch for a new kind. Does not own the objects' contents (`desired`), nor the precondition under
//! which they are written (`write.rs`).

use std::fmt;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube_core::Resource;
use kube_core::discovery::ApiResource;
use kube_core::dynamic::DynamicObject;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An object to write.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    resource: ApiResource,
    body: DynamicObject,
}

impl Object {
    /// The untyped form of an object.
    pub(super) fn of<K>(object: &K) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Serialize,
    {
        assert!(object.meta().name.is_some(), "an object without a name cannot be written");
        let json = serde_json::to_value(object).expect("API objects always serialize");
        let body = serde_json::from_value(json).expect("API objects have metadata");
        Self { resource: ApiResource::erase::<K>(&()), body }
    }

    /// The object's metadata, for the preconditions of a write.
    pub(super) fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.body.metadata
    }

    /// API group, version, kind and plural name of the object.
    #[must_use]
    pub fn resource(&self) -> &ApiResource {
        &self.resource
    }

    /// The untyped object.
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

    use super::*;

    #[test]
    fn a_kind_that_the_planner_never_used_is_carried_whole() {
        let metadata = ObjectMeta { name: Some("demo".to_owned()), ..ObjectMeta::default() };
        let data = Some([("key".to_owned(), "value".to_owned())].into());
        let config_map = ConfigMap { metadata, data, ..ConfigMap::default() };
        let object = Object::of(&config_map);
        assert_eq!((object.to_string().as_str(), object.resource().plural.as_str()), ("ConfigMap demo", "configmaps"));
        assert_eq!(object.parse::<ConfigMap>(), Some(config_map));
        assert_eq!(object.parse::<Secret>(), None);
    }
}
