//! Tests scaling and the loss of a leader while a client writes without pause. Owns the limits on the time without
//! service.

use std::time::Duration;

use scenario::client::Traffic;
use scenario::raft_cluster::RaftCluster;

use crate::median_of_three::{gap, the_median_stays_within};
use crate::namespace::{PATIENCE, TRAFFIC, TestNamespace};

/// Every membership change has the same steps (`operator/docs/membership.md`; Raft thesis §4.3): add learners, wait
/// until they are caught up, enter one joint configuration, leave it, delete removed members.
#[test]
fn scaling_and_a_lost_leader_lose_no_write_and_keep_gaps_short() {
    let namespace = TestNamespace::alone("scale");
    let demo = namespace.create("demo", 3, "");
    demo.wait_ready(PATIENCE).expect("three members become Ready");
    let traffic = Traffic::start(&namespace.kubernetes, TRAFFIC, &demo.endpoint(), 2).expect("the writer starts");
    traffic.mark("undisturbed").expect("the writer answers");
    let (planned, killed) = (Duration::from_secs(1), Duration::from_secs(3));
    the_median_stays_within(planned, "scaling", || scale(&demo, &traffic));
    the_median_stays_within(planned, "graceful deletion of the leader", || {
        delete_the_leader(&namespace, &demo, &traffic)
    });
    the_median_stays_within(killed, "SIGKILL of the leader", || kill_the_leader(&namespace, &demo, &traffic));
    let verdict = traffic.verify(&demo.endpoint()).expect("every acknowledged write is stored once");
    assert_eq!(verdict.revisions, verdict.acknowledged + verdict.unknown_applied);
    let claims = demo.claims().expect("claims are listed");
    assert_eq!(claims.len(), 3, "volumes of removed members are deleted: {claims:?}");
}

/// Scales from three members up, down and back to three. Returns the longest time without an acknowledgement.
fn scale(demo: &RaftCluster<'_>, traffic: &Traffic<'_>) -> Duration {
    // Four replicas become three voters and one learner, because four voters tolerate no more failures than three.
    let steps = [(4, 3, 1), (5, 5, 0), (3, 3, 0), (1, 1, 0), (3, 3, 0)];
    let gaps = steps.map(|(replicas, voters, learners)| {
        demo.scale(replicas).expect("kubectl scale is admitted");
        demo.await_members(voters, learners, PATIENCE).expect("the members match the spec");
        gap(traffic, &format!("scaling to {replicas}"))
    });
    gaps.into_iter().max().expect("there are steps")
}

fn delete_the_leader(namespace: &TestNamespace, demo: &RaftCluster<'_>, traffic: &Traffic<'_>) -> Duration {
    use dev_cluster::Run;
    let leader = demo.leader().expect("there is a leader");
    let life = demo.life(&leader).expect("the API server responds");
    namespace.kubernetes.kubectl(["delete", "pod", &demo.pod(&leader), "--wait"]).text().expect("the pod is deleted");
    demo.await_new_life(&leader, life.as_deref(), PATIENCE).expect("the pod is replaced");
    gap(traffic, "graceful deletion of the leader")
}

fn kill_the_leader(namespace: &TestNamespace, demo: &RaftCluster<'_>, traffic: &Traffic<'_>) -> Duration {
    let leader = demo.leader().expect("there is a leader");
    let life = demo.life(&leader).expect("the API server responds");
    namespace
        .cluster
        .kill_container(&namespace.kubernetes.namespace, &demo.pod(&leader), "raft-node")
        .expect("the leader is killed");
    demo.await_new_life(&leader, life.as_deref(), PATIENCE).expect("the member restarts");
    gap(traffic, "SIGKILL of the leader")
}
