//! Retained volumes: those of an earlier RaftCluster of the same name. Owns whether a new RaftCluster takes them up, and
//! what is reported if it does not. Does not own how members are started on them (`bootstrap.rs`), nor whether they
//! have a quorum, which the members decide.

use std::collections::BTreeMap;

use crds::Reason;
use crds::raft_cluster::Bootstrap;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::decision::Note;
use crate::identity::{ClusterIdentity, Origin, namespace_of};
use crate::ids::ClusterId;
use crate::names;
use crate::observed::{Observed, annotation, label};
use crate::pointer::{self, Known};
use crate::restore;
use crate::roster::{is_of_removed, is_used, stays};
use crate::validated::ValidatedCluster;

/// Maximum number of claims that a message names for each cluster.
const CLAIMS_NAMED_MAX: usize = 5;

/// What becomes of retained volumes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Retained {
    /// There are none, except volumes of removed members and volumes that never held data.
    Nothing,
    /// All of them are being deleted. The new cluster waits for this.
    Going(Note),
    /// They are taken up.
    TakenUp(Box<Known>),
    /// They are not taken up, and nothing is created.
    Refused(Note),
}

/// A volume claim with data of an earlier cluster.
struct Claim<'c> {
    name: &'c str,
    cluster: Option<ClusterId>,
    member: Option<&'c str>,
    volume: &'c PersistentVolumeClaim,
}

/// Decides whether retained volumes are taken up. It must be certain that they belong together: that all are of one
/// cluster, that none is a copy or is about to go, and that the spec wants this cluster.
pub(crate) fn judge(valid: &ValidatedCluster<'_>, observed: &Observed) -> Retained {
    let claims = claims(observed);
    let wanted = pointer::asked_for(observed);
    if !claims.is_empty() && claims.iter().all(Claim::is_going) {
        let names: Vec<&str> = claims.iter().map(|claim| claim.name).collect();
        return Retained::Going(Note::new(Reason::RetainedVolumes, format!("{} are being deleted", names.join(", "))));
    }
    let outcome = match wanted {
        Some(cluster) => chosen(&claims, cluster, observed),
        None if claims.is_empty() => return Retained::Nothing,
        None => unasked(&claims, valid, observed),
    };
    match outcome {
        Ok(known) => Retained::TakenUp(Box::new(known)),
        Err(why) => Retained::Refused(Note::new(Reason::RetainedVolumes, message(&claims, &why))),
    }
}

/// All claims with data, except those of removed members.
fn claims(observed: &Observed) -> Vec<Claim<'_>> {
    let volumes = observed.members.values().filter_map(|member| member.volume.as_ref());
    let volumes = volumes.filter(|volume| !is_of_removed(volume));
    let with_data = volumes.filter(|volume| is_used(volume) || pointer::cluster_of(volume).is_some());
    with_data
        .map(|volume| Claim {
            name: volume.metadata.name.as_deref().unwrap_or_default(),
            cluster: pointer::cluster_of(volume),
            member: label(&volume.metadata, names::LABEL_MEMBER_ID),
            volume,
        })
        .collect()
}

impl Claim<'_> {
    /// Returns whether the claim is being deleted, or is about to be collected with a deleted StatefulSet.
    fn is_going(&self) -> bool {
        !stays(self.volume)
    }

    /// Returns whether the operator wrote this very claim. A copied or restored claim may hold older data than its member
    /// has acknowledged.
    fn is_original(&self) -> bool {
        annotation(&self.volume.metadata, names::ANNOTATION_CLAIM_UID) == self.volume.metadata.uid.as_deref()
    }
}

