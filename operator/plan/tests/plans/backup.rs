//! Backups asked for one after another: who is asked, under which name, and what the status says in the end.

use std::collections::BTreeMap;

use crds::{ObjectStore, RaftBackup};
use k8s_openapi::jiff::Timestamp;
use plan::backup::{Ask, Choice, Completed, Progress, Tries, choose, progressed};
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
    parse("backup\nrecord a1 b2 c3 formed\nmember 1 is a1 leader\nmember 2 is b2\nmember 3 is c3")
}

fn ask(backup: &RaftBackup, cluster: &Observed) -> Ask {
    ask_after(Tries::default(), backup, cluster)
}

fn ask_after(tries: Tries, backup: &RaftBackup, cluster: &Observed) -> Ask {
    match choose(backup, Some(cluster), tries) {
        Choice::Ask(ask) => ask,
        other => panic!("{other:?}"),
    }
}

fn tell(backup: &mut RaftBackup, ask: &Ask, progress: &Progress) {
    backup.status = Some(progressed(backup, ask, progress, Timestamp::UNIX_EPOCH));
}

/// A member that was told a place goes on with it, whatever the spec says meanwhile: it knows backups by name.
#[test]
fn a_backup_is_in_the_bucket_that_its_status_names() {
    let running = Progress::Running { bytes_done: 1, bytes_total: 2 };
    let unheard = Progress::Unheard { error: "no answer".to_owned() };
    for meanwhile in [&running, &unheard] {
        let (mut backup, mut cluster) = (backup(), cluster());
        let mut jobs: BTreeMap<String, ObjectStore> = BTreeMap::new();
        let first = ask(&backup, &cluster);
        jobs.insert(first.name.clone(), first.store.clone());
        tell(&mut backup, &first, meanwhile);
        assert_eq!(ask(&backup, &cluster).name, first.name, "it is asked for again under its name");

        cluster.cluster.spec.backup.as_mut().expect("it has one").object_store.bucket = "another".to_owned();
        let second = ask(&backup, &cluster);
        let used = jobs.entry(second.name.clone()).or_insert_with(|| second.store.clone()).clone();
        let completed = Completed {
            manifest: "c1/manifest".to_owned(),
            sha256: String::new(),
            size_bytes: 2,
            index: 3,
            term: 1,
            revision: 4,
        };
        tell(&mut backup, &second, &Progress::Done(Box::new(completed)));
        assert_eq!(backup.status.and_then(|status| status.location), Some(used));
    }
}

/// The status promises it: followers first, then the leader, then from the beginning.
#[test]
fn another_member_is_asked_after_each_try_that_came_to_nothing() {
    let (mut backup, cluster) = (backup(), cluster());
    let mut tries = Tries::default();
    let mut asked = Vec::new();
    for turn in 0..4 {
        let ask = ask_after(tries, &backup, &cluster);
        asked.push(ask.member.0);
        if turn % 2 == 0 {
            tries.unheard += 1;
            tell(&mut backup, &ask, &Progress::Unheard { error: "no answer".to_owned() });
        } else {
            tries.failed += 1;
            tell(&mut backup, &ask, &Progress::Failed { cause: String::new(), error: "the disk".to_owned() });
        }
    }
    assert_eq!(asked, [2, 3, 1, 2]);
}
