//! Tests of the charts: values and their schema agree, and the rendered objects have the intended rights and settings.
//! A real Helm 4 renders and lints the charts.

mod deletion_guard;
mod helm;

use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};

use helm::Helm;

const VALUE_SETS: [&str; 3] = ["minimal", "namespaced", "everything"];

fn yaml(path: &str) -> Value {
    let text = fs::read_to_string(helm::chart(path)).expect("the chart has this file");
    serde_saphyr::from_str(&text).expect("values are YAML")
}

/// Collects the path of every value. Descends into an object only if the schema lists the object's keys.
fn paths(value: &Value, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match (value, schema["properties"].as_object()) {
        (Value::Object(fields), Some(_)) => {
            for (name, below) in fields {
                paths(below, &schema["properties"][name], &format!("{path}.{name}"), found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

fn schema_paths(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    match schema["properties"].as_object() {
        Some(properties) if schema["type"] == "object" => {
            assert_eq!(schema["additionalProperties"], false, "{path}: unknown keys must be refused");
            for (name, below) in properties {
                schema_paths(below, &format!("{path}.{name}"), found);
            }
        }
        _ => {
            found.insert(path.to_owned());
        }
    }
}

#[test]
fn values_and_their_schema_name_the_same_keys() {
    let schema = yaml("raft-operator/values.schema.json");
    let mut known = BTreeSet::new();
    schema_paths(&schema, "", &mut known);
    known.remove(".global");
    let mut given = BTreeSet::new();
    paths(&yaml("raft-operator/values.yaml"), &schema, "", &mut given);
    assert_eq!(given, known);
}

#[test]
fn the_value_set_everything_sets_every_key() {
    let schema = yaml("raft-operator/values.schema.json");
    let (mut known, mut tried) = (BTreeSet::new(), BTreeSet::new());
    paths(&yaml("raft-operator/values.yaml"), &schema, "", &mut known);
    paths(&yaml("raft-operator/ci/everything.yaml"), &schema, "", &mut tried);
    // An image has either a tag or a digest, therefore one set of values cannot give both.
    known.remove(".image.digest");
    known.remove(".node.image.tag");
    tried.remove(".node.image.digest");
    known.remove(".node.image.digest");
    assert_eq!(tried, known);
}

#[test]
fn charts_pass_the_linter() {
    let helm = Helm::find();
    helm.run(&["lint", "--strict", &helm::chart("raft-crds")]).expect("raft-crds is clean");
    for set in VALUE_SETS {
        let values = helm::chart(&format!("raft-operator/ci/{set}.yaml"));
        helm.run(&["lint", "--strict", &helm::chart("raft-operator"), "--values", &values])
            .expect("raft-operator is clean");
    }
}

#[test]
fn unknown_values_are_refused() {
    let helm = Helm::find();
    for wrong in ["watch.namespace=a", "replica=1", "replicas=0", "image.pullPolicy=Sometimes"] {
        let refusal = helm.run(&["template", "r", &helm::chart("raft-operator"), "--set", wrong]).expect_err(wrong);
        assert!(refusal.contains("values don't meet the specifications of the schema"), "{wrong}: {refusal}");
    }
}

/// `helm upgrade --reuse-values` renders the chart with the defaults of the version that is installed: values that are
/// newer are absent. A key that a newer version adds needs its default in the templates.
#[test]
fn the_chart_renders_with_the_values_of_a_former_version() {
    let helm = Helm::find();
    let former = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/former_values.yaml"));
    let names = |objects: Vec<Value>| -> BTreeSet<String> {
        objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect()
    };
    let reused = names(helm.render_reusing(&former.expect("the file is in the tree")));
    assert_eq!(reused, names(helm.render("raft-operator", &[])), "an absent value has its default");
}

/// The test covers raft-crds, and raft-operator with both values of `crds.keep`.
#[test]
fn rendered_definitions_are_those_of_the_types() {
    let helm = Helm::find();
    let wanted: Vec<Value> = crds::definitions()
        .iter()
        .map(|definition| serde_json::to_value(&definition.spec).expect("plain data"))
        .collect();
    let kept = json!("keep");
    for (chart, arguments, keep) in [
        ("raft-crds", &[][..], &kept),
        ("raft-operator", &[][..], &kept),
        ("raft-operator", &["--set", "crds.keep=false"][..], &Value::Null),
    ] {
        let objects = helm.render(chart, arguments);
        let found: Vec<_> = objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect();
        assert_eq!(found.len(), wanted.len(), "{chart} {arguments:?}");
        for definition in found {
            assert!(
                wanted.contains(&whole_numbers(&definition["spec"])),
                "{chart}: {}",
                definition["metadata"]["name"]
            );
            assert_eq!(
                &definition["metadata"]["annotations"]["helm.sh/resource-policy"], keep,
                "{chart} {arguments:?}"
            );
        }
    }
}

/// Turns `minimum` and `maximum` into floating-point numbers, as in the typed definition, because the charts contain
/// them as whole numbers.
fn whole_numbers(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, below)| match (name.as_str(), below.as_f64()) {
                ("minimum" | "maximum", Some(bound)) => (name.clone(), json!(bound)),
                _ => (name.clone(), whole_numbers(below)),
            })
            .collect(),
        Value::Array(items) => items.iter().map(whole_numbers).collect(),
        other => other.clone(),
    }
}

#[test]
fn every_object_has_the_labels_and_the_namespace_of_its_release() {
    let helm = Helm::find();
    for set in VALUE_SETS {
        for object in helm.render_set(set) {
            let name = format!("{set}: {} {}", object["kind"], object["metadata"]["name"]);
            for label in ["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"] {
                assert!(object["metadata"]["labels"][label].is_string(), "{name} lacks {label}");
            }
            let cluster_wide = [
                "CustomResourceDefinition",
                "ClusterRole",
                "ClusterRoleBinding",
                "ValidatingAdmissionPolicy",
                "ValidatingAdmissionPolicyBinding",
            ];
            let namespaced = !cluster_wide.iter().any(|kind| object["kind"] == *kind);
            assert_eq!(object["metadata"]["namespace"].is_string(), namespaced, "{name}");
        }
    }
}

/// Pod Security Standards, profile Restricted.
#[test]
fn the_operator_meets_the_restricted_profile() {
    let helm = Helm::find();
    for set in VALUE_SETS {
        let objects = helm.render_set(set);
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").expect("a Deployment");
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{set}");
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault", "{set}");
        let context = &pod["containers"][0]["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false, "{set}");
        assert_eq!(context["readOnlyRootFilesystem"], true, "{set}");
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]), "{set}");
    }
}

