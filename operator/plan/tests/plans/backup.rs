//! Backups over several calls: which member is called, which name the backup has in the call, and what the status
//! reports in the end.

use std::collections::BTreeMap;

use crds::{ObjectStore, RaftBackup};
use k8s_openapi::jiff::Timestamp;
use plan::backup::{Assignment, AttemptState, Attempts, Choice, Completed, choose, progressed};
use plan::observed::Observed;
use serde_json::json;

use crate::observed::parse;

fn backup() -> RaftBackup {
    serde_json::from_value(json!({
        "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftBackup",
        "metadata": { "name": "nightly", "uid": "u1", "generation": 1 }, "spec": { "clusterName": "demo" },
    }))
    .expect("a RaftBackup")
}

fn cluster() -> Observed {
    parse("backup\nidentity a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3")
}

fn assignment(backup: &RaftBackup, cluster: &Observed) -> Assignment {
    ask_after(Attempts::default(), backup, cluster)
}

fn ask_after(attempts: Attempts, backup: &RaftBackup, cluster: &Observed) -> Assignment {
    match choose(backup, Some(cluster), attempts) {
        Choice::Assign(assignment) => assignment,
        other => panic!("{other:?}"),
    }
}

fn report(backup: &mut RaftBackup, assignment: &Assignment, progress: &AttemptState) {
    backup.status = Some(progressed(backup, assignment, progress, Timestamp::UNIX_EPOCH));
}

/// A member recognizes a backup by its name alone. If a call repeats the name with another bucket, the member continues
/// to upload to the bucket in which the backup began.
#[test]
fn a_backup_is_in_the_bucket_that_its_status_names() {
    let running = AttemptState::Running { bytes_done: 1, bytes_total: 2 };
    let unanswered = AttemptState::Unanswered { error: "no answer".to_owned() };
    for meanwhile in [&running, &unanswered] {
        let (mut backup, mut cluster) = (backup(), cluster());
        let mut jobs: BTreeMap<String, ObjectStore> = BTreeMap::new();
        let first = assignment(&backup, &cluster);
        jobs.insert(first.name.clone(), first.store.clone());
        report(&mut backup, &first, meanwhile);
        assert_eq!(assignment(&backup, &cluster).name, first.name, "the call is repeated under its name");

        cluster.cluster.spec.backup.as_mut().expect("it has one").object_store.bucket = "another".to_owned();
        let second = assignment(&backup, &cluster);
        let used = jobs.entry(second.name.clone()).or_insert_with(|| second.store.clone()).clone();
        let completed = Completed {
            manifest: "c1/manifest".to_owned(),
            sha256: String::new(),
            size_bytes: 2,
            index: 3,
            term: 1,
            revision: 4,
        };
        report(&mut backup, &second, &AttemptState::Done(Box::new(completed)));
        assert_eq!(backup.status.and_then(|status| status.location), Some(used));
    }
}

/// The operator calls the followers first, then the leader, then starts again with the first follower.
#[test]
fn another_member_is_called_after_each_attempt_that_did_not_complete() {
    let (mut backup, cluster) = (backup(), cluster());
    let mut attempts = Attempts::default();
    let mut called = Vec::new();
    for turn in 0..4 {
        let assignment = ask_after(attempts, &backup, &cluster);
        called.push(assignment.member.0);
        if turn % 2 == 0 {
            attempts.unanswered += 1;
            report(&mut backup, &assignment, &AttemptState::Unanswered { error: "no answer".to_owned() });
        } else {
            attempts.failed += 1;
            report(&mut backup, &assignment, &AttemptState::Failed { cause: None, error: "the disk".to_owned() });
        }
    }
    assert_eq!(called, [2, 3, 1, 2]);
}
