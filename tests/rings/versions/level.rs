//! The raise of the feature level: who holds it back, and what a former program does afterwards: with a directory, and as a new
//! member.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proto::admin as wire;
use tonic::{Code, Status};

use crate::cluster::{CLUSTER, Cluster, TOKEN, with_token};
use crate::pair::{Pair, raise, reason};
use crate::until::until;
use crate::{former, program};

/// Asks the leader for level 2 until it raises it.
async fn raised(cluster: &Cluster) {
    until("the level is raised", async || {
        raise(&cluster.members[cluster.leader().await], 2).await.ok().filter(|level| *level == 2)
    })
    .await;
}

/// Contents of all files below a folder.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is a folder").map(|entry| entry.expect("it can be read")) {
            if entry.file_type().expect("it has a type").is_dir() {
                folders.push(entry.path());
            } else {
                found.insert(entry.path(), fs::read(entry.path()).expect("it can be read"));
            }
        }
    }
    found
}

/// Names of the files that differ.
fn changed(before: &BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<PathBuf> {
    let names = before.keys().chain(after.keys()).filter(|name| before.get(*name) != after.get(*name));
    names.cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_level_is_raised_without_former_members_and_cannot_be_taken_back() {
    let mut pair = Pair::of("raised", &former()).await;
    let unknown = raise(&pair.cluster.members[0], 2).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented, "the former program does not know the call: {unknown}");
    pair.switch(0, &program()).await;
    pair.switch(1, &program()).await;
    pair.lead(0).await;
    let held = until("m-3 holds the level back", async || {
        let refusal = raise(&pair.cluster.members[pair.cluster.leader().await], 2).await.err()?;
        refusal.message().contains("m-3").then_some(refusal)
    })
    .await;
    assert_eq!((held.code(), reason(&held)), (Code::FailedPrecondition, "LevelHeld"), "{held}");
    assert_eq!(pair.cluster.members[0].describe().await.unwrap().feature_level, 1);

    pair.switch(2, &program()).await;
    raised(&pair.cluster).await;
    pair.writes.more(300).await;
    pair.kill_all().await;
    for place in 0..3 {
        pair.takes_a_snapshot(place).await;
        assert_eq!(pair.cluster.members[place].describe().await.unwrap().feature_level, 2);
    }

    for place in 0..3 {
        let member = &mut pair.cluster.members[place];
        member.terminate();
        assert_eq!(member.ended().await, Some(0));
        let before = files(&member.dir);
        member.program = former();
        let (code, errors) = member.run_to_end().await;
        println!("{}: the former program says: {}", member.name, errors.lines().last().unwrap_or_default());
        assert_eq!(code, Some(1), "{errors}");
        assert!(errors.contains("has format version 2, this program reads up to 1"), "{errors}");
        let changed = changed(&before, &files(&member.dir));
        assert!(changed.is_empty(), "the former program changed {changed:?}");
        member.program = program();
        member.start().await;
        pair.has_caught_up(place).await;
        pair.writes.more(50).await;
    }
    pair.check().await;
}

/// The raise is the only thing in the log that the former program does not know. It opens the volume, and ends when it has to apply
/// the raise.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_former_program_ends_at_the_raise() {
    let mut cluster = Cluster::new("alone", &[]);
    cluster.program = former();
    cluster.form(1).await;
    cluster.members[0].write("by the former program", "v").await;
    cluster.members[0].terminate();
    assert_eq!(cluster.members[0].ended().await, Some(0));
    cluster.members[0].program = program();
    cluster.members[0].start().await;
    cluster.members[0].write("by the present program", "v").await;
    raised(&cluster).await;
    cluster.members[0].kill().await;

    cluster.members[0].program = former();
    for _ in 0..2 {
        let (code, errors) = cluster.members[0].run_to_end().await;
        println!("the former program says: {}", errors.lines().last().unwrap_or_default());
        assert_eq!(code, Some(74), "{errors}");
    }
    cluster.members[0].program = program();
    cluster.members[0].start().await;
    cluster.leader().await;
    for key in ["by the former program", "by the present program"] {
        let found = until("a read", async || cluster.members[0].get(key, false).await.ok()).await;
        assert_eq!(found.as_deref(), Some("v"), "{key}");
    }
    let level = until("the raise is applied again", async || {
        Some(cluster.members[0].describe().await.ok()?.feature_level).filter(|level| *level == 2)
    });
    level.await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_blank_former_member_is_refused_by_name() {
    let mut cluster = Cluster::bootstrapped("refused", 3, &[]).await;
    raised(&cluster).await;
    let old = cluster.infos().await;
    cluster.program = former();
    let new = cluster.add_blank().await;
    // The former program does not know the level of a Join, so it cannot refuse it. The leader asks it.
    let request = wire::JoinRequest {
        cluster_id: CLUSTER.to_owned(),
        token: TOKEN.to_owned(),
        self_: Some(cluster.members[new].info().await),
        feature_level: 2,
    };
    cluster.members[new].admin().await.unwrap().join(with_token(request)).await.unwrap();
    let all = cluster.infos().await;
    let refused: Status = until("the leader asks the new member", async || {
        let mut admin = cluster.members[cluster.leader().await].admin().await.ok()?;
        let known = admin.configuration(with_token(wire::ConfigurationRequest {})).await.ok()?.into_inner();
        let change = wire::ChangeMembershipRequest {
            expected_index: known.configuration?.index,
            voters: old.iter().map(|info| info.id.clone()).collect(),
            learners: vec![all[new].id.clone()],
            members: all.clone(),
        };
        let answer = admin.change_membership(with_token(change)).await;
        assert!(answer.is_err(), "a member that is too old was added");
        answer.err().filter(|status| reason(status) == "TooOld")
    })
    .await;
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().starts_with("m-4"), "{refused}");
    cluster.members[0].write("after", "v").await;
}
