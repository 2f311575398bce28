//! RaftClusters that are deleted and created again: which retained volumes are taken up, and which are refused with what
//! a person can do.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use plan::Plan;
use plan::action::{Action, MemberAction, ObjectAction, Write};
use plan::names::{self, Ordinal};
use plan::observed::annotation;
use plan::observed::member::Answer;

use crate::identity::{Api, stalled};

/// Secret and claims that a deleted cluster of three left.
const SECRET: &str = "identity unpointed";
const CLAIMS: &str = "member 1 no-set labelled a1\nmember 2 no-set labelled b2\nmember 3 no-set labelled c3";

/// The StatefulSets that a plan creates, each with the ID that it announces.
fn created(plan: &Plan) -> Vec<(String, Option<String>)> {
    let set = |action: &Action| match action {
        Action::Write(ObjectAction::CreateSet { set, .. }) => Some((**set).clone()),
        Action::Write(_) | Action::Call(_) => None,
    };
    let announced = |set: &StatefulSet| annotation(&set.metadata, names::ANNOTATION_MEMBER_ID).map(str::to_owned);
    let sets = plan.actions.iter().filter_map(set);
    sets.map(|set| (set.metadata.name.clone().unwrap_or_default(), announced(&set))).collect()
}

/// The StatefulSets that are created after `text` was taken up. Panics if it is refused.
fn taken_up(text: &str) -> Vec<(String, Option<String>)> {
    let mut api = Api::of(text);
    let first = api.plan(text);
    assert!(created(&first).is_empty(), "the pointer comes first");
    assert!(api.pass(text) > 0, "{:?}", stalled(&first));
    assert_eq!(api.note(names::ANNOTATION_FIRST_VOTERS).as_deref(), Some("[]"), "no member is bootstrapped");
    let plan = api.plan(text);
    let reserves = |action: &Action| matches!(action, Action::Write(ObjectAction::ReserveOrdinals { .. }));
    assert!(!plan.actions.iter().any(reserves), "the counts of the spec apply only after a leader was seen");
    created(&plan)
}

/// The message with which `text` is refused.
fn refused(text: &str) -> String {
    let mut api = Api::of(text);
    let plan = api.plan(text);
    let (reason, message) = stalled(&plan);
    assert_eq!((reason.as_str(), api.pass(text)), ("RetainedVolumes", 0), "{message}");
    assert!(created(&plan).is_empty());
    message
}

fn members(of: &[(u32, &str)]) -> Vec<(String, Option<String>)> {
    of.iter().map(|(ordinal, id)| (format!("demo-{ordinal}"), Some(format!("{id:0>16}")))).collect()
}

#[test]
fn a_cluster_that_was_deleted_comes_back_with_its_members() {
    let three = members(&[(1, "a1"), (2, "b2"), (3, "c3")]);
    assert_eq!(taken_up(&format!("{SECRET}\n{CLAIMS}")), three);
    assert_eq!(taken_up(&format!("replicas 5\n{SECRET}\n{CLAIMS}")), three, "more are created under a leader");
    assert_eq!(taken_up(&format!("replicas 1\n{SECRET}\n{CLAIMS}")), three, "surplus ones leave under a leader");
}

/// The new RaftCluster may want the volumes to go with it.
#[test]
fn the_secret_gets_the_fate_that_the_new_spec_wants() {
    let text = format!("delete-volumes\n{SECRET}\n{CLAIMS}");
    let mut api = Api::of(&text);
    assert_eq!(api.pass(&text), 2);
    assert_eq!(api.note(names::ANNOTATION_IDENTITY).as_deref(), Some("demo-identity-c1000000-owned"));
}

#[test]
fn first_voters_that_were_all_replaced_are_not_missed() {
    let claims = "member 4 no-set labelled d4\nmember 5 no-set labelled e5\nmember 6 no-set labelled f6";
    let three = members(&[(4, "d4"), (5, "e5"), (6, "f6")]);
    assert_eq!(taken_up(&format!("{SECRET}\n{claims}")), three);
    // The Secret of an earlier version names the first voters, and a person took its owner off before the deletion.
    let text = format!("identity a1 b2 c3 early\n{claims}");
    let mut api = Api::of(&text);
    api.secrets[0].metadata.owner_references = None;
    assert_eq!(api.pass(&text), 2, "it is copied");
    assert_eq!(created(&api.plan(&text)), three);
}

