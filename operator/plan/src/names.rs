//! Owns every name, label, annotation and port that the operator and other programs share. Does not own any decision.
//!
//! A cluster `demo` has members `demo-1`, `demo-2`, …. Each member has one StatefulSet of the same name, with the pod
//! `demo-1-0` and the volume claim `data-demo-1-0`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use crds::raft_cluster::VolumeFate;

/// Name under which the operator applies fields (server-side apply).
pub const FIELD_MANAGER: &str = "raft-operator";

/// Port of the etcd v3 API.
pub const CLIENT_PORT: i32 = 2379;
/// Port of the peer and admin services.
pub const PEER_PORT: i32 = 2380;
/// Port of metrics and probes.
pub const METRICS_PORT: i32 = 2381;

/// Label of every object that the operator creates: the cluster's name.
pub const LABEL_CLUSTER: &str = "raftoperator.io/cluster";
/// Label of a member's objects: the member's name, such as `demo-1`.
pub const LABEL_MEMBER: &str = "raftoperator.io/member";
/// Label of pods: the member's [`Role`] in the configuration.
pub const LABEL_ROLE: &str = "raftoperator.io/role";
/// Label of volume claims: ID of the cluster whose data the volume holds.
pub const LABEL_CLUSTER_ID: &str = "raftoperator.io/cluster-id";
/// Label of volume claims: ID of the member whose data the volume holds.
pub const LABEL_MEMBER_ID: &str = "raftoperator.io/member-id";
/// Label of volume claims: `true` if the member whose data the volume holds was removed. No member is started on it again.
pub const LABEL_REMOVED: &str = "raftoperator.io/removed";

/// Annotation of volume claims: the claim's own UID, which is written with the labels of its data. A claim that was copied
/// or restored has another UID than the annotation says.
pub const ANNOTATION_CLAIM_UID: &str = "raftoperator.io/claim-uid";
/// Annotation of a member's StatefulSet: the ID under which the member may enter the configuration. It is written
/// once, before the member enters.
pub const ANNOTATION_MEMBER_ID: &str = "raftoperator.io/member-id";
/// Annotation of the StatefulSet of a member that was brought back before it had an ID: UID of the volume claim for
/// which the member was brought back. With another volume the member is never admitted.
pub const ANNOTATION_VOLUME: &str = "raftoperator.io/volume";
/// Annotation of a member's StatefulSet: the StorageClass that it asked for when it was created. Absent if it asked for
/// none. A webhook may have replaced the class in the claim template.
pub const ANNOTATION_STORAGE_CLASS: &str = "raftoperator.io/storage-class";
/// Annotation of the members' Service: the highest ordinal that was ever reserved.
pub const ANNOTATION_LAST_ORDINAL: &str = "raftoperator.io/last-ordinal";
/// Annotation of the members' Service: ID of the cluster. It is written after the cluster had its first leader.
pub const ANNOTATION_FORMED: &str = "raftoperator.io/formed";
/// Annotation of the members' Service: the pointer, which is the name of the Secret with the cluster's identity. Without
/// it no member is created.
pub const ANNOTATION_IDENTITY: &str = "raftoperator.io/identity";
/// Annotation of the members' Service: the voters of the first configuration, as JSON. It is `null` from the pointer until
/// they are chosen, which is before any of them is bootstrapped. An empty list, or no annotation, means that no member is
/// ever bootstrapped.
pub const ANNOTATION_FIRST_VOTERS: &str = "raftoperator.io/first-voters";
/// Annotation of the members' Service: the release whose operator manages the cluster, as namespace and name of its
/// lease.
pub const ANNOTATION_OPERATOR: &str = "raftoperator.io/operator";
/// Annotation of the members' Service: what every member ran when the last rollout was completed
/// ([`crate::completed::CompletedRollout`]).
pub const ANNOTATION_COMPLETED_ROLLOUT: &str = "raftoperator.io/completed-rollout";
/// Annotation of a member's StatefulSet: time of the last change of the member's settings.
pub const ANNOTATION_SETTINGS_SINCE: &str = "raftoperator.io/settings-since";
/// Annotation of a member's StatefulSet: the digest of the settings with which the member has served since it got them. It
/// stays when the pod is created again.
pub const ANNOTATION_TRIAL_ENDED: &str = "raftoperator.io/trial-ended";
/// Annotation of a member's StatefulSet: the digest of the settings that the member got while its pod fitted no machine. It
/// goes when the pod is on a machine.
pub const ANNOTATION_WITHOUT_MACHINE: &str = "raftoperator.io/without-machine";
/// Annotation of a member's StatefulSet in a stopped cluster: the generation of the RaftCluster when it was last written.
pub const ANNOTATION_STOPPED: &str = "raftoperator.io/stopped";
/// Annotation of pods that were restarted with new settings: time at which the operator saw that the member had served
/// for `spec.rollout.minReadySeconds`.
pub const ANNOTATION_SERVED: &str = "raftoperator.io/served";
/// Annotation of a RaftCluster that a person sets to "true": an image of a lower version may be rolled out.
pub const ANNOTATION_ALLOW_DOWNGRADE: &str = "raftoperator.io/allow-downgrade";
/// Annotation of pods: a digest of the settings with which the pod was created.
pub const ANNOTATION_SETTINGS: &str = "raftoperator.io/settings";
/// Annotation of every object that the operator keeps up to date: a digest of what it wrote last. The digest changes
/// when a later version no longer sets a field.
pub const ANNOTATION_APPLIED: &str = "raftoperator.io/applied";
/// Annotation of pod templates: the image as the operator wrote it. A webhook may have replaced the container's image.
pub const ANNOTATION_IMAGE: &str = "raftoperator.io/image";
/// Label of objects that have an owner. GitOps tools take it as ownership: Argo CD deletes an object with this label
/// that is neither in Git nor owned by another object.
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";

