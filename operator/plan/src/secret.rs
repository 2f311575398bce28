//! The Secret with the identity, and the pointer to it. Owns which Secrets are created, and when the pointer is written:
//! for a new cluster, after the pointer was lost, and after the fate of the volumes changed. Does not own how an identity
//! is found (`pointer.rs`), nor the Secret's format (`identity.rs`).
//!
//! The pointer is written by compare-and-swap, and only after the Secret exists. Of two operators, one wins; the Secret
//! of the other one is never pointed at and does no harm.

use crds::raft_cluster::VolumeFate;
use k8s_openapi::api::core::v1::Secret;

use crate::action::{Action, ObjectAction};
use crate::identity::ClusterIdentity;
use crate::names::{self, Ordinal};
use crate::observed::{Observed, Seen};
use crate::pointer::{self, Known};
use crate::validated::ValidatedCluster;

/// Creates the Secret of a new identity, and points at it. Creates nothing while the members' Service does not exist,
/// because the pointer is written on this Service.
pub(crate) fn create(valid: &ValidatedCluster<'_>, observed: &Observed, identity: &ClusterIdentity) -> Vec<Action> {
    let Some(service) = pointer::own_service(observed) else { return Vec::new() };
    assert!(pointer::pointer(observed).is_none(), "a cluster gets its identity once");
    let secret = secret_of(valid, identity);
    let name = secret.metadata.name.clone().unwrap_or_default();
    let create = match pointer::read(observed, &name) {
        None => Some(ObjectAction::CreateIdentity(Box::new(secret)).into()),
        // This process created it in an earlier pass, in which the pointer was refused.
        Some(found) if holds(found, identity) => None,
        Some(_) => return Vec::new(),
    };
    create.into_iter().chain([point(observed, Seen::of(service), name, identity)]).collect()
}

/// Keeps the pointer on a Secret with this identity whose fate is that of the volumes. If there is none, creates it: a
/// Secret cannot be changed, and this operator may not delete one.
pub(crate) fn keep(valid: &ValidatedCluster<'_>, observed: &Observed, known: &Known) -> Vec<Action> {
    let Some(service) = pointer::own_service(observed) else { return Vec::new() };
    let mut actions = Vec::new();
    let mut target = known.secret.clone();
    if pointer::read(observed, &known.secret).is_none_or(|secret| !pointer::fits(observed, secret)) {
        let wanted = secret_of(valid, &known.identity);
        let name = wanted.metadata.name.clone().unwrap_or_default();
        match pointer::read(observed, &name) {
            None => {
                actions.push(ObjectAction::CreateIdentity(Box::new(wanted)).into());
                target = name;
            }
            Some(secret) if pointer::fits(observed, secret) && holds(secret, &known.identity) => target = name,
            // Only a person can say what this Secret is. The present one stays in use.
            Some(_) => {}
        }
    }
    if pointer::pointer(observed) != Some(&target) {
        actions.push(point(observed, Seen::of(service), target, &known.identity));
    }
    debug_assert!(actions.len() <= 2, "a pass writes at most one Secret and the pointer to it");
    actions
}

/// The Secret with this identity whose fate is that of the volumes.
fn secret_of(valid: &ValidatedCluster<'_>, identity: &ClusterIdentity) -> Secret {
    let owner = match valid.spec.storage.retention.when_deleted {
        VolumeFate::Retain => None,
        VolumeFate::Delete => Some(valid.owner.clone()),
    };
    identity.to_secret(valid.name, valid.namespace, owner)
}

/// Returns whether a Secret holds this identity.
pub(crate) fn holds(secret: &Secret, identity: &ClusterIdentity) -> bool {
    ClusterIdentity::from_secret(secret)
        .is_ok_and(|found| found.cluster == identity.cluster && found.token == identity.token)
}

fn point(observed: &Observed, service: Seen, secret: String, identity: &ClusterIdentity) -> Action {
    let (voters, last) = (identity.voters.clone(), unnoted_ordinal(observed));
    ObjectAction::PointToIdentity { service, secret, voters, last }.into()
}

/// The highest ordinal in use, if the members' Service does not note one. Without the note, the ordinal of a member that
/// leaves before the next reservation would be used twice.
fn unnoted_ordinal(observed: &Observed) -> Option<Ordinal> {
    if pointer::note(observed, names::ANNOTATION_LAST_ORDINAL).is_some() {
        return None;
    }
    let cluster = observed.cluster.metadata.name.as_deref().unwrap_or_default();
    let configured = observed.configuration.iter().flat_map(|read| read.configuration.members.values());
    let configured = configured.filter_map(|info| names::ordinal_of_member(cluster, &info.name));
    observed.members.keys().copied().chain(configured).max()
}
