//! Every name, label, annotation and port, spelled once. Decides nothing.
//!
//! A cluster `demo` has members `demo-1`, `demo-2`, …: one StatefulSet of that name each, with the pod `demo-1-0` and the
//! volume claim `data-demo-1-0`.

use std::collections::BTreeMap;
use std::fmt;

/// Who owns the fields that the operator applies.
pub const FIELD_MANAGER: &str = "raft-operator";

/// Where clients speak etcd v3.
pub const CLIENT_PORT: i32 = 2379;
/// Where members and the operator speak.
pub const PEER_PORT: i32 = 2380;
/// Metrics and probes.
pub const METRICS_PORT: i32 = 2381;

/// The cluster's name; on everything the operator makes.
pub const LABEL_CLUSTER: &str = "raftoperator.io/cluster";
/// The member's name, such as `demo-1`.
pub const LABEL_MEMBER: &str = "raftoperator.io/member";
/// What the member is in the configuration: see [`Role`].
pub const LABEL_ROLE: &str = "raftoperator.io/role";
/// On volumes: which cluster's data it holds.
pub const LABEL_CLUSTER_ID: &str = "raftoperator.io/cluster-id";
/// On volumes: which member's data it holds.
pub const LABEL_MEMBER_ID: &str = "raftoperator.io/member-id";

/// On a member's StatefulSet: the ID under which it may enter the configuration. Written once, before it may.
pub const ANNOTATION_MEMBER_ID: &str = "raftoperator.io/member-id";
/// On the StatefulSet of a member that was brought back before it had an ID: UID of the volume claim it was brought back
/// for. With another volume it is nobody.
pub const ANNOTATION_VOLUME: &str = "raftoperator.io/volume";
/// On the members' Service: the highest ordinal ever given away.
pub const ANNOTATION_LAST_ORDINAL: &str = "raftoperator.io/last-ordinal";
/// On the members' Service: the ID of the cluster that had a leader at least once.
pub const ANNOTATION_FORMED: &str = "raftoperator.io/formed";
/// On pods: a digest of the settings they were made from.
pub const ANNOTATION_SETTINGS: &str = "raftoperator.io/settings";
/// On every applied object: a digest of what was applied, so that dropped fields are noticed.
pub const ANNOTATION_APPLIED: &str = "raftoperator.io/applied";

/// Name of the volume within a pod, and first part of its claim's name.
pub const VOLUME: &str = "data";

/// Name of the member's container in its pod.
pub(crate) const CONTAINER: &str = "raft-node";

/// Value of [`LABEL_ROLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Has a vote in either half of the configuration: clients are routed to it.
    Voter,
    /// Follows without a vote, or is about to.
    Learner,
}

impl Role {
    /// As the label spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Learner => "learner",
        }
    }
}

/// A member's number within its cluster; from 1, never given away twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ordinal(pub u32);

impl Ordinal {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `demo-1`: the member, and its StatefulSet.
#[must_use]
pub fn member(cluster: &str, ordinal: Ordinal) -> String {
    format!("{cluster}-{ordinal}")
}

/// `demo-1-0`: the member's pod.
#[must_use]
pub fn pod(cluster: &str, ordinal: Ordinal) -> String {
    format!("{cluster}-{ordinal}-0")
}

/// `data-demo-1-0`: the member's volume claim.
#[must_use]
pub fn volume(cluster: &str, ordinal: Ordinal) -> String {
    format!("{VOLUME}-{cluster}-{ordinal}-0")
}

/// `demo`: clients, voters only.
#[must_use]
pub fn client_service(cluster: &str) -> String {
    cluster.to_owned()
}

/// `demo-read`: clients that may read stale data, all members.
#[must_use]
pub fn read_service(cluster: &str) -> String {
    format!("{cluster}-read")
}

/// `demo-members`: gives each member a name of its own.
#[must_use]
pub fn member_service(cluster: &str) -> String {
    format!("{cluster}-members")
}

/// `demo-identity`: the record of the cluster's identity.
#[must_use]
pub fn identity(cluster: &str) -> String {
    format!("{cluster}-identity")
}

/// `demo`: the disruption budget of the voters.
#[must_use]
pub fn budget(cluster: &str) -> String {
    cluster.to_owned()
}

/// Which member a StatefulSet, or a member itself, is by name.
#[must_use]
pub fn ordinal_of_member(cluster: &str, name: &str) -> Option<Ordinal> {
    let digits = name.strip_prefix(cluster)?.strip_prefix('-')?;
    let number: u32 = digits.parse().ok()?;
    // One spelling per number: `01` is somebody else's.
    (number > 0 && number.to_string() == digits).then_some(Ordinal(number))
}

/// Which member a pod belongs to by name.
#[must_use]
pub fn ordinal_of_pod(cluster: &str, name: &str) -> Option<Ordinal> {
    ordinal_of_member(cluster, name.strip_suffix("-0")?)
}

/// Which member a volume claim belongs to by name.
#[must_use]
pub fn ordinal_of_volume(cluster: &str, name: &str) -> Option<Ordinal> {
    ordinal_of_pod(cluster, name.strip_prefix(VOLUME)?.strip_prefix('-')?)
}

/// Where other members reach this one.
#[must_use]
pub fn peer_url(cluster: &str, namespace: &str, ordinal: Ordinal) -> String {
    member_url(cluster, namespace, ordinal, PEER_PORT)
}

/// Where clients reach this member and no other.
#[must_use]
pub fn client_url(cluster: &str, namespace: &str, ordinal: Ordinal) -> String {
    member_url(cluster, namespace, ordinal, CLIENT_PORT)
}

fn member_url(cluster: &str, namespace: &str, ordinal: Ordinal, port: i32) -> String {
    format!("http://{}.{}.{namespace}.svc:{port}", pod(cluster, ordinal), member_service(cluster))
}

/// Labels of everything that belongs to a cluster.
#[must_use]
pub fn cluster_labels(cluster: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "raft"),
        ("app.kubernetes.io/instance", cluster),
        ("app.kubernetes.io/managed-by", FIELD_MANAGER),
        (LABEL_CLUSTER, cluster),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Labels of what belongs to one member.
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
    fn a_name_gives_its_ordinal_back() {
        for number in [1, 9, 10, 4_294_967_295] {
            let ordinal = Ordinal(number);
            assert_eq!(ordinal_of_member("demo", &member("demo", ordinal)), Some(ordinal));
            assert_eq!(ordinal_of_pod("demo", &pod("demo", ordinal)), Some(ordinal));
            assert_eq!(ordinal_of_volume("demo", &volume("demo", ordinal)), Some(ordinal));
        }
    }

    #[test]
    fn a_neighbour_with_a_longer_name_is_somebody_else() {
        assert_eq!(ordinal_of_member("demo", "demo-1-2"), None);
        assert_eq!(ordinal_of_pod("demo", "demo-1-2-0"), None);
        assert_eq!(ordinal_of_volume("demo", "data-demo-x-1-0"), None);
        assert_eq!(ordinal_of_member("demo", "demo-0"), None);
        assert_eq!(ordinal_of_member("demo", "demo-01"), None);
    }
}
