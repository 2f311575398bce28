//! Which Secret holds a cluster's identity. Owns how the identity is found: by the pointer, which is an annotation of the
//! members' Service; without it by the Secret of an earlier version; else by what claims and members report. Does not own
//! the Secret's format (`identity.rs`), nor when the pointer is written (`secret.rs`). The reasons are in
//! `operator/docs/decisions/identity.md`.
//!
//! Secrets cannot be listed, because the operator has no right to. Each is read by its name, which follows from the
//! pointer or from the ID of a cluster.

use std::collections::BTreeSet;

use crds::raft_cluster::VolumeFate;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::identity::{ClusterIdentity, FirstVoter, IdentityError};
use crate::ids::ClusterId;
use crate::names;
use crate::observed::member::{Answer, Report};
use crate::observed::{Observed, annotation, label};

/// Maximum number of clusters whose Secrets are read in a pass without a pointer.
const CLUSTERS_MAX: usize = 8;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The cluster has this identity.
    Known(Box<Known>),
    /// The cluster had an identity that is not known any more; the text says why.
    Lost(String),
    /// The cluster has no identity yet: it has neither a pointer nor StatefulSets, and no leader was noted.
    Nothing,
}

/// An identity, and where it was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// The identity.
    pub identity: ClusterIdentity,
    /// Name of the Secret that was read.
    pub secret: String,
}

impl Found {
    /// The identity, if it is known.
    #[must_use]
    pub fn identity(&self) -> Option<&ClusterIdentity> {
        match self {
            Self::Known(known) => Some(&known.identity),
            Self::Lost(_) | Self::Nothing => None,
        }
    }
}

/// The name of the next Secret to read, given those that were read so far; `None` if no other one is needed. Usually one
/// Secret is read in a pass, and never more than a small number.
#[must_use]
pub fn unread(observed: &Observed) -> Option<String> {
    candidates(observed).into_iter().find(|name| !observed.identities.contains_key(name))
}

/// Finds the identity.
///
/// # Errors
/// Returns an error if the Secret exists and cannot be read as an identity. Nothing is done for the cluster.
pub fn find(observed: &Observed) -> Result<Found, IdentityError> {
    if let Some(pointer) = pointer(observed) {
        return follow(observed, pointer);
    }
    let early = names::early_identity(cluster_name(observed));
    if let Some(secret) = read(observed, &early).filter(|secret| observed.owns(&secret.metadata)) {
        let identity = with_voters(ClusterIdentity::from_secret(secret)?, observed);
        return Ok(Found::Known(Box::new(Known { identity, secret: early })));
    }
    let noted =
        note(observed, names::ANNOTATION_FORMED).is_some() || note(observed, names::ANNOTATION_IDENTITY).is_some();
    if !noted && !own_members(observed).any(|member| member.set.is_some()) {
        return Ok(Found::Nothing);
    }
    Ok(match witnesses(observed).into_iter().collect::<Vec<_>>().as_slice() {
        [] => Found::Lost(format!("{}, and no claim or member names the cluster", pointer_is_gone(observed))),
        [cluster] => match by_id(observed, *cluster) {
            Some(known) => Found::Known(Box::new(known)),
            None => Found::Lost(format!(
                "{}, and so is the Secret {} of cluster {cluster}",
                pointer_is_gone(observed),
                names::identity(cluster_name(observed), &cluster.digits(), VolumeFate::Retain)
            )),
        },
        several => {
            let several = several.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            Found::Lost(format!(
                "{}, and claims and members name several clusters: {several}",
                pointer_is_gone(observed)
            ))
        }
    })
}

/// The identity of the cluster with this ID, from a Secret that is not about to be collected with an earlier RaftCluster.
#[must_use]
pub(crate) fn by_id(observed: &Observed, cluster: ClusterId) -> Option<Known> {
    let stays = |secret: &&Secret| {
        secret.metadata.owner_references.as_ref().is_none_or(Vec::is_empty) || observed.owns(&secret.metadata)
    };
    names_of(observed, &cluster.digits()).into_iter().find_map(|secret| {
        let identity = ClusterIdentity::from_secret(read(observed, &secret).filter(stays)?).ok()?;
        let identity = (identity.cluster == cluster).then(|| with_voters(identity, observed))?;
        Some(Known { identity, secret })
    })
}

/// The pointer; `None` if there is none, or none that can be the name of such a Secret.
#[must_use]
pub fn pointer(observed: &Observed) -> Option<&str> {
    let (cluster, pointer) = (cluster_name(observed), note(observed, names::ANNOTATION_IDENTITY)?);
    let is_name = pointer == names::early_identity(cluster) || names::digits_of_identity(cluster, pointer).is_some();
    is_name.then_some(pointer)
}

