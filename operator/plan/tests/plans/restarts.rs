//! Pods that never started and have outdated settings: they are deleted, once their StatefulSet would create another pod.

use plan::action::{Action, ObjectAction};

use crate::observed::parse;

/// Names of the pods that the plan deletes. Each pod waits for a node.
fn deleted(text: &str) -> Vec<String> {
    let mut observed = parse(text);
    for pod in observed.members.values_mut().filter_map(|member| member.pod.as_mut()) {
        pod.status.get_or_insert_default().phase = Some("Pending".to_owned());
    }
    let actions = plan::plan(&observed).actions;
    let deleted = actions.iter().filter_map(|action| match action {
        Action::Write(ObjectAction::DeletePod { pod }) => Some(pod.name.clone()),
        Action::Write(_) | Action::Call(_) => None,
    });
    deleted.collect()
}

/// Otherwise the pod would come back with its former settings, and would be deleted in every pass.
#[test]
fn a_pod_that_never_started_is_deleted_only_once_its_stateful_set_is_written() {
    let pending = |more: &str| format!("replicas 1\nidentity created\nmember 1 silent 9 unscheduled {more}");
    assert_eq!(deleted(&pending("outdated")), ["demo-1-0"]);
    assert!(deleted(&pending("outdated unwritten")).is_empty());
    assert!(deleted(&pending("")).is_empty(), "its settings are those of the spec");
}
