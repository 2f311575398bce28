//! Members that do not start, and members whose pods have other settings than their StatefulSets: which of them get the
//! settings of the spec although it is not their turn.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use plan::ids::MemberId;
use plan::names;
use plan::observed::member::Answer;
use plan::observed::{Observed, Warning};
use serde_json::json;

use crate::observed::parse;
use crate::rollout_cases::{
    THREE, ago, annotate, carry_out, changed, changes_of_settings, crashed, member, note, pod, recorded, replaces,
    report, set_ready, stopped, tried, wanted, write_settings,
};

/// Names of the members whose StatefulSets get other settings.
fn taken(observed: &Observed) -> Vec<String> {
    changes_of_settings(observed).into_keys().collect()
}

/// Lets demo-3 be silent for 5 s, with a pod that was created 60 s ago and has this status.
fn silent(mut observed: Observed, status: &serde_json::Value) -> Observed {
    let (since, created) = (ago(&observed, 5), ago(&observed, 60));
    if observed.configuration.is_some() {
        report(&mut observed, 1).progress.remove(&MemberId(0xc3));
    }
    member(&mut observed, 3).answer = Some(Answer::Silent { since, error: String::new() });
    let pod = pod(&mut observed, 3);
    set_ready(pod, false, created);
    pod.metadata.creation_timestamp = Some(Time(created));
    let mut conditions = pod.status.take().and_then(|status| status.conditions).unwrap_or_default();
    let mut status: k8s_openapi::api::core::v1::PodStatus = serde_json::from_value(status.clone()).expect("a status");
    conditions.extend(status.conditions.take().unwrap_or_default());
    status.conditions = Some(conditions);
    pod.status = Some(status);
    observed
}

/// A cluster whose spec asks for another image. No member has its turn, because a learner lags.
fn waiting() -> Observed {
    let learner = "replicas 4\nconfiguration 7 voters a1 b2 c3 learners d4\nmember 4 is d4 labelled d4 announced d4";
    let mut observed = changed(&format!("{THREE}\n{learner}"));
    report(&mut observed, 1).progress.get_mut(&MemberId(0xd4)).expect("it is heard").matched = 1;
    assert_eq!(taken(&observed), [""; 0]);
    observed
}

fn unscheduled() -> serde_json::Value {
    let condition = json!({ "type": "PodScheduled", "status": "False", "message": "0/3 nodes are available" });
    json!({ "phase": "Pending", "conditions": [condition] })
}

fn container(state: &serde_json::Value) -> serde_json::Value {
    json!({ "name": "raft-node", "image": "raft-node:1", "imageID": "", "ready": false, "restartCount": 1, "state": state })
}

fn crashing() -> serde_json::Value {
    let state = json!({ "waiting": { "reason": "CrashLoopBackOff" } });
    json!({ "phase": "Running", "containerStatuses": [container(&state)] })
}

fn creating() -> serde_json::Value {
    let state = json!({ "waiting": { "reason": "ContainerCreating" } });
    json!({ "phase": "Pending", "containerStatuses": [container(&state)] })
}

fn running() -> serde_json::Value {
    json!({ "phase": "Running", "containerStatuses": [container(&json!({ "running": {} }))] })
}

/// demo-3 with settings that were neither recorded nor asked for by the spec.
fn with_others(mut observed: Observed) -> Observed {
    write_settings(member(&mut observed, 3).set.as_mut().expect("a set"), "others");
    annotate(pod(&mut observed, 3), names::ANNOTATION_SETTINGS, "others");
    observed
}

#[test]
fn a_member_that_needs_other_settings_to_start_gets_them_at_once() {
    for status in [unscheduled(), crashing()] {
        assert_eq!(taken(&silent(waiting(), &status)), ["demo-3"], "{status}");
    }
    let mut rejected = silent(waiting(), &creating());
    let (kind, reason) = ("StatefulSet".to_owned(), "FailedCreate".to_owned());
    member(&mut rejected, 3).pod = None;
    assert_eq!(taken(&rejected), [""; 0], "its pod is being created");
    member(&mut rejected, 3).warnings = vec![Warning { kind, reason, message: "exceeded quota".to_owned() }];
    assert_eq!(taken(&rejected), ["demo-3"]);
}

/// It may start by itself, and the settings of the spec may be bad.
#[test]
fn a_member_that_starts_keeps_the_recorded_settings() {
    assert_eq!(taken(&silent(waiting(), &creating())), [""; 0], "nothing is wrong with it");
    assert_eq!(taken(&with_others(silent(waiting(), &creating()))), ["demo-3"], "other settings are not worth keeping");
    let mut young = silent(waiting(), &unscheduled());
    for (seconds, gets) in [(9, false), (10, true)] {
        let created = ago(&young, seconds);
        pod(&mut young, 3).metadata.creation_timestamp = Some(Time(created));
        assert_eq!(!taken(&young).is_empty(), gets, "its pod was created {seconds} s ago");
    }
}

#[test]
fn a_member_that_runs_waits_for_its_turn() {
    assert_eq!(taken(&with_others(silent(waiting(), &running()))), [""; 0], "its process runs");
    let mut answers = with_others(silent(waiting(), &creating()));
    member(&mut answers, 3).answer = member(&mut parse("member 3 alone c3"), 3).answer.clone();
    assert_eq!(taken(&answers), [""; 0], "it answers");
}

/// One member tries the settings of the spec. A second one with bad settings could cost the quorum.
#[test]
fn no_second_member_tries_the_settings_of_the_spec() {
    let tries = tried(THREE, 2, 30);
    assert_eq!(taken(&silent(tries.clone(), &unscheduled())), [""; 0]);
    let mut rejected = silent(tries, &creating());
    member(&mut rejected, 3).pod = None;
    let (kind, reason, message) = ("StatefulSet".to_owned(), "FailedCreate".to_owned(), "quota".to_owned());
    member(&mut rejected, 3).warnings = vec![Warning { kind, reason, message }];
    assert_eq!(taken(&rejected), [""; 0], "its StatefulSet has the recorded settings");
}