/// Returns whether a Secret has the fate that the spec wants for the volumes: without an owner it stays when the
/// RaftCluster is deleted, and with this RaftCluster as its owner it goes.
#[must_use]
pub(crate) fn fits(observed: &Observed, secret: &Secret) -> bool {
    let cluster = cluster_name(observed);
    let name = secret.metadata.name.as_deref().unwrap_or_default();
    match observed.cluster.spec.storage.retention.when_deleted {
        VolumeFate::Retain => {
            let is_free = secret.metadata.owner_references.as_ref().is_none_or(Vec::is_empty);
            is_free && names::digits_of_identity(cluster, name).is_some()
        }
        VolumeFate::Delete => observed.owns(&secret.metadata),
    }
}

/// Returns whether every Secret with the identity goes with the RaftCluster although the volumes are to stay. A volume
/// without the identity of its cluster is lost.
#[must_use]
pub(crate) fn goes(observed: &Observed) -> bool {
    let retains = observed.cluster.spec.storage.retention.when_deleted == VolumeFate::Retain;
    let Ok(Found::Known(known)) = find(observed) else { return false };
    let stays = |name: String| {
        let identity = read(observed, &name).filter(|secret| fits(observed, secret)).map(ClusterIdentity::from_secret);
        identity.is_some_and(|found| found.is_ok_and(|found| found.cluster == known.identity.cluster))
    };
    retains && !names_of(observed, &known.identity.cluster.digits()).into_iter().any(stays)
}

/// The Secret of this name, if it was read and exists.
#[must_use]
pub(crate) fn read<'o>(observed: &'o Observed, name: &str) -> Option<&'o Secret> {
    observed.identities.get(name)?.as_ref()
}

/// The ID of the cluster whose volumes the spec asks to take up.
#[must_use]
pub(crate) fn asked_for(observed: &Observed) -> Option<ClusterId> {
    observed.cluster.spec.bootstrap.as_ref()?.take_up.as_ref()?.cluster_id.parse().ok()
}

/// The ID of the cluster whose data a volume holds, according to its label.
#[must_use]
pub(crate) fn cluster_of(volume: &PersistentVolumeClaim) -> Option<ClusterId> {
    label(&volume.metadata, names::LABEL_CLUSTER_ID)?.parse().ok()
}

/// Names of the Secrets that may hold the identity, in the order in which they are read.
fn candidates(observed: &Observed) -> Vec<String> {
    let cluster = cluster_name(observed);
    let Some(pointer) = pointer(observed) else {
        let early = names::early_identity(cluster);
        // A copy of it may exist already, although nothing else names its cluster yet.
        let own = read(observed, &early).filter(|secret| observed.owns(&secret.metadata));
        let own = own.and_then(|secret| ClusterIdentity::from_secret(secret).ok()).map(|identity| identity.cluster);
        let mut ids: Vec<ClusterId> = own.into_iter().chain(asked_for(observed)).collect();
        let others: Vec<ClusterId> = witnesses(observed).into_iter().filter(|id| !ids.contains(id)).collect();
        ids.extend(others);
        let ids = ids.into_iter().take(CLUSTERS_MAX);
        let mut names = vec![early];
        names.extend(ids.flat_map(|id| names_of(observed, &id.digits())));
        // The Secret that an earlier pass created, if the pointer was refused.
        let drawn = ClusterId(observed.entropy.cluster_id).digits();
        names.push(names::identity(cluster, &drawn, observed.cluster.spec.storage.retention.when_deleted));
        debug_assert!(names.len() <= 5 + 3 * CLUSTERS_MAX, "few Secrets are read in a pass");
        return names;
    };
    let mut names = vec![pointer.to_owned()];
    // The other names matter only if the Secret is missing, or has another fate than the volumes.
    if let Some(found) = observed.identities.get(pointer) {
        let identity = found.as_ref().and_then(|secret| ClusterIdentity::from_secret(secret).ok());
        let digits = identity.as_ref().map(|identity| identity.cluster.digits());
        let is_enough = identity.is_some() && found.as_ref().is_some_and(|secret| fits(observed, secret));
        let digits = digits.or_else(|| names::digits_of_identity(cluster, pointer).map(str::to_owned));
        names.extend(digits.filter(|_| !is_enough).into_iter().flat_map(|digits| names_of(observed, &digits)));
    }
    names
}

