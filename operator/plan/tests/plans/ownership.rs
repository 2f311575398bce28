//! What the operator writes onto live StatefulSets and volume claims: which fields leave, which stay, and what causes no
//! write (`operator/docs/decisions/ownership.md`).

use crds::raft_cluster::{RaftClusterSpec, VolumeFate};
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PodSpec, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use plan::action::{Action, ObjectAction, Write};
use plan::desired::stateful_set::{SetOrigin, Shape, is_written, of, settings};
use plan::names::{self, Ordinal, Role};
use plan::observed::Observed;
use plan::validated::ValidatedCluster;
use serde_json::{Value, json};

use crate::observed::parse;
use crate::rollout_cases::{note, recorded_by};

const ONE_VOTER: &str = "identity a1 formed\nreplicas 1\nmember 1 is a1 leader";

/// A cluster with one voter, whose StatefulSet and pod were written by this version for the spec after `edit`. Its
/// settings are recorded.
fn written(edit: impl FnOnce(&mut RaftClusterSpec)) -> Observed {
    let mut observed = parse(ONE_VOTER);
    edit(&mut observed.cluster.spec);
    let valid = ValidatedCluster::parse(&observed).expect("valid");
    let mut set = of(&valid, &shape(), None);
    set.metadata.uid = Some("StatefulSet/demo-1".to_owned());
    set.metadata.resource_version = Some("7".to_owned());
    let notes = set.metadata.annotations.get_or_insert_default();
    notes.insert(names::ANNOTATION_MEMBER_ID.to_owned(), "a1".to_owned());
    let member = observed.members.get_mut(&Ordinal(1)).expect("it exists");
    let pod = member.pod.as_mut().expect("it exists");
    pod.metadata.annotations = set.spec.as_ref().and_then(|spec| spec.template.metadata.as_ref()?.annotations.clone());
    member.set = Some(set);
    let record = recorded_by(&observed).expect("its only member serves");
    note(&mut observed, &record);
    observed
}

fn shape() -> Shape<'static> {
    let (ordinal, role, volume_fate) = (Ordinal(1), Role::Voter, VolumeFate::Retain);
    Shape { ordinal, runs: true, role, volume_fate, origin: SetOrigin::Plain, restore_store: None }
}

fn live(observed: &mut Observed) -> &mut StatefulSet {
    observed.members.get_mut(&Ordinal(1)).and_then(|member| member.set.as_mut()).expect("it exists")
}

fn live_spec(observed: &mut Observed) -> &mut StatefulSetSpec {
    live(observed).spec.as_mut().expect("it has one")
}

fn live_pod(observed: &mut Observed) -> &mut PodSpec {
    live_spec(observed).template.spec.as_mut().expect("it has one")
}

/// The replacement of the StatefulSet in the plan, if there is one, as the API server receives it.
fn replacement(observed: &Observed) -> Option<StatefulSet> {
    let actions = plan::plan(observed).actions;
    plan::invariant::check(observed, &actions);
    let replaced = actions.iter().find_map(|action| match action {
        Action::Write(write @ ObjectAction::ReplaceSet(_)) => Some(write.write()),
        Action::Write(_) | Action::Call(_) => None,
    });
    let Some(Write::Replace(replace)) = replaced else { return None };
    let set: StatefulSet = replace.object().parse().expect("a StatefulSet");
    assert_eq!(set.metadata.uid.as_deref(), Some("StatefulSet/demo-1"), "the write carries the UID");
    assert_eq!(set.metadata.resource_version.as_deref(), Some("7"), "the write carries the resource version");
    Some(set)
}

fn pod_of(set: &StatefulSet) -> &PodSpec {
    set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref()).expect("a pod")
}

fn edit(spec: &mut RaftClusterSpec, fields: &Value) {
    let mut json = serde_json::to_value(&*spec).expect("plain data");
    for (name, value) in fields.as_object().expect("fields") {
        json[name] = value.clone();
    }
    *spec = serde_json::from_value(json).expect("a spec");
}

fn constraint(when_unsatisfiable: &str) -> Value {
    json!([{ "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": when_unsatisfiable }])
}

#[test]
fn a_written_set_is_not_written_again() {
    assert_eq!(replacement(&written(|_| ())), None);
}