/// One member alone cannot serve, so that it cannot show whether the settings are good. Only whether they are bad.
#[test]
fn without_a_leader_only_a_failed_member_keeps_others_from_new_settings() {
    let leaderless = |mut observed: Observed| {
        observed.configuration = None;
        taken(&silent(observed, &unscheduled()))
    };
    assert_eq!(leaderless(tried(THREE, 2, 30)), ["demo-3"]);
    assert_eq!(leaderless(crashed(THREE, 2, 1, "")), [""; 0]);
}

/// A person edited the StatefulSet, or the change was taken back before the member restarted.
#[test]
fn a_stateful_set_returns_to_the_settings_that_its_pod_has_already() {
    let mut observed = recorded(THREE);
    write_settings(member(&mut observed, 2).set.as_mut().expect("a set"), "others");
    assert_eq!(changes_of_settings(&observed), [("demo-2".to_owned(), wanted(&observed))].into());
    assert_eq!(stopped(&observed), [""; 0]);
}

#[test]
fn first_members_get_the_settings_of_the_spec_although_they_run() {
    let observed =
        parse("identity created\nmember 1 blank a1 outdated unwritten\nmember 2 silent 1\nmember 3 silent 1");
    assert_eq!(taken(&observed), ["demo-1"], "no member has data");
}

/// It is not its turn while another member is unfit, and it serves.
#[test]
fn a_member_that_serves_on_trial_waits_for_its_turn() {
    let mut observed = tried(THREE, 3, 5);
    let serving = member(&mut recorded(THREE), 3).answer.clone();
    member(&mut observed, 3).answer = serving;
    report(&mut observed, 1).progress = report(&mut recorded(THREE), 1).progress.clone();
    let since = ago(&observed, 5);
    set_ready(pod(&mut observed, 3), true, since);
    observed.cluster.spec.image = Some("raft-node:3".to_owned());
    assert_eq!(taken(&observed), [""; 0], "demo-3 has been ready for 5 s");
    assert_eq!(stopped(&observed), [""; 0]);
}

/// A member that failed gets corrected settings at once, but not those of an older image.
#[test]
fn a_refused_downgrade_reaches_no_member_that_failed() {
    let mut observed = crashed(THREE, 2, 1, "bad flag");
    let mut record = plan::completed::CompletedRollout::read(&observed).expect("it is recorded");
    record.note_version("raft-node:0", "0.9", 1);
    note(&mut observed, &record);
    observed.cluster.spec.image = Some("raft-node:0".to_owned());
    assert_eq!(taken(&observed), [""; 0]);
    // It was written before the version was known.
    let settings = wanted(&observed);
    write_settings(member(&mut observed, 2).set.as_mut().expect("a set"), &settings);
    assert_eq!(stopped(&observed), [""; 0]);
}

/// Its machine is lost, and its volume is on that machine. The settings that it gets meanwhile change nothing about that.
#[test]
fn a_member_without_a_machine_is_replaced_although_it_gets_new_settings() {
    let long_silent = |observed: Observed, status: &serde_json::Value| {
        let mut observed = silent(observed, status);
        carry_out(&mut observed);
        let (settings, since) = (wanted(&observed), ago(&observed, 800));
        annotate(pod(&mut observed, 3), names::ANNOTATION_SETTINGS, &settings);
        member(&mut observed, 3).answer = Some(Answer::Silent { since, error: String::new() });
        let notes = &mut member(&mut observed, 3).set.as_mut().expect("a set").metadata.annotations;
        notes.get_or_insert_default().insert(names::ANNOTATION_SETTINGS_SINCE.to_owned(), since.to_string());
        observed
    };
    assert!(replaces(&long_silent(waiting(), &unscheduled())));
    assert!(!replaces(&long_silent(waiting(), &crashing())), "it has a machine");
    // The settings change again before the scheduler tried the new pod.
    let mut again = long_silent(waiting(), &unscheduled());
    pod(&mut again, 3).status = serde_json::from_value(json!({ "phase": "Pending" })).expect("a status");
    again.cluster.spec.image = Some("raft-node:3".to_owned());
    carry_out(&mut again);
    assert!(replaces(&long_silent(again, &unscheduled())));
    let mut tries = silent(tried(THREE, 3, 30), &unscheduled());
    tries.cluster.spec.image = Some("raft-node:3".to_owned());
    assert!(!replaces(&long_silent(tries, &unscheduled())), "it was on trial already");
    // Its machine comes back with its volume, and its program fails with the new settings.
    let mut back = long_silent(waiting(), &unscheduled());
    let since = ago(&back, 800);
    pod(&mut back, 3).spec.get_or_insert_default().node_name = Some("node1".to_owned());
    pod(&mut back, 3).status = serde_json::from_value(running()).expect("a status");
    let conditions = pod(&mut back, 3).status.get_or_insert_default().conditions.get_or_insert_default();
    let scheduled = serde_json::json!({ "type": "PodScheduled", "status": "True" });
    conditions.push(serde_json::from_value(scheduled).expect("a condition"));
    member(&mut back, 3).answer = Some(Answer::Silent { since, error: String::new() });
    assert!(!replaces(&back), "it has a machine, and is on trial");
    carry_out(&mut back);
    let noted = member(&mut back, 3).set.as_ref().and_then(|set| set.metadata.annotations.clone());
    assert!(!noted.expect("notes").contains_key(names::ANNOTATION_WITHOUT_MACHINE));
}
