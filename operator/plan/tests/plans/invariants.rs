//! The planner's assertions. Each test changes a correct plan so that it violates an invariant, and expects the
//! assertion of this invariant to fail.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use plan::action::{Action, Apply, Change, MemberAction, ObjectAction, Replace};
use plan::ids::MemberId;
use plan::invariant::check;
use plan::names::Ordinal;
use plan::observed::{Observed, Seen};

use crate::observed::parse;

/// Three members serve, a fourth has caught up, and five are wanted. The plan changes the membership and reserves an
/// ordinal.
const GROWS: &str = "identity a1 b2 c3 formed\nreplicas 4\nmax-voters 5\nconfiguration 7 voters a1 b2 c3 learners d4 removed e5\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3\nmember 4 is d4 announced d4";

fn planned(text: &str) -> (Observed, Vec<Action>) {
    let observed = parse(text);
    let actions = plan::plan(&observed).actions;
    check(&observed, &actions);
    (observed, actions)
}

fn change(voters: &[u64], learners: &[u64]) -> Action {
    let ids = |ids: &[u64]| ids.iter().copied().map(MemberId).collect();
    let (voters, learners) = (ids(voters), ids(learners));
    let change = Change { expected: 7, present_voters: 3, voters, learners, members: Vec::new() };
    MemberAction::ChangeMembership { leader: Ordinal(1), change }.into()
}

fn seen(name: &str) -> Seen {
    Seen { name: name.to_owned(), uid: "u".to_owned(), version: "1".to_owned() }
}

#[test]
fn a_sound_change_passes() {
    let (observed, _) = planned(GROWS);
    check(&observed, &[change(&[0xa1, 0xb2, 0xc3], &[])]);
}

#[test]
#[should_panic(expected = "a change keeps a majority")]
fn a_change_to_voters_that_do_not_serve_is_caught() {
    let (observed, _) = planned(GROWS);
    check(&observed, &[change(&[0xa1, 0xf6, 0xf7], &[])]);
}

#[test]
#[should_panic(expected = "a removed ID never returns")]
fn a_removed_member_that_comes_back_is_caught() {
    let (observed, _) = planned(GROWS);
    check(&observed, &[change(&[0xa1, 0xb2, 0xc3], &[0xe5])]);
}

#[test]
#[should_panic(expected = "ordinals only grow")]
fn an_ordinal_that_is_reserved_again_is_caught() {
    let (observed, _) = planned("identity created\nlast-ordinal 5\nreplicas 3");
    let service = Seen::of(&observed.services.members.as_ref().expect("it exists").metadata);
    let again = ObjectAction::ReserveOrdinals { service, first: Ordinal(5), last: Ordinal(7) };
    check(&observed, &[again.into()]);
}

#[test]
#[should_panic(expected = "the budget keeps its floor")]
fn a_budget_that_allows_two_evictions_is_caught() {
    let (observed, mut actions) = planned(GROWS);
    let budget = actions.iter_mut().find_map(|action| match action {
        Action::Write(ObjectAction::Apply(apply)) => {
            let budget = apply.object().parse::<PodDisruptionBudget>()?;
            Some((apply, budget))
        }
        _ => None,
    });
    let (apply, mut budget) = budget.expect("the budget is applied");
    budget.spec.as_mut().expect("it has one").min_available = Some(IntOrString::Int(1));
    **apply = Apply::of(&budget, None);
    check(&observed, &actions);
}

#[test]
#[should_panic(expected = "the identity is chosen once")]
fn a_second_identity_is_caught() {
    let (empty, actions) = planned("replicas 3");
    let created = |action: &&Action| matches!(action, Action::Write(ObjectAction::CreateIdentity(_)));
    let create = actions.iter().find(created).expect("the identity is created").clone();
    check(&empty, std::slice::from_ref(&create));
    let (mut formed, _) = planned("identity a1 b2 c3\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3");
    formed.identities.values_mut().flatten().for_each(|secret| {
        let data = secret.data.get_or_insert_default();
        data.insert("token".to_owned(), k8s_openapi::ByteString("f".repeat(64).into_bytes()));
    });
    check(&formed, &[create]);
}

#[test]
#[should_panic(expected = "the identity is chosen once")]
fn a_pointer_that_replaces_an_unknown_identity_is_caught() {
    let (empty, actions) = planned("replicas 3");
    check(&empty, &actions);
    let (lost, _) = planned("identity a1 b2 c3 no-secret\nmember 1 silent 5");
    check(&lost, &actions);
}

#[test]
#[should_panic(expected = "no member exists before the identity")]
fn a_member_that_is_created_before_the_identity_is_caught() {
    let (_, actions) = planned("identity created\nreplicas 3");
    let (empty, _) = planned("replicas 3");
    check(&empty, &actions);
}