/// Name of the volume within a pod, and first part of the name of the volume claim.
pub const VOLUME: &str = "data";

/// Number of digits of the cluster ID in the name of the Secret with the identity.
pub const IDENTITY_DIGITS: usize = 8;
/// Last part of the name of a Secret with an identity that the RaftCluster owns.
const OWNED: &str = "-owned";

/// Name of the member's container in its pod.
pub(crate) const CONTAINER: &str = "raft-node";

/// Value of [`LABEL_ROLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The member votes in either half of the configuration; clients are routed to it.
    Voter,
    /// The member follows without a vote, or is not in the configuration yet.
    Learner,
}

impl Role {
    /// The value of [`LABEL_ROLE`] for this role.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
        }
    }
}

/// A member's number within its cluster, counted from 1. An ordinal is never used for a second member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl Ordinal {
    /// The next `count` numbers after this one; `None` if they exceed 32 bits.
    #[must_use]
    pub fn following(self, count: usize) -> Option<RangeInclusive<u32>> {
        assert!(count > 0, "a range of ordinals is not empty");
        let last = self.0.checked_add(u32::try_from(count).ok()?)?;
        Some(self.0 + 1..=last)
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Name of the member and of its StatefulSet, such as `demo-1`.
#[must_use]
pub fn member(cluster: &str, ordinal: Ordinal) -> String {
    let name = format!("{cluster}-{ordinal}");
    debug_assert_eq!(ordinal_of_member(cluster, &name), Some(ordinal), "an ordinal is read from its name");
    name
}

/// Name of the member's pod, such as `demo-1-0`.
#[must_use]
pub fn pod(cluster: &str, ordinal: Ordinal) -> String {
    format!("{cluster}-{ordinal}-0")
}

/// Name of the member's volume claim, such as `data-demo-1-0`.
#[must_use]
pub fn volume(cluster: &str, ordinal: Ordinal) -> String {
    let name = format!("{VOLUME}-{cluster}-{ordinal}-0");
    debug_assert_eq!(ordinal_of_volume(cluster, &name), Some(ordinal), "an ordinal is read from its volume's name");
    name
}

/// Name of the Service for clients, such as `demo`. It routes to voters only.
#[must_use]
pub fn client_service(cluster: &str) -> String {
    cluster.to_owned()
}

/// Name of the Service for clients that accept stale data, such as `demo-read`. It routes to all members.
#[must_use]
pub fn read_service(cluster: &str) -> String {
    format!("{cluster}-read")
}

/// Name of the Service that gives each member a DNS name, such as `demo-members`.
#[must_use]
pub fn member_service(cluster: &str) -> String {
    format!("{cluster}-members")
}

/// Name of the Secret with the identity of a cluster that an earlier version formed, such as `demo-identity`.
#[must_use]
pub fn early_identity(cluster: &str) -> String {
    format!("{cluster}-identity")
}

/// Name of the Secret with the identity of the cluster whose ID begins with `digits`, such as `demo-identity-0123abcd`,
/// or `demo-identity-0123abcd-owned` if the RaftCluster owns the Secret, so that it goes with the volumes. A Secret keeps
/// its owner, therefore each fate has a name.
#[must_use]
pub fn identity(cluster: &str, digits: &str, fate: VolumeFate) -> String {
    let last = match fate {
        VolumeFate::Retain => "",
        VolumeFate::Delete => OWNED,
    };
    let name = format!("{}-{digits}{last}", early_identity(cluster));
    debug_assert_eq!(digits_of_identity(cluster, &name), Some(digits), "the digits are read from the name");
    name
}

/// First digits of the cluster ID, from the name of the Secret with the identity; `None` if the name is not that of such
/// a Secret.
#[must_use]
pub fn digits_of_identity<'n>(cluster: &str, name: &'n str) -> Option<&'n str> {
    let digits = name.strip_prefix(cluster)?.strip_prefix("-identity-")?;
    let digits = digits.strip_suffix(OWNED).unwrap_or(digits);
    (digits.len() == IDENTITY_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(digits)
}

