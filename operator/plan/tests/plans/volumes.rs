//! Growth of volumes and moves to another StorageClass: what is written, what webhooks and people cannot confuse, and
//! what is reported (`operator/docs/decisions/volumes.md`). Does not own the order of a move, of which
//! `testdata/volumes.txt` has the cases.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use plan::action::{Action, ObjectAction, Write};
use plan::names::{self, Ordinal};
use plan::observed::Observed;
use serde_json::json;

use crate::observed::parse;
use crate::refused::pass;

const GROWS: &str = "storage-size 2Gi\nidentity a1 b2 c3 formed\nlast-ordinal 3\nmember 1 is a1 leader has 1Gi\nmember 2 is b2 has 1Gi\nmember 3 is c3 has 1Gi";
const MOVES: &str = "storage-class fast\nidentity a1 b2 c3 formed\nlast-ordinal 3\nmember 1 is a1 leader class slow\nmember 2 is b2 class slow\nmember 3 is c3 class slow";

fn actions(observed: &Observed) -> Vec<Action> {
    let actions = plan::plan(observed).actions;
    plan::invariant::check(observed, &actions);
    actions
}

fn claim(observed: &mut Observed, ordinal: u32) -> &mut PersistentVolumeClaim {
    observed.members.get_mut(&Ordinal(ordinal)).and_then(|member| member.volume.as_mut()).expect("it exists")
}

fn set(observed: &mut Observed, ordinal: u32) -> &mut StatefulSet {
    observed.members.get_mut(&Ordinal(ordinal)).and_then(|member| member.set.as_mut()).expect("it exists")
}

fn created(actions: &[Action]) -> Vec<&StatefulSet> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Write(ObjectAction::CreateSet { set, .. }) => Some(set.as_ref()),
            Action::Write(_) | Action::Call(_) => None,
        })
        .collect()
}

/// Message of the condition Reconciling, and its reason.
fn reconciling(observed: &Observed) -> (String, String) {
    let conditions = plan::plan(observed).status.conditions;
    let found = conditions.into_iter().find(|condition| condition.type_ == "Reconciling").expect("it is reported");
    (found.reason, found.message)
}

fn template(set: &StatefulSet) -> &PersistentVolumeClaim {
    &set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_ref()).expect("it has one")[0]
}

/// A late request would otherwise take back a larger size that another operator asked for.
#[test]
fn a_claim_grows_under_its_uid_and_version() {
    let actions = actions(&parse(GROWS));
    let grown: Vec<Write> = actions
        .iter()
        .filter_map(|action| match action {
            Action::Write(write @ ObjectAction::GrowVolume { .. }) => Some(write.write()),
            Action::Write(_) | Action::Call(_) => None,
        })
        .collect();
    assert_eq!(grown.len(), 3, "{actions:?}");
    for write in grown {
        let Write::Patch(patch) = write else { panic!("{write:?}") };
        let body = patch.body();
        assert_eq!(body["metadata"]["uid"], format!("PersistentVolumeClaim/{}", patch.seen().name));
        assert_eq!(body["metadata"]["resourceVersion"], "1");
        assert_eq!(body["spec"]["resources"]["requests"]["storage"], "2Gi");
    }
}

/// Kubernetes refuses every write of a StatefulSet whose claim template differs.
#[test]
fn live_sets_keep_their_claim_template_and_newcomers_get_the_new_one() {
    let mut observed = parse(&format!("{GROWS}\nreplicas 4\nstorage-class fast"));
    let before =
        template(created(&actions(&parse("identity a1 formed\nreplicas 2\nmember 1 is a1 leader")))[0]).clone();
    for ordinal in 1..=3 {
        claim(&mut observed, ordinal).spec.get_or_insert_default().storage_class_name = Some("fast".to_owned());
        set(&mut observed, ordinal).spec.get_or_insert_default().volume_claim_templates = Some(vec![before.clone()]);
    }
    let actions = actions(&observed);
    let newcomers = created(&actions);
    let spec = template(newcomers[0]).spec.as_ref().expect("it has one");
    assert_eq!(spec.storage_class_name.as_deref(), Some("fast"));
    let requests = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    assert_eq!(requests.expect("it has one")["storage"].0, "2Gi");
    for action in &actions {
        if let Action::Write(ObjectAction::ReplaceSet(replace)) = action {
            let set: StatefulSet = replace.object().parse().expect("a StatefulSet");
            assert_eq!(*template(&set), before);
        }
    }
}