/// Names of the Secrets that may hold the identity of a cluster whose ID begins with `digits`.
fn names_of(observed: &Observed, digits: &str) -> [String; 3] {
    let cluster = cluster_name(observed);
    let [free, owned] = [VolumeFate::Retain, VolumeFate::Delete].map(|fate| names::identity(cluster, digits, fate));
    [free, owned, names::early_identity(cluster)]
}

/// The identity to which the pointer points. If the Secret of that name is gone, another Secret of the same cluster counts.
fn follow(observed: &Observed, pointer: &str) -> Result<Found, IdentityError> {
    let digits = names::digits_of_identity(cluster_name(observed), pointer);
    let mut error = None;
    for name in candidates(observed) {
        let Some(secret) = read(observed, &name) else { continue };
        match ClusterIdentity::from_secret(secret) {
            Ok(identity) if digits.is_none_or(|digits| identity.cluster.digits() == digits) => {
                let identity = with_voters(identity, observed);
                return Ok(Found::Known(Box::new(Known { identity, secret: name })));
            }
            Ok(_) => {}
            Err(unreadable) => error = error.or(Some(unreadable)),
        }
    }
    match error {
        Some(error) => Err(error),
        None => Ok(Found::Lost(format!("Secret {pointer} is gone"))),
    }
}

/// Adds the first voters. They are those that the annotation of the members' Service names, else those that an earlier
/// version wrote into the Secret. Without either they are not known any more, because the annotation is written together
/// with the pointer; no member is bootstrapped then.
fn with_voters(identity: ClusterIdentity, observed: &Observed) -> ClusterIdentity {
    let noted = note(observed, names::ANNOTATION_FIRST_VOTERS);
    let voters = match noted.map(serde_json::from_str::<Option<Vec<FirstVoter>>>) {
        Some(Ok(None)) if !was_formed(&identity, observed) => None,
        Some(Ok(Some(voters))) => Some(voters),
        // A list that a person damaged, or one of before the cluster was formed.
        Some(Ok(None) | Err(_)) => Some(Vec::new()),
        None => Some(identity.voters.clone().unwrap_or_default()),
    };
    ClusterIdentity { voters, ..identity }
}

/// Returns whether something shows that the cluster was formed. A person may have restored the Service as it was before.
fn was_formed(identity: &ClusterIdentity, observed: &Observed) -> bool {
    let holds = |volume: &PersistentVolumeClaim| cluster_of(volume) == Some(identity.cluster);
    note(observed, names::ANNOTATION_FORMED).is_some()
        || observed.members.values().any(|member| member.volume.as_ref().is_some_and(holds))
        || reports(observed).any(|report| report.cluster == Some(identity.cluster))
}

/// IDs of the clusters that the note about the first leader, claims and members' answers name.
fn witnesses(observed: &Observed) -> BTreeSet<ClusterId> {
    let noted = note(observed, names::ANNOTATION_FORMED).and_then(|text| text.parse().ok());
    let claims = observed.members.values().filter_map(|member| cluster_of(member.volume.as_ref()?));
    noted.into_iter().chain(claims).chain(reports(observed).filter_map(|report| report.cluster)).collect()
}

/// Answers of members whose StatefulSet this RaftCluster owns.
fn reports(observed: &Observed) -> impl Iterator<Item = &Report> {
    own_members(observed).filter_map(|member| match &member.answer {
        Some(Answer::Report(report)) => Some(&**report),
        Some(Answer::Silent { .. }) | None => None,
    })
}

fn own_members(observed: &Observed) -> impl Iterator<Item = &crate::observed::ObservedMember> {
    let is_own = |set: &k8s_openapi::api::apps::v1::StatefulSet| observed.owns(&set.metadata);
    observed.members.values().filter(move |member| member.set.as_ref().is_some_and(is_own))
}

/// An annotation of the members' Service, if this RaftCluster owns the Service.
pub(crate) fn note<'o>(observed: &'o Observed, key: &str) -> Option<&'o str> {
    annotation(own_service(observed)?, key)
}

/// The members' Service, if this RaftCluster owns it.
pub(crate) fn own_service(observed: &Observed) -> Option<&ObjectMeta> {
    let service = observed.services.members.as_ref().map(|service| &service.metadata);
    service.filter(|service| observed.owns(service))
}

fn pointer_is_gone(observed: &Observed) -> String {
    let service = names::member_service(cluster_name(observed));
    format!(
        "the annotation {} of Service {service}, which names the Secret with the identity, is gone",
        names::ANNOTATION_IDENTITY
    )
}

fn cluster_name(observed: &Observed) -> &str {
    observed.cluster.metadata.name.as_deref().unwrap_or_default()
}