/// The identity for the volumes of the cluster that the spec asks for.
///
/// # Errors
/// Returns the reason why they are not taken up.
fn chosen(claims: &[Claim<'_>], cluster: ClusterId, observed: &Observed) -> Result<Known, String> {
    let chosen: Vec<&Claim<'_>> = claims.iter().filter(|claim| claim.cluster == Some(cluster)).collect();
    if chosen.is_empty() {
        return Err(format!(
            "bootstrap.takeUp asks for cluster {cluster}, of which there is no claim: correct or remove it"
        ));
    }
    identity(&chosen, cluster, observed)
}

/// The identity for all volumes, if the spec does not choose a cluster.
///
/// # Errors
/// Returns the reason why they are not taken up.
fn unasked(claims: &[Claim<'_>], valid: &ValidatedCluster<'_>, observed: &Observed) -> Result<Known, String> {
    let cluster = claims[0].cluster;
    let Some(cluster) = cluster.filter(|_| claims.iter().all(|claim| claim.cluster == cluster)) else {
        return Err("they do not name one cluster".to_owned());
    };
    if let Some(copy) = claims.iter().find(|claim| !claim.is_original()) {
        let (name, key) = (copy.name, names::ANNOTATION_CLAIM_UID);
        return Err(format!("{name} does not carry its own UID ({key}), as if it had been copied or restored"));
    }
    let known = identity(&claims.iter().collect::<Vec<_>>(), cluster, observed)?;
    match &valid.spec.bootstrap {
        Some(bootstrap) if !began_with(&known.identity, bootstrap, restore::origin(valid, observed).ok()) => {
            Err(format!(
                "cluster {cluster} did not begin as spec.bootstrap says: to start on its volumes nevertheless, remove spec.bootstrap"
            ))
        }
        Some(_) | None => Ok(known),
    }
}

/// The identity of the cluster to which the claims belong.
///
/// # Errors
/// Returns what is wrong with one of the claims, or that the Secret is missing.
fn identity(claims: &[&Claim<'_>], cluster: ClusterId, observed: &Observed) -> Result<Known, String> {
    if let Some(going) = claims.iter().find(|claim| claim.is_going()) {
        return Err(format!("{} is being deleted", going.name));
    }
    let mut members = BTreeMap::new();
    for claim in claims {
        let Some(member) = claim.member else { return Err(format!("{} names no member", claim.name)) };
        if let Some(other) = members.insert(member, claim.name) {
            return Err(format!("{other} and {} hold the data of one member: delete the copy", claim.name));
        }
    }
    debug_assert_eq!(members.len(), claims.len(), "no two claims are of one member");
    let known = pointer::by_id(observed, cluster).ok_or_else(|| {
        let early = names::early_identity(observed.cluster.metadata.name.as_deref().unwrap_or_default());
        format!(
            "the Secret {early}-{} with the identity of cluster {cluster} does not exist: restore it from a copy, without its ownerReferences",
            cluster.digits()
        )
    })?;
    stays_in_its_namespace(&known, observed)?;
    // No member is bootstrapped: a blank member in the place of a first voter would form the cluster a second time.
    let identity = ClusterIdentity { voters: Some(Vec::new()), ..known.identity };
    Ok(Known { identity, ..known })
}

/// The addresses of members contain the namespace, and are part of the configuration on each volume.
///
/// # Errors
/// Returns an error if the cluster is of another namespace. Its members would call those that may still run there.
fn stays_in_its_namespace(known: &Known, observed: &Observed) -> Result<(), String> {
    let own = observed.cluster.metadata.namespace.as_deref();
    let noted = pointer::read(observed, &known.secret).and_then(namespace_of);
    match noted.filter(|noted| Some(*noted) != own) {
        Some(other) => Err(format!(
            "{} is a copy from namespace {other}, and members on copied volumes would call the members in that namespace and vote with them: restore a backup instead",
            known.secret
        )),
        None => Ok(()),
    }
}

/// Returns whether the cluster began as the spec says. An earlier version noted only the place of the backup.
fn began_with(identity: &ClusterIdentity, bootstrap: &Bootstrap, resolved: Option<Origin>) -> bool {
    match &identity.bootstrap {
        Some(noted) => noted == bootstrap,
        None => identity.origin != Origin::Empty && resolved.as_ref() == Some(&identity.origin),
    }
}

/// Lists the claims by cluster ID, and says why they are not taken up and what a person can do.
fn message(claims: &[Claim<'_>], why: &str) -> String {
    let mut by_cluster: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for claim in claims {
        let cluster = claim.cluster.map_or_else(|| "unknown".to_owned(), |cluster| cluster.to_string());
        by_cluster.entry(cluster).or_default().push(claim.name);
    }
    let list = by_cluster.iter().map(|(cluster, claims)| {
        let named = claims.iter().take(CLAIMS_NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
        let rest = claims.len().saturating_sub(CLAIMS_NAMED_MAX);
        let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
        format!("cluster {cluster}: {named}{rest}")
    });
    let list: Vec<String> = list.collect();
    let list = if list.is_empty() { "none".to_owned() } else { list.join("; ") };
    format!(
        "retained volumes are not taken up, because {why}. Set spec.bootstrap.takeUp.clusterID to the cluster whose volumes to start on, in place of spec.bootstrap.restore; or restore a backup into a RaftCluster with a new name; or delete the claims to start empty. To delete a claim, mark it first: kubectl annotate persistentvolumeclaim NAME raftoperator.io/allow-deletion=true. Claims of this name: {list}"
    )
}