#[test]
fn volumes_of_two_generations_are_refused_by_cluster() {
    let text = format!("{SECRET}\n{CLAIMS}\nmember 4 no-set former d4");
    let message = refused(&text);
    for part in [
        "they do not name one cluster",
        "cluster c1000000000000000000000000000000: data-demo-1-0, data-demo-2-0, data-demo-3-0; cluster dd000000000000000000000000000000: data-demo-4-0",
        "bootstrap.takeUp.clusterID",
        "with a new name",
        "delete the claims",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(taken_up(&format!("take-up c1\n{text}")), members(&[(1, "a1"), (2, "b2"), (3, "c3")]));
    assert!(refused(&format!("take-up dd\n{text}")).contains("the Secret demo-identity-dd000000 with the identity"));
    assert!(refused(&format!("take-up ee\n{text}")).contains("of which there is no claim"));
}

#[test]
fn a_claim_of_a_removed_member_is_never_started_again() {
    let text = format!("{SECRET}\n{CLAIMS}\nmember 4 no-set labelled d4 given-up\nmember 5 no-set former e5 given-up");
    assert_eq!(taken_up(&text), members(&[(1, "a1"), (2, "b2"), (3, "c3")]));
    let only = "identity created\nmember 4 no-set former d4 given-up";
    let names: Vec<String> = created(&Api::of(only).plan(only)).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["demo-5", "demo-6", "demo-7"], "an empty cluster leaves it alone");
    let serving = "identity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\nmember 4 no-set labelled d4 given-up";
    assert!(created(&Api::of(serving).plan(serving)).is_empty());
    let leaderless = "identity a1 b2 c3 formed\nmember 1 alone a1\nmember 4 no-set labelled d4 given-up";
    assert!(created(&Api::of(leaderless).plan(leaderless)).is_empty());
}

/// The label is written before the StatefulSet is deleted: afterwards nothing would tell that the member was removed.
#[test]
fn the_claim_of_a_removed_member_is_labelled_before_its_set_is_deleted() {
    let text = "identity a1 b2 c3 formed\nretain-removed\nconfiguration 9 voters a1 b2 c3 removed d4\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\nmember 4 removed d4 announced d4 labelled d4";
    let deletes = |plan: &Plan| {
        plan.actions
            .iter()
            .any(|action| matches!(action, Action::Write(ObjectAction::DeleteSet { set }) if set.name == "demo-4"))
    };
    let labels = |plan: &Plan| {
        plan.actions.iter().any(|action| match action {
            Action::Write(write @ ObjectAction::RelabelVolume { volume, .. }) if volume.name == "data-demo-4-0" => {
                let Write::Patch(patch) = write.write() else { panic!("it is a patch") };
                patch.body()["metadata"]["labels"][names::LABEL_REMOVED] == "true"
            }
            _ => false,
        })
    };
    let before = plan::plan(&crate::observed::parse(text));
    assert_eq!((labels(&before), deletes(&before)), (true, false));
    let after = plan::plan(&crate::observed::parse(&format!("{text} given-up")));
    assert!(deletes(&after), "{:?}", after.actions);
}

/// The operator labelled one claim only, because it did not reach the other members, and the RaftCluster was deleted.
#[test]
fn a_member_without_a_label_comes_back_under_the_id_that_another_one_reports() {
    let text =
        "identity taken-up\nmember 1 alone a1 announced a1 labelled a1\nmember 2 no-set\nmember 3 no-set given-up";
    let mut observed = Api::of(text).observe(text, crate::observed::CLUSTER);
    let configuration = crate::observed::parse("identity a1 b2 c3\nmember 1 is a1 leader").configuration;
    let member = observed.members.get_mut(&Ordinal(1)).expect("it exists");
    let Some(Answer::Report(report)) = &mut member.answer else { panic!("it answers") };
    report.configuration = configuration.map(|read| read.configuration);
    assert_eq!(created(&plan::plan(&observed)), members(&[(2, "b2")]), "demo-3 was removed");
    let Some(Answer::Report(report)) = observed.members.get_mut(&Ordinal(1)).and_then(|it| it.answer.as_mut()) else {
        panic!("it answers")
    };
    report.configuration = None;
    assert!(created(&plan::plan(&observed)).is_empty(), "nothing says whose volume it is");
}

