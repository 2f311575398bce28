//! Rollouts next to other events: a record that is not written, an operator of a former version, machines that restart,
//! drains, a cluster without a leader. What a rollout does by itself is tested in `rollouts.rs`.

use crds::raft_cluster::ImagePullPolicy;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use plan::action::ObjectAction;
use plan::names;
use plan::observed::Observed;
use serde_json::json;

use crate::observed::parse;
use crate::rollout_cases::{
    ONE, THREE, ago, annotate, carry_out, changed, changes_of_settings, condition, crashed, member, note, planned, pod,
    recorded, recorded_by, replaces, stopped, tried, unrecorded, wanted, write_settings, writes,
};

/// Lets every member run the settings of the spec, as if each had been restarted with them.
fn run_wanted(observed: &mut Observed) {
    let settings = wanted(observed);
    for member in observed.members.values_mut() {
        write_settings(member.set.as_mut().expect("a set"), &settings);
        annotate(member.pod.as_mut().expect("a pod"), names::ANNOTATION_SETTINGS, &settings);
    }
}

/// The operator and `spec.image` change at once, and the record is not written, because another program annotated the
/// Service meanwhile. In the next pass members would run different settings, and there would never be a record.
#[test]
fn no_member_restarts_before_what_all_of_them_run_is_recorded() {
    let mut observed = unrecorded(THREE);
    observed.cluster.spec.image = Some("raft-node:2".to_owned());
    assert!(changes_of_settings(&observed).is_empty() && stopped(&observed).is_empty());
    let (status, reason, message) = condition(&observed, "Reconciling");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "RollingOut"));
    assert!(message.contains("what the members run now is recorded first"), "{message}");
    let record = recorded_by(&observed).expect("all run the same");
    note(&mut observed, &record);
    assert_eq!(changes_of_settings(&observed).into_keys().collect::<Vec<_>>(), ["demo-2"]);
}

/// An operator of a former version rolled another image out, which it did not record. Then `spec.image` was removed.
#[test]
fn a_record_that_a_former_operator_left_behind_restarts_no_member() {
    let mut observed = recorded(THREE);
    observed.cluster.spec.image = Some("raft-node:3".to_owned());
    run_wanted(&mut observed);
    for member in observed.members.values_mut() {
        annotate(member.pod.as_mut().expect("a pod"), names::ANNOTATION_IMAGE, "raft-node:3");
    }
    observed.cluster.spec.image = None;
    let restarts = |observed: &Observed| !changes_of_settings(observed).is_empty() || !stopped(observed).is_empty();
    assert!(!restarts(&observed), "the record names raft-node:1, which no member runs");
    let record = recorded_by(&observed).expect("all run the same");
    assert_eq!(record.image, "raft-node:3");
    note(&mut observed, &record);
    assert!(!restarts(&observed));
}

/// A member that failed days ago is silent for longer than the replacement delay. That its machine restarts is no
/// reason to give it up.
#[test]
fn a_machine_that_restarts_is_not_lost() {
    let mut observed = tried(THREE, 2, 100_000);
    for (away, gone) in [(Some(59), false), (Some(60), true), (None, true)] {
        let since = away.map(|seconds| ago(&observed, seconds));
        observed.unready_nodes.insert("node1".to_owned(), since);
        assert_eq!(replaces(&observed), gone, "not Ready for {away:?} s, or gone; the replacement delay is 60 s");
    }
    let restarts = ago(&observed, 5);
    observed.unready_nodes = [("node2".to_owned(), None), ("node1".to_owned(), Some(restarts))].into();
    assert!(!replaces(&observed), "another machine is lost");
}

/// The kubelet ends the process of a pod that is deleted. A process that ended before did fail.
#[test]
fn a_drain_of_a_member_on_trial_does_not_fail_the_rollout() {
    let mut observed = crashed(THREE, 2, 1, "bad flag");
    let now = observed.now;
    pod(&mut observed, 2).metadata.deletion_timestamp = Some(Time(now));
    assert_eq!(condition(&observed, "Degraded").1, "RolloutFailed");
    let status = pod(&mut observed, 2).status.as_mut().and_then(|status| status.container_statuses.as_mut());
    let container = &mut status.expect("a status")[0];
    container.state = container.last_state.take();
    assert_ne!(condition(&observed, "Degraded").1, "RolloutFailed", "it is drained");
    pod(&mut observed, 2).metadata.deletion_timestamp = None;
    assert_eq!(condition(&observed, "Degraded").1, "RolloutFailed", "it ended by itself");
}

