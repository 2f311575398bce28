//! Plans of a stopped cluster (`spec.stopped`): what is done, what is not, and what is reported.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use plan::Plan;
use plan::action::{Action, ObjectAction};
use plan::backup::{Attempts, Choice};
use plan::names::Ordinal;
use plan::observed::Observed;

use crate::{observed, rollout_cases};

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

fn replicas_of_all(plan: &Plan) -> Vec<Option<i32>> {
    let sets = plan.actions.iter().filter_map(|action| match action {
        Action::Write(ObjectAction::ReplaceSet(replace)) => replace.object().parse::<StatefulSet>(),
        Action::Write(_) | Action::Call(_) => None,
    });
    replicas(&sets.collect::<Vec<_>>())
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
    assert_eq!(
        condition(&plan::plan(&running), "Ready").1,
        "Stopping",
        "the pods exist, so that Kubernetes still acts"
    );
}

/// The spec may ask for `stopped` and for another `whenDeleted` at once, and an earlier version may have created the Secret.
/// If the RaftCluster were deleted now, the volumes would stay and the Secret would not.
#[test]
fn the_identity_gets_the_fate_of_the_volumes_while_the_cluster_stops_and_after() {
    for words in ["owned formed", "early formed"] {
        let text = BUSY.replace("formed", words);
        let observed = stopped(&text);
        let plan = plan::plan(&observed);
        plan::invariant::check(&observed, &plan.actions);
        let is_written = |plan: &Plan| {
            let secret = plan.actions.iter().any(|action| match action {
                Action::Write(ObjectAction::CreateIdentity(secret)) => secret.metadata.owner_references.is_none(),
                Action::Write(_) | Action::Call(_) => false,
            });
            let pointer = plan.actions.iter().any(|action| match action {
                Action::Write(ObjectAction::PointToIdentity { secret, .. }) => secret == "demo-identity-c1000000",
                Action::Write(_) | Action::Call(_) => false,
            });
            (secret, pointer)
        };
        assert_eq!(is_written(&plan), (true, true), "{words}: {:?}", plan.actions);
        assert_eq!(replicas_of_all(&plan), [Some(0); 3]);
        let mut ended = observed.clone();
        ended.configuration = None;
        for member in ended.members.values_mut() {
            (member.pod, member.answer) = (None, None);
            member.set.as_mut().and_then(|set| set.spec.as_mut()).expect("a set").replicas = Some(0);
        }
        assert_eq!(is_written(&plan::plan(&ended)), (true, true), "{words}");
    }
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

/// The services differ in each case, so that the cluster would be written if it were not stopped.
#[test]
fn a_stop_comes_before_whatever_else_is_wrong() {
    let one = "replicas 1\nmember 1 is a1 leader";
    let lost = stopped("identity formed\nreplicas 1\nmember 1 silent 5 announced a1");
    let mut taken = stopped(&format!("identity a1 formed\n{one}"));
    taken.services.client = taken.services.members.clone();
    let foreign = &mut taken.services.client.as_mut().expect("it exists").metadata;
    (foreign.name, foreign.owner_references) = (Some("demo".to_owned()), None);
    let mut invalid = stopped(&format!("identity a1 formed\n{one}"));
    invalid.cluster.spec.replicas = 0;
    let mut unreadable = stopped(&format!("identity a1 formed\n{one}"));
    for secret in unreadable.identities.values_mut().flatten() {
        secret.data = None;
    }
    for (observed, reason) in
        [(lost, "IdentityLost"), (taken, "NameTaken"), (invalid, "InvalidSpec"), (unreadable, "InvalidSpec")]
    {
        let plan = plan::plan(&observed);
        plan::invariant::check(&observed, &plan.actions);
        assert_eq!(replicas(&replaced(&plan)), [Some(0)], "{reason}");
        assert_eq!(condition(&plan, "Ready"), says("False", reason));
        let mut paused = observed.clone();
        paused.cluster.spec.paused = true;
        assert!(plan::plan(&paused).actions.is_empty(), "{reason}: paused takes precedence");
        let mut runs = observed.clone();
        runs.cluster.spec.stopped = false;
        assert!(replicas_of_all(&plan::plan(&runs)).iter().all(|replicas| *replicas != Some(0)), "{reason}");
        let stopped = carried_out(observed, &plan);
        assert!(plan::plan(&stopped).actions.is_empty(), "{reason}: it is stopped once");
        assert_eq!(condition(&plan::plan(&stopped), "Ready"), says("False", reason), "it is still reported");
    }
}

/// Without the identity, it is unknown how a StatefulSet is to be written: it is only scaled, after it keeps its volume.
#[test]
fn a_set_that_would_lose_its_volume_is_not_scaled_to_0_without_the_identity_either() {
    let mut observed = observed::parse("identity formed\nreplicas 1\nmember 1 silent 5 announced a1");
    observed.cluster.spec.stopped = true;
    let first = replaced(&plan::plan(&observed));
    assert_ne!(replicas(&first), [Some(0)]);
    let member = observed.members.get_mut(&Ordinal(1)).expect("a member");
    let live = member.set.replace(first[0].clone()).expect("a set");
    let second = replaced(&plan::plan(&observed));
    assert_eq!(replicas(&second), [Some(0)]);
    let template = |set: &StatefulSet| set.spec.as_ref().map(|spec| spec.template.clone());
    assert_eq!(template(&second[0]), template(&live), "nothing else changes");
}

/// A create has no precondition: a late one must start no member of a cluster that was stopped meanwhile.
#[test]
fn a_created_member_starts_in_the_next_pass_unless_the_cluster_was_stopped() {
    let mut observed =
        observed::parse("identity a1 b2 c3 formed\nreplicas 4\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3");
    let mut created = rollout_cases::created(&observed);
    assert_eq!(replicas(&created), [Some(0)]);
    let mut set = created.remove(0);
    (set.metadata.uid, set.metadata.resource_version) = (Some("u".to_owned()), Some("1".to_owned()));
    observed.members.entry(Ordinal(4)).or_default().set = Some(set);
    assert_eq!(replicas_of(&plan::plan(&observed), "demo-4"), Some(1));
    observed.cluster.spec.stopped = true;
    assert_eq!(replicas_of(&plan::plan(&observed), "demo-4"), Some(0), "a start that was decided before fails");
}

/// A start that was decided between two stops must fail after the second one.
#[test]
fn each_stop_writes_every_stateful_set_once() {
    let mut observed = stopped(BUSY);
    for generation in [2, 4] {
        observed.cluster.metadata.generation = Some(generation);
        let plan = plan::plan(&observed);
        assert_eq!(replicas_of_all(&plan), [Some(0); 3], "generation {generation}");
        observed = carried_out(observed, &plan);
        assert!(plan::plan(&observed).actions.is_empty(), "generation {generation}");
    }
}

#[test]
fn a_stopped_cluster_that_is_paused_stays_stopped() {
    let observed = stopped(BUSY);
    let mut observed = carried_out(observed.clone(), &plan::plan(&observed));
    observed.cluster.spec.paused = true;
    observed.cluster.metadata.generation = Some(9);
    assert_eq!(condition(&plan::plan(&observed), "Ready"), ("True".to_owned(), "Stopped".to_owned()));
}

/// `kubectl delete --cascade=orphan` leaves the pods. A new StatefulSet adopts them, and with 0 replicas ends them.
#[test]
fn a_stateful_set_for_a_pod_that_is_left_keeps_it_running() {
    let text = "identity a1 b2 c3 formed\nmember 1 is a1 leader labelled a1\nmember 2 is b2 labelled b2\nmember 3 is c3 labelled c3";
    let mut observed = observed::parse(text);
    let owner = |kind: &str| {
        serde_json::from_value(
            serde_json::json!([{ "apiVersion": "apps/v1", "kind": kind, "name": "demo-3", "uid": "u", "controller": true }]),
        )
    };
    let third = observed.members.get_mut(&Ordinal(3)).expect("a member");
    third.set = None;
    third.pod.as_mut().expect("a pod").metadata.owner_references = None;
    assert_eq!(replicas(&rollout_cases::created(&observed)), [Some(1)]);
    let third = observed.members.get_mut(&Ordinal(3)).expect("a member");
    third.pod.as_mut().expect("a pod").metadata.owner_references = owner("StatefulSet").expect("an owner");
    assert_eq!(replicas(&rollout_cases::created(&observed)), [Some(0)], "Kubernetes deletes the pod with its owner");
    let third = observed.members.get_mut(&Ordinal(3)).expect("a member");
    third.pod = None;
    assert_eq!(replicas(&rollout_cases::created(&observed)), [Some(0)]);
}

/// The replicas that a plan gives to the StatefulSet of this name; `None` if it does not write it.
fn replicas_of(plan: &Plan, name: &str) -> Option<i32> {
    plan.actions.iter().find_map(|action| match action {
        Action::Write(ObjectAction::ReplaceSet(replace)) if replace.object().name() == name => {
            replace.object().parse::<StatefulSet>()?.spec?.replicas
        }
        Action::Write(_) | Action::Call(_) => None,
    })
}

#[test]
fn a_pod_that_does_not_end_is_reported_with_its_cause() {
    let mut observed = stopped(BUSY);
    observed.members.get_mut(&Ordinal(2)).expect("a member").set = None;
    let pod = observed.members.get_mut(&Ordinal(3)).and_then(|member| member.pod.as_mut()).expect("a pod");
    pod.spec.get_or_insert_default().node_name = Some("dead".to_owned());
    let past = observed.now.checked_sub(SignedDuration::from_secs(9)).expect("in range");
    pod.metadata.deletion_timestamp = Some(Time(past));
    let plan = plan::plan(&observed);
    let message = &plan.status.conditions.iter().find(|it| it.type_ == "Reconciling").expect("it is reported").message;
    assert!(message.contains("demo-2 (no StatefulSet manages its pod: delete the pod demo-2-0)"), "{message}");
    assert!(message.contains("node dead does not confirm"), "{message}");
}

/// No member is absent while all start, and a Warning event would wake a person at every start.
#[test]
fn a_start_is_no_lost_quorum() {
    let text = "identity a1 b2 c3 formed\nmember 1 silent 1\nmember 2 silent 1\nmember 3 silent 1";
    let mut observed = observed::parse(text);
    assert_eq!(condition(&plan::plan(&observed), "Degraded").1, "QuorumLost", "the pods have run for long");
    for member in observed.members.values_mut() {
        member.pod = None;
        let set = member.set.as_mut().expect("a set");
        set.spec.get_or_insert_default().replicas = Some(0);
    }
    assert_eq!(condition(&plan::plan(&observed), "Degraded").1, "NoLeader", "StatefulSets are scaled in this pass");
    let mut observed = observed::parse(text);
    let young = observed.now.checked_sub(SignedDuration::from_secs(20)).expect("in range");
    for pod in observed.members.values_mut().filter_map(|member| member.pod.as_mut()) {
        pod.metadata.creation_timestamp = Some(Time(young));
    }
    assert_eq!(condition(&plan::plan(&observed), "Degraded").1, "NoLeader", "the pods have just begun");
    let answers = |text: &str| {
        let mut observed = observed::parse(text);
        let pod = observed.members.get_mut(&Ordinal(2)).and_then(|member| member.pod.as_mut()).expect("a pod");
        pod.metadata.creation_timestamp = Some(Time(young));
        condition(&plan::plan(&observed), "Degraded").1
    };
    let first = "identity a1 b2 c3 formed\nmember 1 alone a1\nmember 3 silent 900\nmember 2 silent";
    assert_eq!(answers(&format!("{first} 5")), "NoLeader", "with the one that starts it is a majority");
    assert_eq!(answers(&format!("{first} 100")), "QuorumLost", "it does not start");
}

/// The pod of a member on a dead node stays from before the stop, and was not ready all the time.
#[test]
fn silence_from_before_the_stop_replaces_no_member() {
    let text = "identity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 silent 5 terminating";
    let mut observed = observed::parse(text);
    let pod = observed.members.get_mut(&Ordinal(3)).and_then(|member| member.pod.as_mut()).expect("a pod");
    let long_ago = observed.now.checked_sub(SignedDuration::from_hours(9)).expect("in range");
    for condition in pod.status.get_or_insert_default().conditions.iter_mut().flatten() {
        condition.last_transition_time = Some(Time(long_ago));
    }
    let creates = |observed: &Observed| {
        let actions = plan::plan(observed).actions;
        actions.iter().any(|action| matches!(action, Action::Write(ObjectAction::ReserveOrdinals { .. })))
    };
    assert!(!creates(&observed), "it has been silent for 5 seconds");
    observed.members.get_mut(&Ordinal(3)).and_then(|it| it.pod.as_mut()).expect("a pod").metadata.deletion_timestamp =
        None;
    assert!(creates(&observed), "a pod that was not ready for hours is lost");
}

#[test]
fn a_backup_of_a_paused_cluster_whose_members_run_does_not_wait_for_a_start() {
    let mut observed = stopped("identity a1 formed\nbackup\nreplicas 1\nmember 1 is a1 leader");
    observed.cluster.spec.paused = true;
    let choice = plan::backup::choose(&backup(), Some(&observed), Attempts::default());
    assert!(matches!(choice, Choice::Assign(_)), "{choice:?}");
}

fn backup() -> crds::RaftBackup {
    serde_json::from_value(serde_json::json!({
        "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftBackup",
        "metadata": { "name": "b", "namespace": "default", "uid": "u" }, "spec": { "clusterName": "demo" },
    }))
    .expect("a RaftBackup")
}

#[test]
fn a_backup_waits_for_the_start() {
    let observed = stopped("identity a1 formed\nbackup\nreplicas 1\nmember 1 is a1 leader");
    let Choice::Wait(note) = plan::backup::choose(&backup(), Some(&observed), Attempts::default()) else {
        panic!("a stopped cluster takes no backup")
    };
    assert_eq!(note.reason, crds::Reason::ClusterStopped);
}
