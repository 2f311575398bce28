//! A consistent spec, with its defaults resolved. Owns the refusal of specs that are wrong in a way that admission
//! cannot detect, or that an older definition of the resource admitted. Does not own any decision about a cluster.

use std::time::Duration;

use crds::raft_cluster::{RaftClusterSpec, VolumeFate};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube_core::Resource;

use crate::completed::CompletedRollout;
use crate::names::{self, Ordinal};
use crate::observed::member::MemberInfo;
use crate::observed::{Observed, image_of, image_pull_policy_of};
use crate::pointer;
use crate::quantity;

const MEBIBYTE: u64 = 1 << 20;
/// Bytes that a member needs in addition to twice its quota.
const OVERHEAD_BYTES: u64 = 256 * MEBIBYTE;
/// Largest default quota.
const DEFAULT_QUOTA_BYTES_MAX: u64 = 8 << 30;
/// Default quota of members without a memory limit.
const DEFAULT_QUOTA_BYTES: u64 = 2 << 30;
/// Smallest quota that a member accepts.
const QUOTA_BYTES_MIN: u64 = 16 * MEBIBYTE;

/// Default of `spec.rollout.minReadySeconds`.
const MIN_READY: Duration = Duration::from_secs(10);
/// Default of `spec.rollout.progressDeadline`.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(15 * 60);

/// Maximum drift between members' clocks during a lease.
const CLOCK_DRIFT: Duration = Duration::from_millis(50);

/// A RaftCluster whose spec is valid.
#[derive(Clone, Debug)]
pub struct ValidatedCluster<'a> {
    /// Name of the RaftCluster.
    pub name: &'a str,
    /// Namespace of the RaftCluster.
    pub namespace: &'a str,
    /// Spec of the RaftCluster, as the user wrote it.
    pub spec: &'a RaftClusterSpec,
    /// Owner reference for every created object, so that Kubernetes collects the object with the cluster.
    pub owner: OwnerReference,
    /// Generation of the RaftCluster if its spec stops the cluster.
    pub stopped_since: Option<i64>,
    /// Desired number of voters; odd, at least 1.
    pub voters: usize,
    /// Desired number of learners.
    pub learners: usize,
    /// Image of the members.
    pub image: String,
    /// Pull policy of the members; `None` for the default of Kubernetes.
    pub image_pull_policy: Option<String>,
    /// Maximum size of keys and history, in bytes.
    pub quota_bytes: u64,
    /// Time for which a member must have been silent before it is replaced.
    pub replacement_delay: Duration,
    /// Maximum number of members replaced at the same time; 0: replacement is off.
    pub replacements_max: usize,
    /// Time that a restarted member must serve before the next one restarts.
    pub min_ready: Duration,
    /// Time within which a restarted member must serve.
    pub progress_deadline: Duration,
    /// The last completed rollout; `None` if none was recorded.
    pub completed: Option<CompletedRollout>,
    /// Whether every Secret with the identity goes with the RaftCluster although the volumes are to stay.
    pub identity_goes: bool,
}

/// The error for a spec that cannot be carried out. It names the field, the problem and the remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidSpec {
    field: &'static str,
    problem: String,
}