/// Without a leader no member restarts in its turn.
#[test]
fn a_change_that_waits_for_a_leader_says_so() {
    let mut observed = changed(THREE);
    observed.configuration = None;
    let rollout = planned(&observed).status.rollout.expect("the change is pending");
    assert_eq!((rollout.updated, rollout.total), (Some(0), Some(3)));
    assert!(rollout.message.expect("it says why").contains("elect a leader"));
    let why = |observed: &Observed| planned(observed).status.rollout.and_then(|rollout| rollout.message);
    let mut record = recorded_by(&unrecorded(THREE)).expect("all run the same");
    record.note_version("raft-node:2", "0.9", 1);
    note(&mut observed, &record);
    assert!(why(&observed).expect("it says why").contains("0.9.0"), "it is a downgrade");
    let mut wiped = changed(ONE);
    wiped.configuration = None;
    member(&mut wiped, 1).answer = member(&mut parse("member 1 blank b2"), 1).answer.clone();
    assert!(why(&wiped).expect("it says why").contains("Restore a backup"));
}

/// The policy that the spec asked for before is not the operator's.
#[test]
fn a_pull_policy_that_is_removed_from_the_spec_leaves_the_pods() {
    let policy = |observed: &Observed| {
        let set = writes(observed).into_iter().find_map(|write| match write {
            ObjectAction::ReplaceSet(replace) if replace.object().name() == "demo-2" => {
                replace.object().parse::<StatefulSet>()
            }
            _ => None,
        });
        set.expect("it is written").spec.expect("a spec").template.spec.expect("a pod").containers[0]
            .image_pull_policy
            .clone()
    };
    let mut observed = unrecorded(THREE);
    observed.cluster.spec.image_pull_policy = Some(ImagePullPolicy::Always);
    run_wanted(&mut observed);
    let record = recorded_by(&observed).expect("all run the same");
    assert_eq!(record.image_pull_policy.as_deref(), Some("Always"));
    note(&mut observed, &record);
    observed.cluster.spec.image_pull_policy = None;
    assert_eq!(policy(&observed), None);
    observed.operator.node_image_pull_policy = Some("Never".to_owned());
    assert_eq!(policy(&observed).as_deref(), Some("Never"), "the operator's default");
    // The policy stays although the spec never asked for it, whatever the flags of a new operator are.
    let mut observed = changed(THREE);
    observed.operator.node_image_pull_policy = Some("Never".to_owned());
    assert_eq!(policy(&observed), None);
}

/// The machine with its volume is gone, and Kubernetes deleted its pod. The new pod does not say whether that is so, or
/// whether the new settings fit no node.
#[test]
fn a_member_on_trial_that_fits_no_node_is_replaced_once_the_change_is_taken_back() {
    let mut observed = tried(THREE, 2, 800);
    let scheduled =
        json!({ "type": "PodScheduled", "status": "False", "message": "3 node(s) had volume node affinity conflict" });
    let pod = pod(&mut observed, 2);
    pod.spec.as_mut().expect("a spec").node_name = None;
    let conditions = pod.status.get_or_insert_default().conditions.get_or_insert_default();
    conditions.push(serde_json::from_value(scheduled).expect("a condition"));
    assert!(!replaces(&observed));
    let (_, reason, message) = condition(&observed, "Degraded");
    assert_eq!(reason, "Unschedulable");
    assert!(
        message.contains("is not replaced before it has served") && message.contains("take the change back"),
        "{message}"
    );
    observed.cluster.spec.image = None;
    carry_out(&mut observed);
    assert_eq!(stopped(&observed), ["demo-2-0"]);
    let settings = wanted(&observed);
    annotate(self::pod(&mut observed, 2), names::ANNOTATION_SETTINGS, &settings);
    observed.now = observed.now.checked_add(SignedDuration::from_secs(60)).expect("within range");
    assert!(replaces(&observed), "it has been silent with its former settings for 60 s");
    assert!(!condition(&observed, "Degraded").2.contains("take the change back"));
}