/// An apply left these fields in the template: what the object was created with counted as another writer's.
#[test]
fn a_field_that_the_spec_drops_leaves_the_pods() {
    let mut observed = written(|spec| {
        let fields = json!({ "nodeSelector": { "disk": "fast" }, "priorityClassName": "high", "topologySpreadConstraints": constraint("DoNotSchedule") });
        edit(spec, &fields);
    });
    let before = pod_of(observed.members[&Ordinal(1)].set.as_ref().expect("it exists")).clone();
    assert!(before.node_selector.is_some() && before.priority_class_name.is_some());
    let fields = json!({ "nodeSelector": {}, "priorityClassName": null, "topologySpreadConstraints": constraint("ScheduleAnyway") });
    edit(&mut observed.cluster.spec, &fields);
    let replaced = replacement(&observed).expect("the settings changed");
    let pod = pod_of(&replaced);
    assert_eq!((&pod.node_selector, &pod.priority_class_name), (&None, &None));
    let constraints = pod.topology_spread_constraints.as_deref().unwrap_or_default();
    let words: Vec<&str> = constraints.iter().map(|constraint| constraint.when_unsatisfiable.as_str()).collect();
    assert_eq!(words, ["ScheduleAnyway"], "the former constraint is gone");
    assert_eq!(replaced.metadata.annotations.as_ref().expect("they stay")[names::ANNOTATION_MEMBER_ID], "a1");
}

/// The version before left dropped fields in templates whose digest is that of the present spec. They are no reason to
/// restart a member, and leave with the next settings.
#[test]
fn a_dropped_field_under_equal_settings_waits_for_the_next_rollout() {
    let mut observed = written(|_| ());
    live_pod(&mut observed).node_selector = Some([("disk".to_owned(), "fast".to_owned())].into());
    live(&mut observed).metadata.annotations.as_mut().expect("they exist").remove(names::ANNOTATION_APPLIED);
    let kept = replacement(&observed).expect("another version wrote it");
    assert!(pod_of(&kept).node_selector.is_some(), "the pods stay as they are");
    let restarts = |observed: &Observed| {
        let actions = plan::plan(observed).actions;
        actions.iter().any(|action| matches!(action, Action::Write(ObjectAction::EvictPod { .. })))
    };
    assert!(!restarts(&observed));
    observed.cluster.spec.snapshots.threshold += 1;
    assert_eq!(pod_of(&replacement(&observed).expect("the settings changed")).node_selector, None);
}

/// A member's program of an older version ends at a flag that it does not know.
#[test]
fn a_template_that_another_version_rendered_is_kept() {
    let mut observed = written(|_| ());
    let arguments = vec!["run".to_owned(), "--name=demo-1".to_owned(), "--of-another-version=1".to_owned()];
    live_pod(&mut observed).containers[0].args = Some(arguments.clone());
    live_pod(&mut observed).containers[0].env = None;
    assert_eq!(replacement(&observed), None, "another rendering is no reason to write");
    live(&mut observed).metadata.annotations.as_mut().expect("they exist").remove(names::ANNOTATION_APPLIED);
    let kept = replacement(&observed).expect("another version wrote it");
    assert_eq!(pod_of(&kept), live_pod(&mut observed), "the template is kept as it is");
    observed.cluster.spec.snapshots.threshold += 1;
    let rolled_out = replacement(&observed).expect("the settings changed");
    assert_ne!(pod_of(&rolled_out).containers[0].args, Some(arguments), "a rollout takes the member");
}

/// The role and the time on an unreachable node do not wait for a restart.
#[test]
fn what_must_not_wait_is_written_into_a_kept_template() {
    let mut observed = written(|_| ());
    let unknown = Toleration { key: Some("of-a-webhook".to_owned()), ..Toleration::default() };
    live_pod(&mut observed).tolerations.get_or_insert_default().insert(0, unknown.clone());
    observed.cluster.spec.replacement.delay = std::time::Duration::from_secs(77).into();
    let replaced = replacement(&observed).expect("the delay changed");
    let tolerations = pod_of(&replaced).tolerations.clone().unwrap_or_default();
    assert_eq!(tolerations.first(), Some(&unknown));
    let seconds: Vec<_> = tolerations.iter().skip(1).map(|toleration| toleration.toleration_seconds).collect();
    assert_eq!(seconds, [Some(77), Some(77)]);
    let mut learns = shape();
    learns.role = Role::Learner;
    let valid = ValidatedCluster::parse(&observed).expect("valid");
    let wanted = of(&valid, &learns, observed.members[&Ordinal(1)].set.as_ref());
    let labels = wanted.spec.and_then(|spec| spec.template.metadata?.labels).expect("labels");
    assert_eq!(labels[names::LABEL_ROLE], "learner");
}

