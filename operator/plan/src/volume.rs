//! A member's volume as its claim, its StatefulSet and the spec describe it. Owns what counts as the size and as the
//! StorageClass of a volume (`operator/docs/decisions/volumes.md`). Does not own what follows from a difference to the
//! spec (`growth.rs`, `membership/moving.rs`).

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::names;
use crate::observed::annotation;
use crate::quantity;
use crate::validated::ValidatedCluster;

/// Bytes that the spec asks for; `None` if the text is not a quantity, which admission refuses.
pub(crate) fn wanted(valid: &ValidatedCluster<'_>) -> Option<u64> {
    quantity::bytes(&valid.spec.storage.size)
}

/// Bytes that a claim asks for.
pub(crate) fn requested(claim: &PersistentVolumeClaim) -> Option<u64> {
    let requests = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?;
    bytes_of(requests.get("storage"))
}

/// Bytes that the volume of a bound claim has; `None` if the claim is not bound. Kubernetes expands only the volume of a
/// bound claim.
pub(crate) fn capacity(claim: &PersistentVolumeClaim) -> Option<u64> {
    let status = claim.status.as_ref().filter(|status| status.phase.as_deref() == Some("Bound"))?;
    bytes_of(status.capacity.as_ref()?.get("storage"))
}

fn bytes_of(quantity: Option<&Quantity>) -> Option<u64> {
    quantity.and_then(quantity::bytes)
}

/// Returns whether a member's volume is, or will be, of another StorageClass than the spec asks for. If the spec asks for
/// none, every class is right, because only Kubernetes knows the default one.
pub(crate) fn is_misplaced(
    valid: &ValidatedCluster<'_>,
    set: Option<&StatefulSet>,
    claim: Option<&PersistentVolumeClaim>,
) -> bool {
    let Some(wanted) = valid.spec.storage.storage_class_name.as_deref() else { return false };
    let own = || claim.and_then(class_of_claim);
    match set.filter(|set| !is_older(claim, set)).and_then(class_asked_for).or_else(own) {
        Some(class) => class != wanted,
        // Without a claim it is not known yet which class is the default one.
        None => claim.is_some(),
    }
}

/// The StorageClass that a StatefulSet asked for when it was created. The class of the claim may differ, because a
/// webhook may have replaced it; it would do so for every later member, too.
fn class_asked_for(set: &StatefulSet) -> Option<&str> {
    let template = || set.spec.as_ref()?.volume_claim_templates.as_ref()?.first().and_then(class_of_claim);
    annotation(&set.metadata, names::ANNOTATION_STORAGE_CLASS).or_else(template)
}

fn class_of_claim(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.storage_class_name.as_deref()
}

/// Returns whether a claim that has no volume yet asks for another StorageClass or size than the spec. Neither can change
/// before it has one, and it holds no data, therefore no member needs to wait for it.
pub(crate) fn never_fits(valid: &ValidatedCluster<'_>, claim: &PersistentVolumeClaim) -> bool {
    let is_bound = claim.spec.as_ref().is_some_and(|spec| spec.volume_name.is_some());
    let other_size = requested(claim).is_some_and(|asked| wanted(valid).is_some_and(|wanted| asked != wanted));
    !is_bound && (is_misplaced(valid, None, Some(claim)) || other_size)
}

/// Returns whether a claim is older than its StatefulSet, which a person deleted and the operator created again. The
/// claim was then made from another claim template.
fn is_older(claim: Option<&PersistentVolumeClaim>, set: &StatefulSet) -> bool {
    let of_claim = claim.and_then(|claim| claim.metadata.creation_timestamp.as_ref());
    of_claim.zip(set.metadata.creation_timestamp.as_ref()).is_some_and(|(claim, set)| claim < set)
}
