//! Tests the permanent loss of a Kubernetes node: its member is replaced on another node after `replacement.delay`.

use std::time::Duration;

use dev_cluster::{Node, Run, until};
use scenario::client::Traffic;
use scenario::raft_cluster::RaftCluster;

use crate::median_of_three::{gap, the_median_stays_within};
use crate::namespace::{PATIENCE, TRAFFIC, TestNamespace};

/// A node that is disconnected from the network. It is connected again when the test ends, even by a panic.
struct CutOff<'a>(&'a TestNamespace, Node);

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        self.0.cluster.rejoin(self.1).expect("the node rejoins");
        self.0.cluster.await_nodes(PATIENCE).expect("the node becomes Ready again");
    }
}

#[test]
fn a_member_on_a_lost_node_is_replaced_without_a_lost_write() {
    // The limit on the time without an acknowledgement includes the time of one election, because the node is lost
    // without warning. The limit also includes the time in which a client that was connected to the lost node connects
    // again.
    let mut round = 0;
    the_median_stays_within(Duration::from_secs(12), "node lost", || {
        // Each round has its own cluster, because two of three members share a node after a loss.
        round += 1;
        let namespace = TestNamespace::alone(&format!("lost-node-{round}"));
        let demo = namespace.create("demo", 3, "  replacement: {delay: 10s}\n");
        demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
        let traffic = Traffic::start(&namespace.kubernetes, TRAFFIC, &demo.endpoint(), 1).expect("the writer starts");
        let (longest, cut_off) = lose_a_node(&namespace, &demo, &traffic);
        traffic.verify(&demo.endpoint()).expect("every acknowledged write is stored once");
        drop(cut_off);
        longest
    });
}

/// Cuts off a node that runs a member, waits until the member is replaced, and returns the longest time without an
/// acknowledgement. Never chooses the writer's node, and chooses the operator's node only if there is no other.
fn lose_a_node<'a>(
    namespace: &'a TestNamespace,
    demo: &RaftCluster<'_>,
    traffic: &Traffic<'_>,
) -> (Duration, CutOff<'a>) {
    let writer = node_of(namespace, "traffic");
    let before: Vec<_> = names(demo).into_iter().map(|name| (node_of(namespace, &demo.pod(&name)), name)).collect();
    let operator = operator_node(namespace);
    let (node, victim) = before
        .iter()
        .find(|(node, _)| *node != writer && *node != operator)
        .or_else(|| before.iter().find(|(node, _)| *node != writer))
        .expect("members are spread over the nodes");
    traffic.mark("lost").expect("the writer answers");
    let number = node.trim_start_matches("node").parse().expect("nodes are numbered");
    let node = Node::new(number).expect("the node exists");
    namespace.cluster.cut_off(node).expect("the node is cut off");
    let cut_off = CutOff(namespace, node);
    until(&format!("{victim} is replaced"), PATIENCE * 2, || {
        let status = demo.status()?;
        let healed = status.number("voters") == 3 && status.is("Ready") && !names(demo).contains(victim);
        anyhow::ensure!(healed, "{}", status.explain());
        Ok(Some(()))
    })
    .expect("the lost member is replaced");
    (gap(traffic, "node lost"), cut_off)
}

fn names(demo: &RaftCluster<'_>) -> Vec<String> {
    demo.status().map(|status| status.members().into_iter().map(|(name, _)| name).collect()).unwrap_or_default()
}

fn node_of(namespace: &TestNamespace, pod: &str) -> String {
    let pod = namespace.kubernetes.get("pod", pod).expect("the API server responds").expect("the pod exists");
    pod["spec"]["nodeName"].as_str().expect("the pod is scheduled").to_owned()
}

fn operator_node(namespace: &TestNamespace) -> String {
    let args = ["get", "pods", "--namespace", scenario::operator::RELEASE, "-o", "jsonpath={.items[0].spec.nodeName}"];
    namespace.kubernetes.kubectl(args).text().expect("the operator runs")
}
