//! Scaling and the loss of a leader, while a client writes without pause. Owns the bars on the gap in service.

use std::time::Duration;

use scenario::client::Traffic;
use scenario::raft_cluster::RaftCluster;

use crate::best_of_three::{gap, some_round_stays_within};
use crate::namespace::{PATIENCE, TRAFFIC, TestNamespace};

/// One path (`operator/docs/membership.md`): learners → caught up → one joint change → leave joint → delete; Raft thesis §4.3.
#[test]
fn members_come_and_go_without_a_lost_write_or_a_gap() {
    let namespace = TestNamespace::create("scale");
    let demo = namespace.create("demo", 3, "");
    demo.wait_ready(PATIENCE).expect("three members become Ready");
    let traffic = Traffic::start(&namespace.kubernetes, TRAFFIC, &demo.endpoint(), 2).expect("the writer writes");
    traffic.mark("undisturbed").expect("the writer answers");
    let (planned, killed) = (Duration::from_secs(1), Duration::from_secs(3));
    some_round_stays_within(planned, "scaling", || scale(&demo, &traffic));
    some_round_stays_within(planned, "graceful deletion of the leader", || {
        delete_the_leader(&namespace, &demo, &traffic)
    });
    some_round_stays_within(killed, "SIGKILL of the leader", || kill_the_leader(&namespace, &demo, &traffic));
    let verdict = traffic.verify(&demo.endpoint()).expect("every acknowledged write is there, once");
    assert_eq!(verdict.revisions, verdict.acknowledged + verdict.unknown_applied);
    let claims = demo.claims().expect("claims are listed");
    assert_eq!(claims.len(), 3, "volumes of removed members are let go: {claims:?}");
}

/// From three members over more and fewer back to three.
fn scale(demo: &RaftCluster<'_>, traffic: &Traffic<'_>) -> Duration {
    // Four replicas are three voters and a learner: an even electorate tolerates no more than the odd one below.
    let steps = [(4, 3, 1), (5, 5, 0), (3, 3, 0), (1, 1, 0), (3, 3, 0)];
    let gaps = steps.map(|(replicas, voters, learners)| {
        demo.scale(replicas).expect("kubectl scale is admitted");
        demo.await_members(voters, learners, PATIENCE).expect("the members are as asked");
        gap(traffic, &format!("scaling to {replicas}"))
    });
    gaps.into_iter().max().expect("there are steps")
}

fn delete_the_leader(namespace: &TestNamespace, demo: &RaftCluster<'_>, traffic: &Traffic<'_>) -> Duration {
    use dev_cluster::Run;
    let leader = demo.leader().expect("there is a leader");
    let life = demo.life(&leader).expect("it answers");
    namespace.kubernetes.kubectl(["delete", "pod", &demo.pod(&leader), "--wait"]).text().expect("the pod goes");
    demo.await_new_life(&leader, life.as_deref(), PATIENCE).expect("the pod comes back");
    gap(traffic, "graceful deletion of the leader")
}

fn kill_the_leader(namespace: &TestNamespace, demo: &RaftCluster<'_>, traffic: &Traffic<'_>) -> Duration {
    let leader = demo.leader().expect("there is a leader");
    let namespace = &namespace.kubernetes.namespace;
    let life = demo.life(&leader).expect("it answers");
    namespace.cluster.kill_container(namespace, &demo.pod(&leader), "raft-node").expect("the leader is killed");
    demo.await_new_life(&leader, life.as_deref(), PATIENCE).expect("the member comes back");
    gap(traffic, "SIGKILL of the leader")
}
