//! A Kubernetes node goes away for good: its member is replaced on another one after `replacement.delay`.

use std::time::Duration;

use dev_cluster::{Node, Run, until};
use scenario::client::Traffic;
use scenario::raft_cluster::RaftCluster;

use crate::best_of_three::{gap, some_round_stays_within};
use crate::namespace::{PATIENCE, TRAFFIC, TestNamespace};

/// Rejoins the node however the test ends.
struct CutOff<'a>(&'a TestNamespace, Node);

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        self.0.cluster.rejoin(self.1).expect("the node rejoins");
        self.0.cluster.await_nodes(PATIENCE).expect("the node becomes Ready again");
    }
}

#[test]
fn a_member_on_a_lost_node_is_replaced_without_a_lost_write() {
    let namespace = TestNamespace::create("lost-node");
    let demo = namespace.create("demo", 3, "  replacement: {delay: 10s}\n");
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    let traffic = Traffic::start(&namespace.kubernetes, TRAFFIC, &demo.endpoint(), 1).expect("the writer writes");
    // Without a word of warning: one election, and the client's own connection may have led to the lost node.
    let mut cut_off = None;
    some_round_stays_within(Duration::from_secs(12), "node lost", || {
        // The one of the round before comes back first.
        cut_off = None;
        let (longest, node) = lose_a_node(&namespace, &demo, &traffic);
        cut_off = Some(node);
        longest
    });
    traffic.verify(&demo.endpoint()).expect("every acknowledged write is there, once");
    drop(cut_off);
}

/// Neither the writer's node nor, if there is another one, the operator's.
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
    let pod = namespace.kubernetes.get("pod", pod).expect("it answers").expect("the pod exists");
    pod["spec"]["nodeName"].as_str().expect("the pod is scheduled").to_owned()
}

fn operator_node(namespace: &TestNamespace) -> String {
    let args = ["get", "pods", "--namespace", scenario::operator::RELEASE, "-o", "jsonpath={.items[0].spec.nodeName}"];
    namespace.kubernetes.kubectl(args).text().expect("the operator runs")
}