#[test]
#[should_panic(expected = "first voters are chosen once")]
fn first_voters_that_are_chosen_again_are_caught() {
    const BLANK: &str = "member 1 blank a1\nmember 2 blank b2\nmember 3 blank c3";
    let (observed, actions) = planned(&format!("identity created\n{BLANK}"));
    check(&observed, &actions);
    let (chosen, _) = planned(&format!("identity a1 b2 c3\n{BLANK}"));
    check(&chosen, &actions);
}

#[test]
#[should_panic(expected = "deletion is final")]
fn the_deletion_of_a_voter_is_caught() {
    let (observed, _) = planned(GROWS);
    check(&observed, &[ObjectAction::DeleteSet { set: seen("demo-2") }.into()]);
}

#[test]
#[should_panic(expected = "one disruption at a time")]
fn two_evictions_in_one_plan_are_caught() {
    let (observed, _) = planned(GROWS);
    let evict = |pod: &str| ObjectAction::EvictPod { pod: seen(pod) }.into();
    check(&observed, &[evict("demo-2-0"), evict("demo-3-0")]);
}

#[test]
#[should_panic(expected = "an ordinal that this operator reserved")]
fn a_member_under_an_ordinal_that_another_operator_reserved_is_caught() {
    let (observed, actions) = planned("identity created\nreplicas 3");
    let reserves = |action: &Action| matches!(action, Action::Write(ObjectAction::ReserveOrdinals { .. }));
    let created: Vec<Action> = actions.into_iter().filter(|action| !reserves(action)).collect();
    check(&observed, &created);
}

/// The plan replaces the StatefulSets, of which `tamper` changes one.
fn replaced(tamper: fn(&mut StatefulSet)) {
    let (observed, _) = planned(GROWS);
    let live = observed.members[&Ordinal(2)].set.as_ref().expect("it exists");
    let mut wanted = live.clone();
    let spec = wanted.spec.get_or_insert_default();
    spec.persistent_volume_claim_retention_policy.get_or_insert_default().when_scaled = Some("Retain".to_owned());
    let check_one =
        |set: &StatefulSet| check(&observed, &[ObjectAction::ReplaceSet(Box::new(Replace::of(set, live))).into()]);
    check_one(&wanted);
    tamper(&mut wanted);
    check_one(&wanted);
}

#[test]
#[should_panic(expected = "would lose its volume when it is scaled down")]
fn a_volume_that_goes_when_a_set_is_scaled_down_is_caught() {
    replaced(|set| set.spec.get_or_insert_default().persistent_volume_claim_retention_policy = None);
}

#[test]
#[should_panic(expected = "is stopped before its StatefulSet says that its volume stays")]
fn a_set_that_is_stopped_before_its_volume_stays_is_caught() {
    replaced(|set| set.spec.get_or_insert_default().replicas = Some(0));
}

#[test]
#[should_panic(expected = "the claim template of demo-2 would change")]
fn a_replacement_of_the_claim_template_is_caught() {
    replaced(|set| set.spec.get_or_insert_default().volume_claim_templates = Some(Vec::new()));
}

/// The pod of the tampered StatefulSet gets other fields under equal settings.
fn with_pod(pod: &serde_json::Value) {
    let (mut observed, _) = planned(GROWS);
    let whole = |more: &serde_json::Value| {
        let mut whole = serde_json::json!({ "containers": [{ "name": "node" }] });
        whole.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        serde_json::from_value(whole).expect("a pod")
    };
    let live = observed.members.get_mut(&Ordinal(2)).and_then(|member| member.set.as_mut()).expect("it exists");
    live.spec.get_or_insert_default().template.spec = Some(whole(&serde_json::json!({})));
    let mut wanted = live.clone();
    let spec = wanted.spec.get_or_insert_default();
    spec.persistent_volume_claim_retention_policy.get_or_insert_default().when_scaled = Some("Retain".to_owned());
    spec.template.spec = Some(whole(pod));
    let replace = Replace::of(&wanted, live);
    check(&observed, &[ObjectAction::ReplaceSet(Box::new(replace)).into()]);
}

