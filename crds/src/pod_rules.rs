//! Owns the rules for fields that members' pods take over. The API server would refuse a StatefulSet with such a fault,
//! long after it admitted the RaftCluster; these rules refuse the RaftCluster at once, and say what to do.
//!
//! Each rule is on the smallest part of the schema that contains the fault, because Kubernetes then admits an update of
//! an existing object that breaks the rule, as long as that part stays as it is. A rule on a larger part would stop
//! `kubectl scale` of such an object.
//!
//! Does not own which part of a schema each rule is on (`embedded.rs`, `affinity.rs`).

use serde_json::{Value, json};

/// Keyword of rules in a schema.
pub(crate) const RULES: &str = "x-kubernetes-validations";

/// Rules with their messages, as they are written in a schema.
fn rules(rules: &[(&str, &str)]) -> Value {
    rules.iter().map(|(rule, message)| json!({ "rule": rule, "message": message })).collect()
}

/// Of `resources`.
pub(crate) fn resources() -> Value {
    rules(&[
        (
            "!has(self.limits) || !('memory' in self.limits) || (isQuantity(string(self.limits['memory'])) && \
             quantity(string(self.limits['memory'])).compareTo(quantity('320Mi')) >= 0)",
            "resources.limits.memory must be a quantity of at least 320Mi: a member needs 256Mi in addition to twice its quota, and the smallest quota is 16Mi",
        ),
        (
            "!has(self.requests) || !has(self.limits) || self.requests.all(name, !(name in self.limits) || \
             !isQuantity(string(self.requests[name])) || !isQuantity(string(self.limits[name])) || \
             quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) <= 0)",
            "lower resources.requests or raise resources.limits: a request must be at most the limit of the same resource",
        ),
        (
            "!has(self.requests) || self.requests.all(name, \
             !(name.startsWith('hugepages-') || (name.contains('/') && !name.contains('kubernetes.io/'))) || \
             !isQuantity(string(self.requests[name])) || (has(self.limits) && name in self.limits && \
             isQuantity(string(self.limits[name])) && \
             quantity(string(self.requests[name])).compareTo(quantity(string(self.limits[name]))) == 0))",
            "set the limit of huge pages and of extended resources to the amount in resources.requests: Kubernetes does not overcommit them",
        ),
    ])
}

/// Of an amount in `resources.requests` or `resources.limits`.
pub(crate) fn amount() -> Value {
    rules(&[(
        "isQuantity(string(self)) && quantity(string(self)).compareTo(quantity('0')) >= 0",
        "an amount must be a quantity that is not negative, such as 500m or 2Gi",
    )])
}

/// Of `resources.requests` and of `resources.limits`.
pub(crate) fn resource_names() -> Value {
    rules(&[(
        "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || name.startsWith('hugepages-') || \
         (name.contains('/') && !format.qualifiedName().validate(name).hasValue()))",
        "a resource must be cpu, memory, ephemeral-storage, hugepages-SIZE, or an extended resource with a domain, such as example.com/device",
    )])
}

/// Of the value of a label.
pub(crate) fn label_value() -> Value {
    rules(&[(
        "!format.labelValue().validate(self).hasValue()",
        "the value of a label must begin and end with a letter or digit, and contain only letters, digits, '-', '_' and '.'",
    )])
}

/// Of labels.
pub(crate) fn label_keys() -> Value {
    rules(&[(
        "self.all(key, !format.qualifiedName().validate(key).hasValue())",
        "the key of a label must be at most 63 letters, digits, '-', '_' and '.', begin and end with a letter or digit, and may follow a domain and '/', such as example.com/team",
    )])
}

/// Of annotations.
pub(crate) fn annotation_keys() -> Value {
    rules(&[(
        "self.all(key, !format.qualifiedName().validate(key.lowerAscii()).hasValue())",
        "the key of an annotation must be at most 63 letters, digits, '-', '_' and '.', begin and end with a letter or digit, and may follow a domain and '/', such as example.com/team",
    )])
}

/// Of one item of `tolerations`.
pub(crate) fn toleration() -> Value {
    rules(&[
        (
            "!has(self.key) || self.key == '' || !format.qualifiedName().validate(self.key).hasValue()",
            "the key of a toleration must be the key of a taint, such as dedicated or example.com/dedicated",
        ),
        (
            "!has(self.operator) || self.operator in ['', 'Equal', 'Exists', 'Lt', 'Gt']",
            "the operator of a toleration must be Equal or Exists, or Lt or Gt where Kubernetes has them enabled",
        ),
        (
            "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
            "set the key of the toleration, or set its operator to Exists, which tolerates every taint",
        ),
        (
            "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
            "remove the value of the toleration, or set its operator to Equal: Exists tolerates every value",
        ),
        (
            "!has(self.value) || (has(self.operator) && self.operator != '' && self.operator != 'Equal') || \
             !format.labelValue().validate(self.value).hasValue()",
            "the value of a toleration must begin and end with a letter or digit, and contain only letters, digits, '-', '_' and '.'",
        ),
        (
            "!has(self.operator) || !(self.operator in ['Lt', 'Gt']) || \
             (has(self.value) && self.value.matches('^(0|-?[1-9][0-9]{0,18})$'))",
            "set the value of the toleration to an integer, because Lt and Gt compare integers",
        ),
        (
            "!has(self.effect) || self.effect in ['', 'NoSchedule', 'PreferNoSchedule', 'NoExecute']",
            "the effect of a toleration must be NoSchedule, PreferNoSchedule or NoExecute; without it, every effect is tolerated",
        ),
        (
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "remove tolerationSeconds, or set the effect of the toleration to NoExecute, the only effect that evicts pods",
        ),
    ])
}