impl<'a> ValidatedCluster<'a> {
    /// Checks the spec of the observed cluster and resolves its defaults.
    ///
    /// # Errors
    /// Returns an error that names the first field that contradicts another field or is out of range. Nothing is done
    /// for the cluster.
    pub fn parse(observed: &'a Observed) -> Result<Self, InvalidSpec> {
        let cluster = &observed.cluster;
        let spec = &cluster.spec;
        let name = cluster.metadata.name.as_deref().unwrap_or_default();
        let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
        let owner = cluster
            .controller_owner_ref(&())
            .ok_or_else(|| invalid("metadata", "has no name or UID: it was never created".to_owned()))?;
        check_name(name)?;
        check_timing(spec)?;
        let (voters, learners) = electorate(spec)?;
        assert!(voters % 2 == 1, "an even number of voters tolerates no more failures than one less");
        assert!(
            i32::try_from(voters + learners).is_ok_and(|total| total == spec.replicas),
            "every replica votes or learns"
        );
        let completed = CompletedRollout::read(observed);
        let rollout = &spec.rollout;
        let min_ready = rollout.min_ready_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Ok(Self {
            name,
            namespace,
            spec,
            owner,
            stopped_since: spec.stopped.then(|| cluster.metadata.generation.unwrap_or_default()),
            voters,
            learners,
            image: image(observed, completed.as_ref()),
            image_pull_policy: image_pull_policy(observed, completed.as_ref()),
            quota_bytes: quota(spec)?,
            replacement_delay: spec.replacement.delay.into(),
            replacements_max: if spec.replacement.enabled {
                usize::try_from(spec.replacement.max_concurrent).unwrap_or(1).max(1)
            } else {
                0
            },
            min_ready: min_ready.map_or(MIN_READY, Duration::from_secs),
            progress_deadline: rollout.progress_deadline.map_or(PROGRESS_DEADLINE, Duration::from),
            completed,
            identity_goes: pointer::goes(observed),
        })
    }

    /// The same cluster with the settings of `spec`, which the last completed rollout recorded.
    pub(crate) fn with_recorded<'s>(
        &'s self,
        spec: &'s RaftClusterSpec,
        completed: &CompletedRollout,
    ) -> ValidatedCluster<'s> {
        ValidatedCluster {
            spec,
            image: completed.image.clone(),
            image_pull_policy: completed.image_pull_policy.clone(),
            quota_bytes: quota(spec).unwrap_or(self.quota_bytes),
            ..self.clone()
        }
    }

    /// Desired number of members.
    #[must_use]
    pub fn total(&self) -> usize {
        self.voters + self.learners
    }

    /// Returns whether a removed member's volume is deleted with the member.
    #[must_use]
    pub fn removed_volumes_go(&self) -> bool {
        self.spec.storage.retention.when_scaled == VolumeFate::Delete
    }
}

/// Desired numbers of voters and learners. The number of voters is the largest odd number that is at most `replicas`
/// and at most `maxVoters`.
fn electorate(spec: &RaftClusterSpec) -> Result<(usize, usize), InvalidSpec> {
    let replicas = usize::try_from(spec.replicas).unwrap_or(0);
    if !(1..=50).contains(&replicas) {
        return Err(invalid("replicas", format!("{} is not from 1 to 50", spec.replicas)));
    }
    let most = usize::try_from(spec.max_voters).unwrap_or(0);
    if !(1..=9).contains(&most) || most % 2 == 0 {
        return Err(invalid("maxVoters", format!("{} is not 1, 3, 5, 7 or 9", spec.max_voters)));
    }
    let least = replicas.min(most);
    let voters = if least % 2 == 0 { least - 1 } else { least };
    Ok((voters, replicas - voters))
}

fn check_name(name: &str) -> Result<(), InvalidSpec> {
    let fits = name.len() <= crds::CLUSTER_NAME_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    if fits {
        return Ok(());
    }
    let problem = format!(
        "{name:?} does not fit: at most {} characters, starting with a letter, of lower-case letters, digits and '-'; create the cluster under another name",
        crds::CLUSTER_NAME_MAX
    );
    Err(invalid("metadata.name", problem))
}

fn check_timing(spec: &RaftClusterSpec) -> Result<(), InvalidSpec> {
    let heartbeat: Duration = spec.raft.heartbeat_interval.into();
    let election: Duration = spec.raft.election_timeout.into();
    let lease: Duration = spec.raft.leader_lease.into();
    if heartbeat.is_zero() || heartbeat * 2 > election {
        let problem = format!("{election:?} is less than twice the heartbeat interval of {heartbeat:?}: raise it");
        return Err(invalid("raft.electionTimeout", problem));
    }
    if lease.is_zero() || lease + CLOCK_DRIFT >= election {
        let problem = format!(
            "{lease:?} plus {CLOCK_DRIFT:?} of clock drift is not shorter than the election timeout of {election:?}: lower it"
        );
        return Err(invalid("raft.leaderLease", problem));
    }
    Ok(())
}