/// The labels of one claim were refused, and then the StatefulSets and the members' Service were deleted.
#[test]
fn a_claim_that_names_no_member_may_hold_the_last_data() {
    let text = "identity taken-up\nmember 1 no-set\nmember 2 blank b2 announced b2 labelled b2";
    let mut observed = Api::of(text).observe(text, crate::observed::CLUSTER);
    let (reason, message) = stalled(&plan::plan(&observed));
    assert_eq!(reason, "RetainedVolumes");
    assert!(message.contains("data-demo-1-0 do not say it"), "{message}");
    let volume = observed.members.get_mut(&Ordinal(1)).and_then(|member| member.volume.as_mut()).expect("a claim");
    let labels = volume.metadata.labels.get_or_insert_default();
    labels.insert(names::LABEL_MEMBER_ID.to_owned(), "a1".to_owned());
    labels.insert(names::LABEL_CLUSTER_ID.to_owned(), "c1000000000000000000000000000000".to_owned());
    assert_eq!(created(&plan::plan(&observed)), members(&[(1, "a1")]), "a person wrote the labels");
}

/// The operator died after Bootstrap and before it labelled a claim, and the RaftCluster was deleted and created again.
#[test]
fn a_person_names_the_secret_of_unlabelled_data() {
    let mut api = Api::of(&format!("{SECRET}\n{CLAIMS}"));
    let text = "member 1 foreign brought-back\nmember 2 foreign brought-back\nmember 3 blank c3 brought-back";
    let annotate = |api: &mut Api, key: &str, value: &str| {
        let notes = &mut api.service.as_mut().expect("it exists").metadata.annotations;
        notes.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    };
    let mut second = api.secrets[0].clone();
    second.metadata.name = Some("demo-identity-ee000000".to_owned());
    let id = "ee000000000000000000000000000000";
    second.data.as_mut().expect("data").insert("cluster-id".to_owned(), k8s_openapi::ByteString(id.into()));
    api.secrets.push(second);
    annotate(&mut api, names::ANNOTATION_IDENTITY, "demo-identity-ee000000");
    annotate(&mut api, names::ANNOTATION_FIRST_VOTERS, "null");
    let (reason, message) = stalled(&api.plan(text));
    assert_eq!(reason, "RetainedVolumes");
    let advice = "kubectl annotate --overwrite --namespace default service demo-members raftoperator.io/identity=";
    assert!(message.contains(advice), "{message}");
    annotate(&mut api, names::ANNOTATION_IDENTITY, "demo-identity-c1000000");
    let served = "configuration 1 voters a1 b2 c3\nmember 1 is a1 leader brought-back\nmember 2 is b2 brought-back\nmember 3 blank c3 brought-back";
    let plan = api.plan(served);
    assert_eq!(stalled(&plan).0, "NotStalled");
    let labels = |action: &&Action| matches!(action, Action::Write(ObjectAction::LabelVolume { .. }));
    assert_eq!(plan.actions.iter().filter(labels).count(), 2);
    let begins = |action: &Action| matches!(action, Action::Call(MemberAction::Bootstrap { .. }));
    assert!(!plan.actions.iter().any(begins), "{:?}", plan.actions);
}

/// The addresses of members contain the namespace. Members on copies in another namespace would vote in the original
/// cluster, under the IDs of its own members.
#[test]
fn copies_in_another_namespace_are_never_taken_up() {
    let copied = CLAIMS.replace("labelled b2", "labelled b2 copied");
    for text in [format!("{SECRET}\n{CLAIMS}"), format!("take-up c1\n{SECRET}\n{copied}")] {
        let mut api = Api::of(&text);
        let data = api.secrets[0].data.as_mut().expect("it has data");
        data.insert("namespace".to_owned(), k8s_openapi::ByteString(b"elsewhere".to_vec()));
        let (reason, message) = stalled(&api.plan(&text));
        assert_eq!((reason.as_str(), api.pass(&text)), ("RetainedVolumes", 0), "{message}");
        assert!(message.contains("demo-identity-c1000000 is a copy from namespace elsewhere"), "{message}");
        api.secrets[0].data.as_mut().expect("it has data").remove("namespace");
        assert_eq!(api.pass(&text), 1, "earlier versions did not note the namespace");
    }
}

