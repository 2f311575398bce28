//! Tests rollouts that fail, while a client writes: one member stops, no other restarts, and taking the change back
//! brings it back. Owns the tests that need a kubelet: images that do not exist, and processes that end. Does not own who
//! restarts and who fails, which the planner's tests cover.

use anyhow::ensure;
use dev_cluster::{Run, until};
use scenario::client::Traffic;
use scenario::raft_cluster::{RaftCluster, Status};

use crate::median_of_three::gap;
use crate::namespace::{NODE, PATIENCE, TRAFFIC, TestNamespace};

/// An image that no registry and no node has.
const ABSENT: &str = r#"{"spec":{"image":"localhost/raft-node:absent"}}"#;
/// A value with which the member's program ends, and says why.
const WRONG: &str = r#"{"spec":{"pod":{"env":[{"name":"RAFT_NODE_CLIENT_THREADS","value":"many"}]}}}"#;
/// Without it a test would wait for the default deadline.
const SOON: &str = "  rollout: {minReadySeconds: 2, progressDeadline: 20s}\n  replacement: {delay: 10s}\n";

fn patch(namespace: &TestNamespace, patch: &str) {
    let patch = ["patch", "raftcluster", "demo", "--type=merge", "--patch", patch];
    namespace.kubernetes.kubectl(patch).text().expect("the spec is admitted");
}

fn await_status(cluster: &RaftCluster<'_>, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
    until(what, PATIENCE, || {
        let status = cluster.status()?;
        ensure!(holds(&status), "{}", status.explain());
        Ok(Some(status))
    })
    .expect("the operator reports it")
}

/// A cluster whose rollout is recorded, so that it can be taken back.
fn create<'n>(namespace: &'n TestNamespace, replicas: u32) -> RaftCluster<'n> {
    let demo = namespace.create("demo", replicas, SOON);
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    await_status(&demo, "the first rollout is recorded", |status| status.text("image") == NODE);
    demo
}

/// UID of the pod of every member, with its number of restarts.
fn lives(demo: &RaftCluster<'_>) -> Vec<(String, Option<String>)> {
    let status = demo.status().expect("the API server responds");
    let names = status.members().into_iter().map(|(name, _)| name);
    names.map(|name| (name.clone(), demo.life(&name).expect("the API server responds"))).collect()
}

fn await_failure(demo: &RaftCluster<'_>) -> Status {
    await_status(demo, "the failed rollout is reported", |status| status.reason("Degraded") == "RolloutFailed")
}

fn await_settled(demo: &RaftCluster<'_>) {
    await_status(demo, "the former state is back", |status| status.settled() && status.text("image") == NODE);
}

/// The members' volumes are those of before: no member was replaced.
fn has_claims(demo: &RaftCluster<'_>, before: &[String]) {
    assert_eq!(demo.claims().expect("claims are listed"), before, "a volume was replaced");
}

#[test]
fn an_image_that_does_not_exist_stops_at_one_member_and_is_taken_back() {
    let namespace = TestNamespace::new("rollout-image");
    let demo = create(&namespace, 3);
    let (claims, before) = (demo.claims().expect("claims are listed"), lives(&demo));
    let traffic = Traffic::start(&namespace.kubernetes, TRAFFIC, &demo.endpoint(), 1).expect("the writer starts");
    patch(&namespace, ABSENT);
    let status = await_failure(&demo);
    assert!(!status.is("Stalled"), "the node does not say for good that the image is absent");
    assert!(status.message("Degraded").contains("raft-node:absent"), "{}", status.message("Degraded"));
    let kept = lives(&demo).into_iter().filter(|life| before.contains(life)).count();
    assert_eq!(kept, 2, "one member restarted: {before:?}, then {:?}", lives(&demo));
    patch(&namespace, r#"{"spec":{"image":null}}"#);
    await_settled(&demo);
    has_claims(&demo, &claims);
    gap(&traffic, "failed rollout of an image");
    traffic.verify(&demo.endpoint()).expect("every acknowledged write is stored once");
}

#[test]
fn a_member_that_ends_with_new_settings_keeps_its_volume_and_newcomers_get_the_former_ones() {
    let namespace = TestNamespace::new("rollout-settings");
    let demo = create(&namespace, 3);
    let claims = demo.claims().expect("claims are listed");
    let traffic = Traffic::start(&namespace.kubernetes, TRAFFIC, &demo.endpoint(), 1).expect("the writer starts");
    patch(&namespace, WRONG);
    await_failure(&demo);
    let status = await_status(&demo, "the process said why", |status| status.reason("Stalled") == "RolloutFailed");
    assert!(status.message("Stalled").contains("client-threads"), "{}", status.message("Stalled"));
    // The member does not answer for longer than the replacement delay, and two members are added meanwhile.
    demo.scale(5).expect("kubectl scale is admitted");
    await_status(&demo, "two newcomers vote", |status| status.number("voters") == 5);
    let kept = demo.claims().expect("claims are listed");
    assert!(claims.iter().all(|claim| kept.contains(claim)), "no member was replaced: {claims:?}, then {kept:?}");
    patch(&namespace, r#"{"spec":{"pod":null}}"#);
    await_settled(&demo);
    has_claims(&demo, &kept);
    gap(&traffic, "failed rollout of settings");
    traffic.verify(&demo.endpoint()).expect("every acknowledged write is stored once");
}

/// Without its only voter the cluster has no leader that could restart it.
#[test]
fn the_only_voter_comes_back_when_the_change_is_taken_back() {
    let namespace = TestNamespace::new("rollout-one");
    let demo = create(&namespace, 1);
    let claims = demo.claims().expect("claims are listed");
    namespace.etcdctl(&demo, &["put", "kept", "over the rollout"]);
    for (bad, good) in [(ABSENT, r#"{"spec":{"image":null}}"#), (WRONG, r#"{"spec":{"pod":null}}"#)] {
        patch(&namespace, bad);
        await_failure(&demo);
        patch(&namespace, good);
        await_settled(&demo);
        has_claims(&demo, &claims);
    }
    assert!(namespace.etcdctl(&demo, &["get", "kept"]).contains("over the rollout"));
}