#[test]
fn a_pod_template_that_changes_under_equal_settings_is_caught() {
    let delay = serde_json::json!({ "tolerations": [{
        "key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60,
    }] });
    with_pod(&delay);
    for pod in [
        serde_json::json!({ "containers": [{ "name": "other" }] }),
        serde_json::json!({ "volumes": [{ "name": "other" }] }),
        serde_json::json!({ "nodeSelector": { "disk": "ssd" } }),
        serde_json::json!({ "affinity": { "podAffinity": {} } }),
        serde_json::json!({ "tolerations": [{ "key": "dedicated", "operator": "Exists" }] }),
    ] {
        let caught = std::panic::catch_unwind(|| with_pod(&pod)).expect_err("it is caught");
        let message = caught.downcast_ref::<String>().expect("a message");
        assert!(message.contains("the pods of demo-2 would change without new settings"), "{pod}: {message}");
    }
}

#[test]
#[should_panic(expected = "a member starts only by a write under its StatefulSet's version")]
fn a_member_that_is_created_running_is_caught() {
    let (observed, mut actions) =
        planned("identity a1 b2 c3 formed\nreplicas 4\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3");
    for action in &mut actions {
        if let Action::Write(ObjectAction::CreateSet { set, .. }) = action {
            set.spec.get_or_insert_default().replicas = Some(1);
        }
    }
    check(&observed, &actions);
}

/// An annotation holds the highest reserved ordinal. If a person sets the annotation to the largest number, no further
/// ordinal is reserved, because an ordinal would otherwise be used twice.
#[test]
fn past_the_last_ordinal_nothing_is_created() {
    let (_, actions) = planned("identity created\nlast-ordinal 4294967295\nreplicas 3");
    let creates = |action: &&Action| matches!(action, Action::Write(ObjectAction::CreateSet { .. }));
    assert_eq!(actions.iter().find(creates), None);
}

/// A read of the members' Service may be older than the operator's own reservation. The new reservation then fails,
/// because it names the old version of the Service.
#[test]
fn own_ordinals_are_not_reserved_again_after_an_old_observation() {
    let mut observed = parse("identity created\nlast-ordinal 5\nreplicas 3");
    observed.reserved = [Ordinal(6), Ordinal(7)].into();
    let actions = plan::plan(&observed).actions;
    check(&observed, &actions);
    let reserved = actions.iter().find_map(|action| match action {
        Action::Write(ObjectAction::ReserveOrdinals { first, last, .. }) => Some((*first, *last)),
        Action::Write(_) | Action::Call(_) => None,
    });
    assert_eq!(reserved, Some((Ordinal(8), Ordinal(8))));
}

#[test]
#[should_panic(expected = "a stopped cluster is only stopped")]
fn an_action_for_a_stopped_cluster_is_caught() {
    let (mut observed, actions) = planned(GROWS);
    observed.cluster.spec.stopped = true;
    check(&observed, &actions);
}

const TO_GROW: &str = "storage-size 2Gi\nidentity a1 formed\nreplicas 1\nmember 1 is a1 leader has 1Gi";

fn growth(observed: &Observed, size: &str) -> Action {
    let claim = observed.members[&Ordinal(1)].volume.as_ref().expect("it exists");
    ObjectAction::GrowVolume { volume: Seen::of(&claim.metadata), size: Quantity(size.to_owned()) }.into()
}

#[test]
fn a_claim_that_asks_for_more_passes() {
    let (observed, actions) = planned(TO_GROW);
    assert!(actions.contains(&growth(&observed, "2Gi")), "{actions:?}");
}

#[test]
#[should_panic(expected = "a volume only grows")]
fn a_claim_that_asks_for_less_is_caught() {
    let (observed, _) = planned(TO_GROW);
    check(&observed, &[growth(&observed, "512Mi")]);
}

#[test]
#[should_panic(expected = "the patch follows no other change")]
fn a_growth_of_another_version_of_the_claim_is_caught() {
    let (mut observed, _) = planned(TO_GROW);
    let late = growth(&observed, "2Gi");
    let claim = observed.members.get_mut(&Ordinal(1)).and_then(|member| member.volume.as_mut()).expect("it exists");
    claim.metadata.resource_version = Some("2".to_owned());
    check(&observed, &[late]);
}

/// The member would be replaced by one that serves.
#[test]
#[should_panic(expected = "a member that is too old for its data stays")]
fn a_change_that_replaces_a_member_that_is_too_old_is_caught() {
    let (observed, _) = planned(&GROWS.replace("member 3 is c3", "member 3 too-new c3"));
    check(&observed, &[change(&[0xa1, 0xb2, 0xd4], &[])]);
}

/// Nothing is recorded to which a rollout could be taken back.
#[test]
#[should_panic(expected = "a raise follows a rollout")]
fn a_raise_before_a_rollout_is_recorded_is_caught() {
    let (observed, _) = planned(&GROWS.replace("leader", "leader supports 2"));
    let raise = MemberAction::RaiseFeatureLevel { leader: Ordinal(1), to: 2 };
    check(&observed, &[raise.into()]);
}
