//! Observations of clusters in a rollout, and what a plan does about them. Owns no test.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use plan::Plan;
use plan::action::{Action, MemberAction, ObjectAction, Write};
use plan::completed::CompletedRollout;
use plan::desired::stateful_set::settings;
use plan::ids::MemberId;
use plan::names::{self, Ordinal};
use plan::observed::member::{Answer, Report};
use plan::observed::{Observed, ObservedMember};
use plan::validated::ValidatedCluster;
use serde_json::json;

use crate::observed::parse;

pub(crate) const ONE: &str = "identity a1 formed\nreplicas 1\nmember 1 is a1 leader labelled a1";
pub(crate) const THREE: &str = "identity a1 b2 c3 formed\nmember 1 is a1 leader labelled a1\nmember 2 is b2 labelled b2\nmember 3 is c3 labelled c3";

/// A cluster that has served for a minute and has no record of a rollout.
pub(crate) fn unrecorded(text: &str) -> Observed {
    let mut observed = parse(text);
    let since = ago(&observed, 60);
    for pod in observed.members.values_mut().filter_map(|member| member.pod.as_mut()) {
        annotate(pod, names::ANNOTATION_IMAGE, "raft-node:1");
        pod.spec.get_or_insert_default().node_name = Some("node1".to_owned());
        set_ready(pod, true, since);
    }
    observed
}

/// A cluster whose last completed rollout is recorded: version 1 of the image `raft-node:1`.
pub(crate) fn recorded(text: &str) -> Observed {
    let mut observed = unrecorded(text);
    let record = recorded_by(&observed).expect("every member serves");
    note(&mut observed, &record);
    observed
}

/// The cluster after a person set another image.
pub(crate) fn changed(text: &str) -> Observed {
    let mut observed = recorded(text);
    observed.cluster.spec.image = Some("raft-node:2".to_owned());
    observed
}

/// The cluster, of which one member was restarted with the image of the spec `seconds` ago and does not answer.
pub(crate) fn tried(text: &str, ordinal: u32, seconds: i64) -> Observed {
    let mut observed = changed(text);
    let (settings, restarted) = (wanted(&observed), ago(&observed, seconds));
    let one = member(&mut observed, ordinal);
    let set = one.set.as_mut().expect("a set");
    write_settings(set, &settings);
    write_image(set, "raft-node:2");
    let notes = set.metadata.annotations.get_or_insert_default();
    notes.insert(names::ANNOTATION_SETTINGS_SINCE.to_owned(), restarted.to_string());
    let pod = one.pod.as_mut().expect("a pod");
    annotate(pod, names::ANNOTATION_SETTINGS, &settings);
    annotate(pod, names::ANNOTATION_IMAGE, "raft-node:2");
    pod.metadata.creation_timestamp = Some(Time(restarted));
    set_ready(pod, false, restarted);
    one.answer = Some(Answer::Silent { since: restarted, error: "no answer".to_owned() });
    if observed.configuration.as_ref().is_some_and(|read| read.leader == Ordinal(ordinal)) {
        observed.configuration = None;
    } else {
        let leader = observed.configuration.as_ref().expect("a leader").leader.0;
        report(&mut observed, leader).progress.remove(&MemberId([0xa1, 0xb2, 0xc3][ordinal as usize - 1]));
    }
    observed
}

/// A cluster whose member ended with this message, with the settings of the spec.
pub(crate) fn crashed(text: &str, ordinal: u32, exit_code: i32, message: &str) -> Observed {
    let mut observed = tried(text, ordinal, 30);
    let ended = json!({ "exitCode": exit_code, "reason": "Error", "message": message });
    let status = json!({
        "name": "raft-node", "image": "raft-node:2", "imageID": "", "ready": false, "restartCount": 1,
        "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": { "terminated": ended },
    });
    let status = serde_json::from_value(status).expect("a status");
    pod(&mut observed, ordinal).status.get_or_insert_default().container_statuses = Some(vec![status]);
    observed
}

pub(crate) fn member(observed: &mut Observed, ordinal: u32) -> &mut ObservedMember {
    observed.members.get_mut(&Ordinal(ordinal)).expect("it exists")
}

pub(crate) fn pod(observed: &mut Observed, ordinal: u32) -> &mut Pod {
    member(observed, ordinal).pod.as_mut().expect("a pod")
}

pub(crate) fn report(observed: &mut Observed, ordinal: u32) -> &mut Report {
    match member(observed, ordinal).answer.as_mut() {
        Some(Answer::Report(report)) => report,
        other => panic!("{other:?}"),
    }
}

/// The member answers again, and reports that its disk is damaged.
pub(crate) fn refuse_disk(observed: &mut Observed, ordinal: u32) {
    let mut damaged = parse("member 1 damaged a1").members.remove(&Ordinal(1)).and_then(|it| it.answer).expect("it is");
    if let Answer::Report(report) = &mut damaged {
        report.error = Some("bad checksum".to_owned());
    }
    member(observed, ordinal).answer = Some(damaged);
}

pub(crate) fn annotate(pod: &mut Pod, key: &str, value: &str) {
    pod.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}