/// Kubernetes refuses every write of a StatefulSet whose claim template changes.
#[test]
fn the_claim_template_of_a_live_set_is_copied() {
    for labels in [None, Some(names::member_labels("demo", Ordinal(1)))] {
        let mut observed = written(|_| ());
        let former = PersistentVolumeClaim {
            metadata: ObjectMeta { name: Some("data".to_owned()), labels, ..ObjectMeta::default() },
            ..PersistentVolumeClaim::default()
        };
        live_spec(&mut observed).volume_claim_templates = Some(vec![former.clone()]);
        observed.cluster.spec.snapshots.threshold += 1;
        let replaced = replacement(&observed).expect("the settings changed").spec.expect("a spec");
        assert_eq!(replaced.volume_claim_templates, Some(vec![former]));
    }
}

#[test]
fn what_webhooks_and_others_add_causes_no_write_and_stays() {
    let mut observed = written(|_| ());
    let set = live(&mut observed);
    set.metadata.labels.get_or_insert_default().insert("team".to_owned(), "a".to_owned());
    set.metadata.annotations.get_or_insert_default().insert("seen-by".to_owned(), "a webhook".to_owned());
    live_spec(&mut observed).revision_history_limit = Some(9);
    live_pod(&mut observed).containers[0].image = Some("mirror.example/raft-node:1".to_owned());
    live_pod(&mut observed).containers.push(k8s_openapi::api::core::v1::Container::default());
    assert_eq!(replacement(&observed), None);
    let wanted = |observed: &Observed| settings(&ValidatedCluster::parse(observed).expect("valid"), None);
    assert_eq!(wanted(&observed), wanted(&written(|_| ())), "the image of a mirror restarts no member");
    observed.cluster.spec.snapshots.threshold += 1;
    let metadata = replacement(&observed).expect("the settings changed").metadata;
    assert_eq!(metadata.labels.expect("labels")["team"], "a");
    assert_eq!(metadata.annotations.expect("annotations")["seen-by"], "a webhook");
}

/// Whether the pod runs, what becomes of its volume, and its settings are corrected, even if a person changed them.
#[test]
fn what_the_operator_depends_on_is_corrected() {
    let changes: [fn(&mut StatefulSetSpec); 3] = [
        |spec| spec.replicas = Some(0),
        |spec| spec.persistent_volume_claim_retention_policy = None,
        |spec| spec.template.metadata = None,
    ];
    for change in changes {
        let mut observed = written(|_| ());
        change(live_spec(&mut observed));
        assert!(replacement(&observed).is_some());
    }
}

#[test]
fn the_operators_value_wins_over_a_variable_of_the_spec() {
    let mut observed = parse(ONE_VOTER);
    let env = json!({ "env": [{ "name": "RAFT_NODE_SNAPSHOT_THRESHOLD", "value": "1" }, { "name": "RAFT_NODE_LOG", "value": "debug" }] });
    edit(&mut observed.cluster.spec, &json!({ "pod": env }));
    let set = of(&ValidatedCluster::parse(&observed).expect("valid"), &shape(), None);
    let env = pod_of(&set).containers[0].env.clone().unwrap_or_default();
    let values = |name: &str| {
        env.iter().filter(|variable| variable.name == name).filter_map(|it| it.value.clone()).collect::<Vec<_>>()
    };
    assert_eq!(values("RAFT_NODE_SNAPSHOT_THRESHOLD"), ["1024"]);
    assert_eq!(values("RAFT_NODE_LOG"), ["debug"]);
}