#[test]
fn a_class_without_expansion_is_reported_and_stops_nothing_else() {
    let text = GROWS.replace("member 3 is c3 has 1Gi", "member 3 silent 100 has 1Gi");
    let outcome = pass(&parse(&text), "GrowVolume");
    assert!(outcome.did("CreateSet demo-4"), "the lost member is replaced: {:?}", outcome.done);
    let outcome = pass(&parse(GROWS), "GrowVolume");
    let (status, reason, message) = outcome.condition("Ready");
    assert_eq!((status, reason), ("False", "Refused"));
    assert!(message.contains("volumes grow to 2Gi: demo-1, demo-2, demo-3"), "{message}");
    assert!(
        message.contains("the API server refuses growing volume claim data-demo-1-0 and 2 other writes"),
        "{message}"
    );
}

/// A claim of 1Gi may be bound to a whole disk. Its class does not allow expansion, and a size cannot be taken back.
#[test]
fn a_volume_that_is_large_enough_is_not_grown() {
    let mut observed = parse(&GROWS.replace("member 3 is c3 has 1Gi", "member 3 is c3 asks 1Gi has 2Gi"));
    let grown =
        |observed: &Observed| actions(observed).iter().filter(|action| action.describe().name == "GrowVolume").count();
    assert_eq!(grown(&observed), 2);
    let (_, message) = reconciling(&observed);
    assert!(message.ends_with("volumes grow to 2Gi: demo-1, demo-2"), "{message}");
    claim(&mut observed, 3).status.as_mut().and_then(|status| status.phase.as_mut()).expect("bound").clear();
    assert_eq!(grown(&observed), 2, "it is not bound");
}

#[test]
fn what_kubernetes_says_about_a_volume_that_grows_is_reported() {
    let mut observed = parse(&GROWS.replace(" has 1Gi", " asks 2Gi has 1Gi"));
    let said = |kind: &str, message: &str| PersistentVolumeClaimCondition {
        type_: kind.to_owned(),
        status: "True".to_owned(),
        message: Some(message.to_owned()),
        ..PersistentVolumeClaimCondition::default()
    };
    let status = |observed: &mut Observed, ordinal, condition| {
        claim(observed, ordinal).status.get_or_insert_default().conditions = Some(vec![condition]);
    };
    status(&mut observed, 2, said("FileSystemResizePending", "waits for the node"));
    status(&mut observed, 3, said("ControllerResizeError", "the pool is full"));
    assert!(!actions(&observed).iter().any(|action| action.describe().name == "GrowVolume"), "it was asked for");
    let (reason, message) = reconciling(&observed);
    assert_eq!(reason, "GrowingVolumes");
    for part in ["demo-1, demo-2 (its file system", "delete pod demo-2-0", "demo-3 (the pool is full)"] {
        assert!(message.contains(part), "{part:?} in {message}");
    }
}

/// A webhook that gives each claim another class does so for every new member, too: all members would be replaced
/// without end.
#[test]
fn a_class_that_a_webhook_wrote_moves_no_member() {
    let mut observed = parse(MOVES);
    for ordinal in 1..=3 {
        let notes = set(&mut observed, ordinal).metadata.annotations.get_or_insert_default();
        notes.insert(names::ANNOTATION_STORAGE_CLASS.to_owned(), "fast".to_owned());
    }
    assert_eq!(created(&actions(&observed)), Vec::<&StatefulSet>::new());
    let created_again = observed.now;
    set(&mut observed, 2).metadata.creation_timestamp = Some(Time(created_again));
    let actions = actions(&observed);
    assert_eq!(created(&actions).len(), 1, "the claim of demo-2 is older than its StatefulSet: {actions:?}");
    let (_, message) = reconciling(&observed);
    assert!(message.contains("1 of 3 are left, demo-2 is next"), "{message}");
}