/// Name of the voters' disruption budget, such as `demo`.
#[must_use]
pub fn budget(cluster: &str) -> String {
    cluster.to_owned()
}

/// Ordinal of the member with this name, which is also the name of its StatefulSet; `None` if no member of this cluster
/// can have this name.
#[must_use]
pub fn ordinal_of_member(cluster: &str, name: &str) -> Option<Ordinal> {
    let digits = name.strip_prefix(cluster)?.strip_prefix('-')?;
    let number: u32 = digits.parse().ok()?;
    // Each number has one spelling, therefore `01` denotes no member of this cluster.
    (number > 0 && number.to_string() == digits).then_some(Ordinal(number))
}

/// Ordinal of the member whose pod has this name.
#[must_use]
pub fn ordinal_of_pod(cluster: &str, name: &str) -> Option<Ordinal> {
    ordinal_of_member(cluster, name.strip_suffix("-0")?)
}

/// Ordinal of the member whose volume claim has this name.
#[must_use]
pub fn ordinal_of_volume(cluster: &str, name: &str) -> Option<Ordinal> {
    ordinal_of_pod(cluster, name.strip_prefix(VOLUME)?.strip_prefix('-')?)
}

/// URL at which other members reach this member.
#[must_use]
pub fn peer_url(cluster: &str, namespace: &str, ordinal: Ordinal) -> String {
    member_url(cluster, namespace, ordinal, PEER_PORT)
}

/// URL at which clients reach exactly this member.
#[must_use]
pub fn client_url(cluster: &str, namespace: &str, ordinal: Ordinal) -> String {
    member_url(cluster, namespace, ordinal, CLIENT_PORT)
}

fn member_url(cluster: &str, namespace: &str, ordinal: Ordinal, port: i32) -> String {
    format!("http://{}.{}.{namespace}.svc:{port}", pod(cluster, ordinal), member_service(cluster))
}

/// Labels of every object of a cluster, except those that hold data.
#[must_use]
pub fn cluster_labels(cluster: &str) -> BTreeMap<String, String> {
    let mut labels = data_labels(cluster);
    labels.insert(LABEL_INSTANCE.to_owned(), cluster.to_owned());
    labels
}

/// Labels of the objects that hold data: the identity and the volume claims. They lack [`LABEL_INSTANCE`], because a
/// retained claim has no owner.
#[must_use]
pub fn data_labels(cluster: &str) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "raft"), ("app.kubernetes.io/managed-by", FIELD_MANAGER), (LABEL_CLUSTER, cluster)]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Labels of one member's volume claim.
#[must_use]
pub fn claim_labels(cluster: &str, ordinal: Ordinal) -> BTreeMap<String, String> {
    let mut labels = data_labels(cluster);
    labels.insert(LABEL_MEMBER.to_owned(), member(cluster, ordinal));
    assert!(!labels.contains_key(LABEL_INSTANCE), "GitOps tools would take the claim as theirs");
    labels
}

/// Labels of one member's StatefulSet and pod.
#[must_use]
pub fn member_labels(cluster: &str, ordinal: Ordinal) -> BTreeMap<String, String> {
    let mut labels = cluster_labels(cluster);
    labels.insert(LABEL_MEMBER.to_owned(), member(cluster, ordinal));
    labels
}

/// Selects the pods of all members.
#[must_use]
pub fn cluster_selector(cluster: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(LABEL_CLUSTER.to_owned(), cluster.to_owned())])
}

/// Selects the pods of all voters.
#[must_use]
pub fn voter_selector(cluster: &str) -> BTreeMap<String, String> {
    let mut selector = cluster_selector(cluster);
    selector.insert(LABEL_ROLE.to_owned(), Role::Voter.as_str().to_owned());
    selector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinal_is_read_from_each_name() {
        for number in [1, 9, 10, 4_294_967_295] {
            let ordinal = Ordinal(number);
            assert_eq!(ordinal_of_member("demo", &member("demo", ordinal)), Some(ordinal));
            assert_eq!(ordinal_of_pod("demo", &pod("demo", ordinal)), Some(ordinal));
            assert_eq!(ordinal_of_volume("demo", &volume("demo", ordinal)), Some(ordinal));
        }
    }

    #[test]
    fn a_name_of_another_cluster_has_no_ordinal() {
        assert_eq!(ordinal_of_member("demo", "demo-1-2"), None);
        assert_eq!(ordinal_of_pod("demo", "demo-1-2-0"), None);
        assert_eq!(ordinal_of_volume("demo", "data-demo-x-1-0"), None);
        assert_eq!(ordinal_of_member("demo", "demo-0"), None);
        assert_eq!(ordinal_of_member("demo", "demo-01"), None);
    }
}