/// A person takes the label off, and the annotation says still that it was written.
#[test]
fn the_label_of_a_removed_member_is_written_again() {
    let text = "identity a1 b2 c3 formed\nretain-removed\nconfiguration 9 voters a1 b2 c3 removed d4\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\nmember 4 removed d4 announced d4 labelled d4";
    let relabelled = |plan: &Plan| {
        plan.actions.iter().find_map(|action| match action {
            Action::Write(ObjectAction::RelabelVolume { volume, stamp, .. }) if volume.name == "data-demo-4-0" => {
                Some(stamp.clone())
            }
            Action::Write(_) | Action::Call(_) => None,
        })
    };
    let written = |text: &str, stamp: &str| {
        let mut observed = crate::observed::parse(text);
        let volume = observed.members.get_mut(&Ordinal(4)).and_then(|member| member.volume.as_mut()).expect("a claim");
        let notes = volume.metadata.annotations.get_or_insert_default();
        notes.insert(names::ANNOTATION_APPLIED.to_owned(), stamp.to_owned());
        plan::plan(&observed)
    };
    let stamp = relabelled(&plan::plan(&crate::observed::parse(text))).expect("it is labelled");
    assert_eq!(relabelled(&written(&format!("{text} given-up"), &stamp)), None, "it is written once");
    assert_eq!(relabelled(&written(text, &stamp)), Some(stamp.clone()));
    let retained = format!("{text} no-set");
    assert_eq!(relabelled(&written(&retained, &stamp)), Some(stamp), "afterwards, too");
}