/// An operator of an older version noted no class. What it wrote is in the claim template.
#[test]
fn a_member_of_an_older_version_stays_where_it_is() {
    let mut observed = parse(MOVES);
    let template = PersistentVolumeClaim {
        spec: Some(k8s_openapi::api::core::v1::PersistentVolumeClaimSpec {
            storage_class_name: Some("fast".to_owned()),
            ..Default::default()
        }),
        ..PersistentVolumeClaim::default()
    };
    for ordinal in 1..=3 {
        let created = observed.now.checked_sub(SignedDuration::from_hours(4)).expect("long ago");
        let set = set(&mut observed, ordinal);
        set.metadata.creation_timestamp = Some(Time(created));
        set.spec.get_or_insert_default().volume_claim_templates = Some(vec![template.clone()]);
    }
    assert_eq!(created(&actions(&observed)), Vec::<&StatefulSet>::new());
}

/// Before there is a cluster, members cannot be replaced.
#[test]
fn a_class_that_changes_before_the_cluster_is_formed_is_answered() {
    let text = "storage-class fast\nidentity created\nmember 1 silent 9 unbound class quik\nmember 2 silent 9 unbound class quik\nmember 3 silent 9 unbound class quik";
    let (_, message) = reconciling(&parse(text));
    for part in ["StorageClass \"quik\"", "create that StorageClass, or delete this RaftCluster and create it again"] {
        assert!(message.contains(part), "{part:?} in {message}");
    }
}

/// A person deletes all StatefulSets. With `whenDeleted: Retain` the volumes are taken up again; otherwise Kubernetes
/// deletes them, and no empty cluster may take their place.
#[test]
fn deleted_stateful_sets_are_named_and_nothing_is_formed() {
    let text = |rest: &str| {
        let members = [(1, "a1"), (2, "b2"), (3, "c3")];
        let lines = members.map(|(ordinal, id)| format!("member {ordinal} no-set labelled {id} {rest}"));
        format!("identity a1 b2 c3 formed\n{}", lines.join("\n"))
    };
    let ready = |observed: &Observed| {
        let conditions = plan::plan(observed).status.conditions;
        let found = conditions.into_iter().find(|condition| condition.type_ == "Ready").expect("it is reported");
        (found.reason, found.message)
    };
    let kept = parse(&text(""));
    let actions = actions(&kept);
    assert_eq!(created(&actions).len(), 3, "{actions:?}");
    assert!(actions.iter().all(|action| matches!(action, Action::Write(_))), "no member is asked to form: {actions:?}");
    let (reason, message) = ready(&kept);
    let said = "the StatefulSets of demo-1, demo-2, demo-3 were deleted, and are created again on their volumes";
    assert!(reason == "QuorumLost" && message.contains(said), "{reason}: {message}");
    let gone = parse(&text("volume-owned"));
    assert_eq!(created(&self::actions(&gone)), Vec::<&StatefulSet>::new());
    let (reason, message) = ready(&gone);
    let said =
        "the StatefulSets of demo-1, demo-2, demo-3 were deleted, and Kubernetes deletes their volumes with them";
    assert!(reason == "QuorumLost" && message.contains(said), "{reason}: {message}");
    let one = parse("identity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 no-set labelled c3");
    let (reason, message) = ready(&one);
    assert_eq!(reason, "MembersNotReady");
    assert!(message.contains("demo-3: its StatefulSet was deleted, and is created again"), "{message}");
}

/// Claims are read before pods. The status said that no StorageClass is set, although the spec names one.
#[test]
fn a_claim_that_was_created_after_the_claims_were_read_has_the_class_of_its_template() {
    let mut observed =
        parse("identity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 silent 20 announced c3");
    observed.cluster.spec.storage.storage_class_name = Some("quick".to_owned());
    let claim = json!([{ "metadata": { "name": "data" }, "spec": { "storageClassName": "quick" } }]);
    let third = observed.members.get_mut(&Ordinal(3)).expect("a member");
    let spec = third.set.as_mut().and_then(|set| set.spec.as_mut()).expect("a spec");
    spec.volume_claim_templates = serde_json::from_value(claim).expect("claim templates");
    third.volume = None;
    let why = "persistentvolumeclaim \"data-demo-3-0\" not found";
    let scheduled = json!({ "conditions": [{ "type": "PodScheduled", "status": "False", "message": why }] });
    third.pod.as_mut().expect("a pod").status = serde_json::from_value(scheduled).expect("a status");
    let status = plan::plan(&observed).status;
    let degraded = status.conditions.iter().find(|condition| condition.type_ == "Degraded").expect("it is reported");
    assert_eq!(degraded.reason, "VolumePending");
    assert!(degraded.message.contains("StorageClass \"quick\""), "{}", degraded.message);
}
