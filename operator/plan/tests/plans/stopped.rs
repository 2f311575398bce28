//! Plans of a stopped cluster (`spec.stopped`): what is done, what is not, and what is reported.

use k8s_openapi::api::apps::v1::StatefulSet;
use plan::Plan;
use plan::action::{Action, ObjectAction};
use plan::backup::{Attempts, Choice};
use plan::names::Ordinal;
use plan::observed::Observed;

use crate::observed;

/// A cluster of three, for which an operator would otherwise create members, replace one, and restart another.
const BUSY: &str =
    "identity a1 b2 c3 formed\nreplicas 5\nmember 1 is a1 leader\nmember 2 is b2 outdated\nmember 3 silent 900";

fn stopped(text: &str) -> Observed {
    let mut observed = observed::parse(text);
    observed.cluster.spec.stopped = true;
    for set in observed.members.values_mut().filter_map(|member| member.set.as_mut()) {
        let policy = &mut set.spec.get_or_insert_default().persistent_volume_claim_retention_policy;
        policy.get_or_insert_default().when_scaled = Some("Retain".to_owned());
    }
    observed
}

/// The StatefulSets that a plan replaces. Panics if the plan contains any other action.
fn replaced(plan: &Plan) -> Vec<StatefulSet> {
    let set = |action: &Action| match action {
        Action::Write(ObjectAction::ReplaceSet(replace)) => replace.object().parse::<StatefulSet>().expect("a set"),
        other => panic!("{other:?}"),
    };
    plan.actions.iter().map(set).collect()
}

fn replicas(sets: &[StatefulSet]) -> Vec<Option<i32>> {
    sets.iter().map(|set| set.spec.as_ref().and_then(|spec| spec.replicas)).collect()
}

/// What the API server and the StatefulSet controller make of a plan that stops the cluster.
fn carried_out(mut observed: Observed, plan: &Plan) -> Observed {
    for (member, set) in observed.members.values_mut().zip(replaced(plan)) {
        (member.set, member.pod, member.answer) = (Some(set), None, None);
    }
    observed.configuration = None;
    observed
}

fn condition(plan: &Plan, kind: &str) -> (String, String) {
    let found = plan.status.conditions.iter().find(|condition| condition.type_ == kind).expect("it is reported");
    (found.status.clone(), found.reason.clone())
}

fn says(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

#[test]
fn every_member_is_scaled_to_0_and_nothing_else_is_done() {
    let plan = plan::plan(&stopped(BUSY));
    assert_eq!(replicas(&replaced(&plan)), [Some(0); 3]);
    assert_eq!(condition(&plan, "Reconciling"), says("True", "Stopping"));
}

#[test]
fn a_set_gets_the_policy_that_keeps_its_volume_before_it_is_scaled_to_0() {
    let mut observed = stopped(BUSY);
    let member = observed.members.get_mut(&Ordinal(2)).expect("a member");
    let spec = member.set.as_mut().expect("a set").spec.get_or_insert_default();
    spec.persistent_volume_claim_retention_policy.get_or_insert_default().when_scaled = Some("Delete".to_owned());
    let sets = replaced(&plan::plan(&observed));
    assert_eq!(replicas(&sets), [Some(0), Some(1), Some(0)]);
    let policy = sets[1].spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.clone());
    assert_eq!(policy.and_then(|policy| policy.when_scaled).as_deref(), Some("Retain"));
}

/// Helm and Flux wait for Ready=True and Reconciling=False.
#[test]
fn a_stopped_cluster_is_ready_and_has_no_replicas() {
    let observed = stopped(BUSY);
    let observed = carried_out(observed.clone(), &plan::plan(&observed));
    let plan = plan::plan(&observed);
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert_eq!(condition(&plan, "Ready"), says("True", "Stopped"));
    assert_eq!(condition(&plan, "Reconciling").0, "False");
    assert_eq!(condition(&plan, "Degraded"), says("False", "Stopped"));
    assert_eq!((plan.status.replicas, plan.status.ready_replicas), (Some(0), Some(0)));
}

/// Kubernetes changes the owner of a claim only while its pod exists. If the spec began to retain volumes after the stop,
/// the claims still belong to their StatefulSets, and would be deleted with the RaftCluster.
#[test]
fn a_stopped_cluster_whose_volumes_have_another_fate_than_the_spec_says_is_not_ready() {
    let owned = BUSY.replace("leader", "leader volume-goes volume-owned");
    let observed = stopped(&owned);
    let mut observed = carried_out(observed.clone(), &plan::plan(&observed));
    assert_eq!(condition(&plan::plan(&observed), "Ready"), says("False", "RetentionPending"));
    assert_eq!(condition(&plan::plan(&observed), "Stalled").0, "False");
    observed.cluster.spec.storage.retention.when_deleted = crds::raft_cluster::VolumeFate::Delete;
    let plan = plan::plan(&observed);
    let ready = plan.status.conditions.iter().find(|condition| condition.type_ == "Ready").expect("it is reported");
    assert!(ready.message.contains("of demo-2, demo-3 "), "{}", ready.message);
    let running = stopped(&owned);
    assert_eq!(condition(&plan::plan(&running), "Ready").1, "Stopping", "the pods exist, so that Kubernetes still acts");
}

#[test]
fn all_members_start_together_and_none_is_replaced() {
    let observed = stopped(BUSY);
    let mut observed = carried_out(observed.clone(), &plan::plan(&observed));
    observed.cluster.spec.stopped = false;
    let sets: Vec<StatefulSet> = plan::plan(&observed)
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Write(ObjectAction::ReplaceSet(replace)) => replace.object().parse(),
            Action::Write(ObjectAction::Apply(_) | ObjectAction::RelabelVolume { .. }) => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(replicas(&sets), [Some(1); 3]);
}

#[test]
fn a_paused_cluster_is_not_stopped() {
    let mut observed = stopped(BUSY);
    observed.cluster.spec.paused = true;
    let plan = plan::plan(&observed);
    assert!(plan.actions.is_empty());
    assert_ne!(condition(&plan, "Ready").1, "Stopping", "what is reported is what happens");
}

#[test]
fn nothing_is_created_for_a_new_cluster_that_is_stopped() {
    let plan = plan::plan(&stopped("replicas 3"));
    assert!(plan.actions.is_empty(), "{:?}", plan.actions);
    assert_eq!(condition(&plan, "Ready"), says("True", "Stopped"));
}

#[test]
fn a_backup_waits_for_the_start() {
    let backup = serde_json::from_value(serde_json::json!({
        "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftBackup",
        "metadata": { "name": "b", "namespace": "default", "uid": "u" }, "spec": { "clusterName": "demo" },
    }))
    .expect("a RaftBackup");
    let observed = stopped("identity a1 formed\nbackup\nreplicas 1\nmember 1 is a1 leader");
    let Choice::Wait(note) = plan::backup::choose(&backup, Some(&observed), Attempts::default()) else {
        panic!("a stopped cluster takes no backup")
    };
    assert_eq!(note.reason, crds::Reason::ClusterStopped);
}