/// A claim from a VolumeSnapshot or another backup tool may hold less than its member acknowledged.
#[test]
fn a_copied_volume_is_taken_up_only_if_the_spec_asks() {
    let copied = CLAIMS.replace("labelled b2", "labelled b2 copied");
    let message = refused(&format!("{SECRET}\n{copied}"));
    assert!(message.contains("data-demo-2-0 does not carry its own UID"), "{message}");
    let three = members(&[(1, "a1"), (2, "b2"), (3, "c3")]);
    assert_eq!(taken_up(&format!("take-up c1\n{SECRET}\n{copied}")), three);
    // Once its member serves, it is as good as the original.
    let serving = "identity a1 b2 c3 formed\nmember 1 is a1 leader labelled 00000000000000a1\nmember 2 is b2 labelled 00000000000000b2 copied\nmember 3 is c3 labelled 00000000000000c3";
    let noted: Vec<String> = plan::plan(&crate::observed::parse(serving))
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Write(write @ ObjectAction::LabelVolume { .. }) => Some(write.write()),
            _ => None,
        })
        .map(|write| match write {
            Write::Patch(patch) => patch.body()["metadata"]["annotations"][names::ANNOTATION_CLAIM_UID].to_string(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(noted, ["\"PersistentVolumeClaim/data-demo-2-0\""]);
}

#[test]
fn two_claims_of_one_member_are_never_taken_up() {
    let twice = format!("{SECRET}\n{CLAIMS}\nmember 4 no-set labelled a1");
    assert!(refused(&twice).contains("data-demo-1-0 and data-demo-4-0 hold the data of one member"));
    assert!(refused(&format!("take-up c1\n{twice}")).contains("hold the data of one member"));
}

/// Git still asks for the backup that the cluster began with.
#[test]
fn a_consumed_restore_does_not_hinder_the_return() {
    let three = members(&[(1, "a1"), (2, "b2"), (3, "c3")]);
    let restored = format!("identity unpointed from-backup\n{CLAIMS}");
    assert_eq!(taken_up(&format!("restore\n{restored}")), three);
    assert_eq!(taken_up(&restored), three, "the restore may have left the spec");
    assert!(refused(&format!("restore\n{SECRET}\n{CLAIMS}")).contains("did not begin as spec.bootstrap says"));
    // An earlier version noted only the place of the backup.
    let text = format!("restore\nidentity a1 b2 c3 early from-backup\n{CLAIMS}");
    let mut api = Api::of(&text);
    api.secrets[0].metadata.owner_references = None;
    assert_eq!(api.pass(&text), 2);
}

#[test]
fn volumes_without_a_usable_secret_are_refused() {
    let missing = refused(CLAIMS);
    assert!(missing.contains("the Secret demo-identity-c1000000 with the identity"), "{missing}");
    // The Secret of the former RaftCluster is about to be collected.
    let text = format!("{SECRET}\n{CLAIMS}");
    let mut api = Api::of(&text);
    let former = OwnerReference { uid: "former".to_owned(), ..OwnerReference::default() };
    api.secrets[0].metadata.owner_references = Some(vec![former]);
    assert_eq!((stalled(&api.plan(&text)).0.as_str(), api.pass(&text)), ("RetainedVolumes", 0));
}

#[test]
fn a_volume_that_goes_is_not_taken_up() {
    let goes = CLAIMS.replace("labelled b2", "labelled b2 volume-owned");
    assert!(refused(&format!("{SECRET}\n{goes}")).contains("data-demo-2-0 is being deleted"));
    let all = CLAIMS.lines().map(|line| format!("{line} volume-owned\n")).collect::<String>();
    let api = Api::of(SECRET);
    let waits = api.plan(&all);
    assert_eq!(stalled(&waits).0, "NotStalled", "a new cluster waits until they are gone");
    assert!(created(&waits).is_empty());
}

#[test]
fn a_former_stateful_set_is_waited_for() {
    let text = format!("{SECRET}\n{CLAIMS}");
    let api = Api::of(&text);
    let mut observed = api.observe(&text, crate::observed::CLUSTER);
    observed.members.get_mut(&Ordinal(2)).expect("it exists").set = Some(former_set());
    let plan = plan::plan(&observed);
    let ready = plan.status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("it is reported");
    assert_eq!(ready.reason, "NameTaken");
    assert!(!ready.message.contains("is deleted with it"), "{}", ready.message);
}

/// `kubectl delete raftcluster --cascade=orphan` leaves StatefulSets without an owner.
#[test]
fn the_advice_on_a_former_stateful_set_says_that_its_volume_goes_with_it() {
    let text = format!("delete-volumes\n{SECRET}\n{CLAIMS}");
    let mut observed = Api::of(&text).observe(&text, crate::observed::CLUSTER);
    let mut former = former_set();
    former.metadata.owner_references = None;
    let policy = &mut former.spec.get_or_insert_default().persistent_volume_claim_retention_policy;
    policy.get_or_insert_default().when_deleted = Some("Delete".to_owned());
    observed.members.get_mut(&Ordinal(2)).expect("it exists").set = Some(former);
    let plan = plan::plan(&observed);
    let ready = plan.status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("it is reported");
    assert!(ready.message.contains("Its volume is deleted with it"), "{}", ready.message);
}

/// A StatefulSet of an earlier RaftCluster.
fn former_set() -> StatefulSet {
    serde_json::from_value(serde_json::json!({ "metadata": {
        "name": "demo-2", "namespace": "default", "uid": "former", "resourceVersion": "1",
        "ownerReferences": [{ "apiVersion": "v1", "kind": "RaftCluster", "name": "demo", "uid": "former" }],
    }}))
    .expect("a StatefulSet")
}

/// Whether the volumes suffice is for the members to judge.
#[test]
fn too_few_volumes_show_as_a_lost_quorum() {
    let text = "identity taken-up\nconfiguration 9 voters a1 b2 c3\nmember 1 alone a1 announced a1 labelled a1";
    let plan = Api::of(text).plan(text);
    let condition = |kind: &str| {
        let found = plan.status.conditions.iter().find(|condition| condition.type_ == kind).expect("it is reported");
        (found.status.clone(), found.reason.clone())
    };
    assert_eq!(condition("Ready"), ("False".to_owned(), "QuorumLost".to_owned()));
    assert_eq!(condition("Degraded"), ("True".to_owned(), "QuorumLost".to_owned()));
    assert_eq!(condition("Stalled").0, "False", "the missing volumes may still be brought back");
    let starts =
        "identity taken-up\nmember 1 silent 1 announced a1 labelled a1\nmember 2 silent 1 announced b2 labelled b2";
    let plan = Api::of(starts).plan(starts);
    let condition =
        plan.status.conditions.iter().find(|condition| condition.type_ == "Reconciling").expect("it is reported");
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("True", "Bootstrapping"));
}

#[test]
fn take_up_is_ignored_once_the_pointer_is_written() {
    let text = "take-up dd\nidentity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3";
    let plan = Api::of(text).plan(text);
    assert_eq!(stalled(&plan).0, "NotStalled");
}