#[test]
fn the_members_pull_policy_reaches_the_operator() {
    let helm = Helm::find();
    let flag = |arguments: &[&str]| {
        let objects = helm.render("raft-operator", arguments);
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").expect("a Deployment");
        let given = words(&deployment["spec"]["template"]["spec"]["containers"][0]["args"]);
        given.into_iter().find(|flag| flag.starts_with("--node-image-pull-policy"))
    };
    assert_eq!(flag(&[]), None);
    assert_eq!(flag(&["--set", "node.image.pullPolicy=Never"]).as_deref(), Some("--node-image-pull-policy=Never"));
}

/// An operator refuses a flag that it does not know, and ends. It ignores variables.
#[test]
fn an_image_of_a_former_version_starts_with_this_chart() {
    let known = ["node-image", "node-image-pull-policy", "watch-namespaces", "health-addr"];
    let helm = Helm::find();
    for set in VALUE_SETS {
        let objects = helm.render_set(set);
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").expect("a Deployment");
        for flag in words(&deployment["spec"]["template"]["spec"]["containers"][0]["args"]) {
            let name = flag.trim_start_matches("--").split('=').next().unwrap_or_default();
            assert!(known.contains(&name), "{set}: {flag}");
        }
    }
}

/// The rights must cover the lease of former versions, which a release with another name holds as well. An upgrade that
/// changes an override must keep the lease, otherwise former and new pods are active at the same time.
#[test]
fn the_lease_is_named_after_the_release_and_its_rights_cover_it() {
    let helm = Helm::find();
    let overrides = ["", "fullnameOverride=raft-b", "fullnameOverride=raft-operator", "nameOverride=keeper"];
    let releases = [
        ("prod", &["prod-raft-operator", "raft-operator"][..]),
        ("raft-operator-2", &["raft-operator-2", "raft-operator"]),
        ("raft-operator", &["raft-operator"]),
    ];
    for ((release, wanted), set) in releases.iter().flat_map(|case| overrides.map(|set| (case, set))) {
        let objects = helm.render_release(release, &["--set", set]);
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").expect("a Deployment");
        let variables = &deployment["spec"]["template"]["spec"]["containers"][0]["env"];
        let given = json!({ "name": "RAFT_OPERATOR_LEASE_NAME", "value": wanted[0] });
        assert!(variables.as_array().expect("a list").contains(&given), "{release} {set}: {variables}");
        let is_leaders = |object: &&Value| {
            object["kind"] == "Role"
                && object["metadata"]["name"].as_str().is_some_and(|name| name.ends_with("-leader"))
        };
        let role = objects.iter().find(is_leaders).expect("a Role for leader election");
        let named = role["rules"].as_array().expect("rules").iter().find(|rule| rule["resourceNames"].is_array());
        let named = named.expect("a rule with names");
        assert_eq!(words(&named["resourceNames"]), *wanted, "{release} {set}");
        assert_eq!(words(&named["verbs"]), ["get", "update"]);
    }
}