/// Of one item of `topologySpreadConstraints`.
pub(crate) fn topology_spread_constraint() -> Value {
    rules(&[
        ("self.maxSkew >= 1", "maxSkew must be at least 1"),
        (
            "self.topologyKey != ''",
            "topologyKey must be the key of a label of the nodes, such as topology.kubernetes.io/zone",
        ),
        (
            "self.whenUnsatisfiable in ['DoNotSchedule', 'ScheduleAnyway']",
            "whenUnsatisfiable must be DoNotSchedule or ScheduleAnyway",
        ),
        (
            "!has(self.minDomains) || (self.minDomains >= 1 && self.whenUnsatisfiable == 'DoNotSchedule')",
            "minDomains must be at least 1, and needs whenUnsatisfiable: DoNotSchedule",
        ),
        (
            "(!has(self.nodeAffinityPolicy) || self.nodeAffinityPolicy in ['Honor', 'Ignore']) && \
             (!has(self.nodeTaintsPolicy) || self.nodeTaintsPolicy in ['Honor', 'Ignore'])",
            "nodeAffinityPolicy and nodeTaintsPolicy must be Honor or Ignore",
        ),
    ])
}

/// Of `topologySpreadConstraints`.
pub(crate) fn topology_spread_constraints() -> Value {
    rules(&[(
        "self.all(one, self.exists_one(other, other.topologyKey == one.topologyKey && \
         other.whenUnsatisfiable == one.whenUnsatisfiable))",
        "merge constraints that have the same topologyKey and whenUnsatisfiable: Kubernetes accepts one of each kind",
    )])
}

/// Of a preferred term of `affinity`.
pub(crate) fn weight() -> Value {
    rules(&[("self.weight >= 1 && self.weight <= 100", "weight must be from 1 to 100")])
}

/// Of `nodeSelectorTerms`.
pub(crate) fn node_selector_terms() -> Value {
    rules(&[(
        "self.size() > 0",
        "nodeSelectorTerms needs a term: without one, no node fits; to allow every node, remove it",
    )])
}

/// Of a requirement on the labels of nodes.
pub(crate) fn node_requirement() -> Value {
    rules(&[
        KEY_OF_A_LABEL,
        (
            "self.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt']",
            "the operator of a requirement on nodes must be In, NotIn, Exists, DoesNotExist, Gt or Lt",
        ),
        VALUES_OF_IN,
        NO_VALUES_OF_EXISTS,
        (
            "!(self.operator in ['Gt', 'Lt']) || (has(self.values) && self.values.size() == 1)",
            "set one value, an integer, because Gt and Lt compare integers",
        ),
    ])
}

/// Of a requirement on the fields of nodes.
pub(crate) fn node_field() -> Value {
    rules(&[(
        "self.key == 'metadata.name' && self.operator in ['In', 'NotIn'] && has(self.values) && self.values.size() == 1",
        "matchFields selects by metadata.name with In or NotIn and one value",
    )])
}

/// Of a requirement on the labels of pods or namespaces.
pub(crate) fn label_requirement() -> Value {
    rules(&[
        KEY_OF_A_LABEL,
        (
            "self.operator in ['In', 'NotIn', 'Exists', 'DoesNotExist']",
            "the operator of a requirement on labels must be In, NotIn, Exists or DoesNotExist",
        ),
        VALUES_OF_IN,
        NO_VALUES_OF_EXISTS,
    ])
}

/// Of a term of `podAffinity` or `podAntiAffinity`.
pub(crate) fn pod_affinity_term() -> Value {
    rules(&[(
        "self.topologyKey != '' && !format.qualifiedName().validate(self.topologyKey).hasValue()",
        "topologyKey of a term must be the key of a label of the nodes, such as kubernetes.io/hostname",
    )])
}

const KEY_OF_A_LABEL: (&str, &str) = (
    "!format.qualifiedName().validate(self.key).hasValue()",
    "the key of a requirement must be the key of a label, such as kubernetes.io/arch",
);
const VALUES_OF_IN: (&str, &str) = (
    "!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)",
    "set values, because In and NotIn compare with them",
);
const NO_VALUES_OF_EXISTS: (&str, &str) = (
    "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || self.values.size() == 0",
    "remove values: Exists and DoesNotExist look at the key alone",
);