pub(crate) fn set_ready(pod: &mut Pod, is_ready: bool, since: Timestamp) {
    let status = if is_ready { "True" } else { "False" };
    let condition = json!({ "type": "Ready", "status": status, "lastTransitionTime": Time(since) });
    let conditions = vec![serde_json::from_value(condition).expect("a condition")];
    pod.status.get_or_insert_default().conditions = Some(conditions);
}

pub(crate) fn ago(observed: &Observed, seconds: i64) -> Timestamp {
    observed.now.checked_sub(SignedDuration::from_secs(seconds)).expect("after the epoch")
}

pub(crate) fn wanted(observed: &Observed) -> String {
    settings(&ValidatedCluster::parse(observed).expect("valid"), None)
}

pub(crate) fn write_settings(set: &mut StatefulSet, settings: &str) {
    let template = set.spec.get_or_insert_default().template.metadata.get_or_insert_default();
    template.annotations.get_or_insert_default().insert(names::ANNOTATION_SETTINGS.to_owned(), settings.to_owned());
}

/// Notes the image on a StatefulSet's pod template, as the operator does.
fn write_image(set: &mut StatefulSet, image: &str) {
    let template = set.spec.get_or_insert_default().template.metadata.get_or_insert_default();
    template.annotations.get_or_insert_default().insert(names::ANNOTATION_IMAGE.to_owned(), image.to_owned());
}

pub(crate) fn written_settings(set: &StatefulSet) -> Option<String> {
    set.spec.as_ref()?.template.metadata.as_ref()?.annotations.as_ref()?.get(names::ANNOTATION_SETTINGS).cloned()
}

pub(crate) fn note(observed: &mut Observed, record: &CompletedRollout) {
    let service = observed.services.members.as_mut().expect("it exists");
    let notes = service.metadata.annotations.get_or_insert_default();
    notes.insert(names::ANNOTATION_COMPLETED_ROLLOUT.to_owned(), record.to_annotation());
}

pub(crate) fn planned(observed: &Observed) -> Plan {
    let plan = plan::plan(observed);
    plan::invariant::check(observed, &plan.actions);
    plan
}

pub(crate) fn writes(observed: &Observed) -> Vec<ObjectAction> {
    let write = |action| match action {
        Action::Write(write) => Some(write),
        Action::Call(_) => None,
    };
    planned(observed).actions.into_iter().filter_map(write).collect()
}

/// What a plan records. Checks that the write is a compare-and-swap.
pub(crate) fn recorded_by(observed: &Observed) -> Option<CompletedRollout> {
    writes(observed).into_iter().find_map(|write| match (&write, write.write()) {
        (ObjectAction::NoteRollout { record, .. }, Write::Patch(patch)) => {
            assert_eq!(patch.body()["metadata"]["resourceVersion"], "1", "the record is written by compare-and-swap");
            Some(serde_json::from_str(record).expect("a record"))
        }
        _ => None,
    })
}

/// Names of the pods that a plan stops.
pub(crate) fn stopped(observed: &Observed) -> Vec<String> {
    let pod = |write| match write {
        ObjectAction::EvictPod { pod } | ObjectAction::DeletePod { pod } => Some(pod.name),
        _ => None,
    };
    writes(observed).into_iter().filter_map(pod).collect()
}

/// The settings that a plan writes onto StatefulSets in place of others, by name.
pub(crate) fn changes_of_settings(observed: &Observed) -> BTreeMap<String, String> {
    let live = |name: &str| observed.members[&names::ordinal_of_member("demo", name).expect("it is one")].set.clone();
    let change = |write| match write {
        ObjectAction::ReplaceSet(replace) => {
            let set: StatefulSet = replace.object().parse().expect("a set");
            let name = set.metadata.name.clone().expect("a name");
            let changes = written_settings(&set) != live(&name).as_ref().and_then(written_settings);
            changes.then(|| (name, written_settings(&set).unwrap_or_default()))
        }
        _ => None,
    };
    writes(observed).into_iter().filter_map(change).collect()
}

/// The StatefulSets that a plan creates.
pub(crate) fn created(observed: &Observed) -> Vec<StatefulSet> {
    let set = |write| match write {
        ObjectAction::CreateSet { set, .. } => Some(*set),
        _ => None,
    };
    writes(observed).into_iter().filter_map(set).collect()
}

pub(crate) fn condition(observed: &Observed, kind: &str) -> (String, String, String) {
    let conditions = planned(observed).status.conditions;
    let found = conditions.into_iter().find(|condition| condition.type_ == kind).expect("it is reported");
    (found.status, found.reason, found.message)
}

/// Returns whether the plan gives the member up: it creates another one, or changes the configuration.
pub(crate) fn replaces(observed: &Observed) -> bool {
    planned(observed).actions.iter().any(|action| {
        matches!(
            action,
            Action::Write(ObjectAction::CreateSet { .. }) | Action::Call(MemberAction::ChangeMembership { .. })
        )
    })
}

/// Carries out the StatefulSets' part of a plan.
pub(crate) fn carry_out(observed: &mut Observed) {
    for write in writes(observed) {
        if let ObjectAction::ReplaceSet(replace) = write {
            let set: StatefulSet = replace.object().parse().expect("a set");
            let name = set.metadata.name.clone().unwrap_or_default();
            let ordinal = names::ordinal_of_member("demo", &name).expect("a member").0;
            member(observed, ordinal).set = Some(set);
        }
    }
}