#[test]
fn a_list_of_namespaces_needs_no_cluster_wide_right() {
    let helm = Helm::find();
    let objects = helm.render_set("namespaced");
    assert!(!objects.iter().any(|object| object["kind"].as_str().is_some_and(|kind| kind.starts_with("Cluster"))));
    let homes: BTreeSet<_> = objects
        .iter()
        .filter(|object| object["kind"] == "Role" && rights(object).any(|(resource, _)| resource == "raftclusters"))
        .filter_map(|object| object["metadata"]["namespace"].as_str())
        .collect();
    assert_eq!(homes, BTreeSet::from(["team-a", "team-b"]));
    let arguments = &objects.iter().find(|object| object["kind"] == "Deployment").expect("a Deployment")["spec"]["template"]
        ["spec"]["containers"][0]["args"];
    assert!(arguments.as_array().expect("a list").contains(&json!("--watch-namespaces=team-a,team-b")), "{arguments}");
}

/// Two releases of one name, in two namespaces, that watch different namespaces. Helm refuses to install an object that
/// another release owns.
#[test]
fn releases_of_one_name_in_two_namespaces_share_no_object() {
    let helm = Helm::find();
    let names = |namespace: &str, watched: &str| -> BTreeSet<String> {
        let watched = format!("watch.namespaces={{{watched}}}");
        let arguments = ["--namespace", namespace, "--set", &watched, "--set", "crds.enabled=false"];
        let objects = helm.render("raft-operator", &arguments).into_iter();
        objects
            .map(|object| {
                format!("{} {} {}", object["kind"], object["metadata"]["namespace"], object["metadata"]["name"])
            })
            .collect()
    };
    let (one, other) = (names("one", "team-a"), names("other", "team-b"));
    assert!(one.iter().any(|name| name.contains("ClusterRole")), "roles for people are cluster-wide: {one:?}");
    assert_eq!(one.intersection(&other).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// YAML reads an unquoted 123 as a number, which the API server refuses as a namespace.
#[test]
fn names_of_digits_stay_texts() {
    let helm = Helm::find();
    let arguments = ["--namespace", "42", "--set-string", "watch.namespaces={123}", "--set", "replicas=2"];
    for object in helm.render("raft-operator", &arguments) {
        let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
        let mut places = vec![&object["metadata"]["namespace"]];
        places.extend(object["subjects"].as_array().into_iter().flatten().map(|subject| &subject["namespace"]));
        for namespace in places {
            assert!(namespace.is_null() || namespace == "42" || namespace == "123", "{name}: {namespace}");
        }
    }
}

#[test]
fn the_operator_has_no_harmful_right() {
    let helm = Helm::find();
    for set in VALUE_SETS {
        let objects = helm.render_set(set);
        let roles = objects.iter().filter(|object| matches!(object["kind"].as_str(), Some("Role" | "ClusterRole")));
        let ours = roles.filter(|role| !role["metadata"]["labels"].to_string().contains("aggregate-to"));
        let rights: BTreeSet<_> = ours.flat_map(rights).collect();
        assert!(!rights.is_empty(), "{set}");
        for (resource, verb) in rights {
            assert!(resource != "*" && verb != "*", "{set}: wildcards");
            let harmful = match resource.as_str() {
                "secrets" => !["get", "create"].contains(&verb.as_str()),
                "persistentvolumeclaims" => ["delete", "deletecollection", "create", "update"].contains(&verb.as_str()),
                "raftclusters" | "raftbackups" => !["get", "list", "watch"].contains(&verb.as_str()),
                "nodes" => verb != "get",
                "pods/exec" | "pods/attach" | "pods/portforward" | "roles" | "clusterroles" | "rolebindings" => true,
                _ => ["escalate", "bind", "impersonate", "deletecollection"].contains(&verb.as_str()),
            };
            assert!(!harmful, "{set}: {verb} on {resource}");
        }
    }
}

/// Every call of the operator to the API server: group, resource, verbs, and the code that calls.
const CALLS: [(&str, &str, &[&str], &str); 15] = [
    ("raftoperator.io", "raftclusters", &["get", "list", "watch"], "controller; each pass reads it again"),
    ("raftoperator.io", "raftclusters/status", &["patch"], "status"),
    ("raftoperator.io", "raftclusters/finalizers", &["update"], "owner references, where admission checks them"),
    ("raftoperator.io", "raftbackups", &["get", "list", "watch"], "controller; each pass reads it again"),
    ("raftoperator.io", "raftbackups/status", &["patch"], "status"),
    (
        "apps",
        "statefulsets",
        &["create", "delete", "list", "patch", "update", "watch"],
        "CreateSet, DeleteSet, ReplaceSet, Announce",
    ),
    (
        "",
        "services",
        &["create", "get", "list", "patch", "watch"],
        "Apply, ReserveOrdinals, NoteFormed, NoteRollout, note of the release",
    ),
    ("policy", "poddisruptionbudgets", &["create", "get", "list", "patch", "watch"], "Apply"),
    ("", "secrets", &["create", "get"], "CreateRecord"),
    ("", "pods", &["delete", "list", "patch", "watch"], "DeletePod, LabelPod, NoteServed"),
    ("", "pods/eviction", &["create"], "EvictPod"),
    ("", "persistentvolumeclaims", &["list", "patch", "watch"], "LabelVolume, RelabelVolume, GrowVolume"),
    ("events.k8s.io", "events", &["create", "patch"], "events"),
    ("", "events", &["list"], "why a pod does not start"),
    ("", "nodes", &["get"], "zones; machines of silent members"),
];

#[test]
fn the_operator_has_exactly_the_rights_that_its_calls_need() {
    let helm = Helm::find();
    for set in VALUE_SETS {
        let objects = helm.render_set(set);
        let is_wide = objects.iter().any(|object| object["kind"] == "ClusterRole" && is_operators(object));
        let wanted: BTreeSet<_> = CALLS
            .iter()
            .filter(|(_, resource, ..)| is_wide || *resource != "nodes")
            .flat_map(|(group, resource, verbs, _)| verbs.iter().map(move |verb| triple(group, resource, verb)))
            .collect();
        for role in objects.iter().filter(|object| is_operators(object)) {
            let rules = role["rules"].as_array().expect("a role has rules");
            let granted: BTreeSet<_> = rules
                .iter()
                .flat_map(|rule| words(&rule["apiGroups"]).into_iter().map(move |group| (group, rule)))
                .flat_map(|(group, rule)| {
                    let resources = words(&rule["resources"]).into_iter();
                    resources.map(move |resource| (group.clone(), resource, words(&rule["verbs"])))
                })
                .flat_map(|(group, resource, verbs)| {
                    verbs.into_iter().map(move |verb| triple(&group, &resource, &verb)).collect::<Vec<_>>()
                })
                .collect();
            assert_eq!(granted, wanted, "{set}: {}", role["metadata"]["name"]);
        }
    }
}

fn triple(group: &str, resource: &str, verb: &str) -> String {
    format!("{verb} {group}/{resource}")
}

/// Whether `object` is the operator's role: a Role in one namespace, or a ClusterRole for all.
fn is_operators(object: &Value) -> bool {
    matches!(object["kind"].as_str(), Some("Role" | "ClusterRole"))
        && !object["metadata"]["labels"].to_string().contains("aggregate-to")
        && rights(object).any(|(resource, _)| resource == "raftclusters")
}

/// All pairs of resource and verb that a role grants.
fn rights(role: &Value) -> impl Iterator<Item = (String, String)> {
    let rules = role["rules"].as_array().expect("a role has rules");
    rules.iter().flat_map(|rule| {
        let verbs = words(&rule["verbs"]);
        let pairs =
            |resource: String| verbs.iter().map(move |verb| (resource.clone(), verb.clone())).collect::<Vec<_>>();
        words(&rule["resources"]).into_iter().flat_map(pairs).collect::<Vec<_>>()
    })
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
}