/// Each flag has the variable of the same name, which the flag would silently override.
#[test]
fn every_flag_and_variable_of_the_operator_is_reserved() {
    let observed = parse("backup\nreplicas 1");
    let valid = ValidatedCluster::parse(&observed).expect("valid");
    let mut store = observed.cluster.spec.backup.as_ref().expect("it has one").object_store.clone();
    store.credentials_secret_ref.name = "others".to_owned();
    let set = of(&valid, &Shape { restore_store: Some(&store), ..shape() }, None);
    let container = &pod_of(&set).containers[0];
    let flags = container.args.iter().flatten().filter_map(|argument| argument.strip_prefix("--")?.split('=').next());
    let flags = flags.map(|flag| format!("RAFT_NODE_{}", flag.replace('-', "_").to_uppercase()));
    let variables = container.env.iter().flatten().map(|variable| variable.name.clone());
    let mut set: Vec<String> = flags.chain(variables).collect();
    set.sort();
    let mut reserved = crds::raft_cluster::RESERVED_VARIABLES.map(str::to_owned);
    reserved.sort();
    assert_eq!(set, reserved);
}

/// Argo CD deletes objects with the label `app.kubernetes.io/instance` that have no owner and are not in Git.
#[test]
fn the_instance_label_is_taken_off_each_claim_once() {
    let labels = |observed: &Observed| {
        let actions = plan::plan(observed).actions;
        let found = actions.into_iter().find_map(|action| match action {
            Action::Write(write @ ObjectAction::RelabelVolume { .. }) => Some(write.write()),
            Action::Write(_) | Action::Call(_) => None,
        });
        found.map(|write| match write {
            Write::Patch(patch) => patch.body()["metadata"].clone(),
            other => panic!("{other:?}"),
        })
    };
    let mut observed = written(|_| ());
    let labelled = |observed: &mut Observed, instance: &str| {
        let claim = observed.members.get_mut(&Ordinal(1)).and_then(|it| it.volume.as_mut()).expect("it exists");
        let labels = claim.metadata.labels.get_or_insert_default();
        labels.insert(names::LABEL_INSTANCE.to_owned(), instance.to_owned());
    };
    labelled(&mut observed, "a-release");
    let patch = labels(&observed).expect("the claim was never labelled by this version");
    let kept = patch["labels"].as_object().expect("labels");
    assert!(!kept.contains_key(names::LABEL_INSTANCE), "the label of another tool stays");
    labelled(&mut observed, "demo");
    let patch = labels(&observed).expect("the claim was never labelled by this version");
    assert_eq!(patch["labels"][names::LABEL_INSTANCE], Value::Null);
    assert!(patch["labels"].as_object().expect("labels").contains_key(names::LABEL_INSTANCE), "null removes it");
    assert_eq!(patch["labels"][names::LABEL_MEMBER], "demo-1");
    let metadata =
        &mut observed.members.get_mut(&Ordinal(1)).and_then(|it| it.volume.as_mut()).expect("it exists").metadata;
    let stamp = patch["annotations"][names::ANNOTATION_APPLIED].as_str().expect("a stamp").to_owned();
    metadata.annotations.get_or_insert_default().insert(names::ANNOTATION_APPLIED.to_owned(), stamp);
    metadata.labels.get_or_insert_default().insert(names::LABEL_INSTANCE.to_owned(), "demo".to_owned());
    assert_eq!(labels(&observed), None, "a person who writes it again has a reason");
}

#[test]
fn objects_that_hold_data_lack_the_instance_label() {
    let observed = parse("replicas 1");
    let secret = plan::plan(&observed).actions.into_iter().find_map(|action| match action {
        Action::Write(ObjectAction::CreateIdentity(secret)) => Some(secret),
        Action::Write(_) | Action::Call(_) => None,
    });
    let labels = secret.expect("the identity is created").metadata.labels.expect("labels");
    assert!(!labels.contains_key(names::LABEL_INSTANCE), "{labels:?}");
    let valid = ValidatedCluster::parse(&observed).expect("valid");
    let template = of(&valid, &shape(), None).spec.and_then(|spec| spec.volume_claim_templates).expect("a template");
    assert_eq!(template[0].metadata.labels, None, "a template cannot change, therefore it carries no labels");
}

#[test]
fn only_the_last_write_decides() {
    let observed = written(|_| ());
    let valid = ValidatedCluster::parse(&observed).expect("valid");
    let live = observed.members[&Ordinal(1)].set.as_ref().expect("it exists");
    assert!(is_written(&of(&valid, &shape(), Some(live)), live));
    let goes = Shape { volume_fate: VolumeFate::Delete, ..shape() };
    assert!(!is_written(&of(&valid, &goes, Some(live)), live));
}
