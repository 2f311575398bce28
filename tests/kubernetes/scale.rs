//! Scaling and the loss of a leader, while a client writes without pause. Owns the bars on the gap in service.

use std::time::Duration;

use main_job::client::Traffic;
use main_job::raft_cluster::RaftCluster;

use crate::stage::{PATIENCE, Stage, TRAFFIC};

/// DESIGN "One membership path": learners → caught up → one joint change → leave joint → delete; Raft thesis §4.3.
#[test]
fn members_come_and_go_without_a_lost_write_or_a_gap() {
    let stage = Stage::set("scale");
    let demo = stage.create("demo", 3, "");
    demo.wait_ready(PATIENCE).expect("three members become Ready");
    let traffic = Traffic::start(&stage.kubernetes, TRAFFIC, &demo.endpoint(), 2).expect("the writer writes");
    traffic.mark("calm").expect("the writer answers");
    // Four replicas are three voters and a learner: an even electorate tolerates no more than the odd one below.
    for (replicas, voters, learners) in [(4, 3, 1), (5, 5, 0), (3, 3, 0), (1, 1, 0), (3, 3, 0)] {
        demo.scale(replicas).expect("kubectl scale is admitted");
        demo.await_members(voters, learners, PATIENCE).expect("the members are as asked");
        within(&traffic, &format!("scaling to {replicas}"), Duration::from_secs(1));
    }
    delete_the_leader(&stage, &demo, &traffic);
    kill_the_leader(&stage, &demo, &traffic);
    let verdict = traffic.verify(&demo.endpoint()).expect("every acknowledged write is there, once");
    assert_eq!(verdict.revisions, verdict.acknowledged + verdict.unknown_applied);
    let claims = demo.claims().expect("claims are listed");
    assert_eq!(claims.len(), 3, "volumes of removed members are let go: {claims:?}");
}

fn delete_the_leader(stage: &Stage, demo: &RaftCluster<'_>, traffic: &Traffic<'_>) {
    use dev_cluster::Run;
    let leader = demo.leader().expect("there is a leader");
    let life = demo.life(&leader).expect("it answers");
    stage.kubernetes.kubectl(["delete", "pod", &demo.pod(&leader), "--wait"]).text().expect("the pod goes");
    demo.await_new_life(&leader, life.as_deref(), PATIENCE).expect("the pod comes back");
    within(traffic, "graceful deletion of the leader", Duration::from_secs(1));
}

fn kill_the_leader(stage: &Stage, demo: &RaftCluster<'_>, traffic: &Traffic<'_>) {
    let leader = demo.leader().expect("there is a leader");
    let namespace = &stage.kubernetes.namespace;
    let life = demo.life(&leader).expect("it answers");
    stage.cluster.kill_container(namespace, &demo.pod(&leader), "raft-node").expect("the leader is killed");
    demo.await_new_life(&leader, life.as_deref(), PATIENCE).expect("the member comes back");
    within(traffic, "SIGKILL of the leader", Duration::from_secs(3));
}

fn within(traffic: &Traffic<'_>, what: &str, bar: Duration) {
    let phase = traffic.mark(what).expect("the writer answers");
    println!("{what}: longest gap {} ms, {} acknowledged", phase.longest_gap.as_millis(), phase.acknowledged);
    assert!(phase.longest_gap <= bar, "{what}: nothing was served for {:?}: {:?}", phase.longest_gap, phase.last_error);
}