/// Returns the quota of the spec. If the spec sets none, returns the largest quota that the memory limit allows, at
/// most 8 GiB. If there is no memory limit either, returns 2 GiB.
fn quota(spec: &RaftClusterSpec) -> Result<u64, InvalidSpec> {
    let limit = spec.resources.as_ref().and_then(|resources| resources.limits.as_ref()?.get("memory"));
    let limit = match limit {
        None => None,
        Some(text) => Some(
            quantity::bytes(text)
                .ok_or_else(|| invalid("resources.limits.memory", format!("{:?} is not an amount", text.0)))?,
        ),
    };
    let largest = limit.map(|limit| limit.saturating_sub(OVERHEAD_BYTES) / 2);
    match &spec.quota {
        Some(text) => {
            let quota =
                quantity::bytes(text).ok_or_else(|| invalid("quota", format!("{:?} is not an amount", text.0)))?;
            match largest {
                Some(largest) if quota > largest => {
                    let problem = format!(
                        "{quota} bytes need a memory limit of at least {} bytes (twice the quota plus 256Mi): lower the quota or raise the limit",
                        quota.saturating_mul(2).saturating_add(OVERHEAD_BYTES)
                    );
                    Err(invalid("quota", problem))
                }
                _ => Ok(quota),
            }
        }
        None => match largest {
            Some(largest) if largest < QUOTA_BYTES_MIN => Err(invalid(
                "resources.limits.memory",
                "is too small for any quota: raise it to at least 320Mi".to_owned(),
            )),
            Some(largest) => Ok(largest.min(DEFAULT_QUOTA_BYTES_MAX)),
            None => Ok(DEFAULT_QUOTA_BYTES),
        },
    }
}

/// Returns the image of the spec. If the spec names none, returns the image of the last completed rollout, so that
/// removing an image from the spec takes it back. If no rollout was recorded, returns the image of this cluster's newest
/// member, so that a new operator restarts no member. If the cluster has no members, returns the operator's default.
fn image(observed: &Observed, completed: Option<&CompletedRollout>) -> String {
    if let Some(image) = &observed.cluster.spec.image {
        return image.clone();
    }
    let recorded = completed.map(|completed| completed.image.as_str());
    let known = recorded.or_else(|| running(observed).find_map(image_of));
    known.map_or_else(|| observed.operator.node_image.clone(), str::to_owned)
}

/// Returns the pull policy of the spec. If the spec names none, returns the policy of the last completed rollout, unless
/// the spec of that time named it, so that removing a policy from the spec has an effect. If no rollout was recorded,
/// returns the policy of this cluster's newest member. If the cluster has no members, returns the operator's default.
fn image_pull_policy(observed: &Observed, completed: Option<&CompletedRollout>) -> Option<String> {
    if let Some(policy) = observed.cluster.spec.image_pull_policy {
        return Some(policy.as_str().to_owned());
    }
    if let Some(completed) = completed {
        let was_asked_for = completed.settings.as_ref().is_some_and(|it| it.get("imagePullPolicy").is_some());
        let found =
            if was_asked_for { &observed.operator.node_image_pull_policy } else { &completed.image_pull_policy };
        return found.clone();
    }
    match running(observed).find(|set| image_of(set).is_some()) {
        Some(set) => image_pull_policy_of(set).map(str::to_owned),
        None => observed.operator.node_image_pull_policy.clone(),
    }
}

/// StatefulSets that this cluster owns, the newest first.
fn running(observed: &Observed) -> impl Iterator<Item = &StatefulSet> {
    let sets = observed.members.values().rev().filter_map(|member| member.set.as_ref());
    sets.filter(|set| observed.owns(&set.metadata))
}

/// Name and addresses of a member.
pub(crate) fn info(valid: &ValidatedCluster<'_>, ordinal: Ordinal) -> MemberInfo {
    MemberInfo {
        name: names::member(valid.name, ordinal),
        peer_url: names::peer_url(valid.name, valid.namespace, ordinal),
        client_url: names::client_url(valid.name, valid.namespace, ordinal),
    }
}

fn invalid(field: &'static str, problem: String) -> InvalidSpec {
    InvalidSpec { field, problem }
}
