//! A Kubernetes node goes away for good: its member is replaced on another one after `replacement.delay`.

use std::time::Duration;

use dev_cluster::{Node, Run, until};
use main_job::client::Traffic;

use crate::stage::{PATIENCE, Stage, TRAFFIC};

/// Rejoins the node however the test ends.
struct CutOff<'a>(&'a Stage, Node);

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        self.0.cluster.rejoin(self.1).expect("the node rejoins");
        self.0.cluster.await_nodes(PATIENCE).expect("the node becomes Ready again");
    }
}

#[test]
fn a_member_on_a_lost_node_is_replaced_without_a_lost_write() {
    let stage = Stage::set("lost-node");
    let demo = stage.create("demo", 3, "  replacement: {delay: 10s}\n");
    demo.wait_ready(PATIENCE).expect("the cluster becomes Ready");
    let before: Vec<String> = names(&demo);
    let traffic = Traffic::start(&stage.kubernetes, TRAFFIC, &demo.endpoint(), 1).expect("the writer writes");
    let writer = node_of(&stage, "traffic");
    let (victim, node) = before
        .iter()
        .map(|member| (member.clone(), node_of(&stage, &demo.pod(member))))
        .find(|(_, node)| *node != writer && *node != operator_node(&stage))
        .or_else(|| before.iter().map(|m| (m.clone(), node_of(&stage, &demo.pod(m)))).find(|(_, node)| *node != writer))
        .expect("members are spread over the nodes");
    traffic.mark("lost").expect("the writer answers");
    let number = node.trim_start_matches("node").parse().expect("nodes are numbered");
    let node = Node::new(number).expect("the node exists");
    stage.cluster.cut_off(node).expect("the node is cut off");
    let cut_off = CutOff(&stage, node);
    until(&format!("{victim} is replaced"), PATIENCE * 2, || {
        let status = demo.status()?;
        let healed = status.number("voters") == 3 && status.is("Ready") && !names(&demo).contains(&victim);
        anyhow::ensure!(healed, "{}", status.explain());
        Ok(Some(()))
    })
    .expect("the lost member is replaced");
    let phase = traffic.mark("healed").expect("the writer answers");
    println!("node lost: longest gap {} ms, {} acknowledged", phase.longest_gap.as_millis(), phase.acknowledged);
    // Without a word of warning: one election, and the client's own connection may have led to the lost node.
    assert!(phase.longest_gap <= Duration::from_secs(12), "nothing was served for {:?}", phase.longest_gap);
    traffic.verify(&demo.endpoint()).expect("every acknowledged write is there, once");
    drop(cut_off);
}

fn names(demo: &main_job::raft_cluster::RaftCluster<'_>) -> Vec<String> {
    demo.status().map(|status| status.members().into_iter().map(|(name, _)| name).collect()).unwrap_or_default()
}

fn node_of(stage: &Stage, pod: &str) -> String {
    let pod = stage.kubernetes.get("pod", pod).expect("it answers").expect("the pod exists");
    pod["spec"]["nodeName"].as_str().expect("the pod is scheduled").to_owned()
}

fn operator_node(stage: &Stage) -> String {
    let args = ["get", "pods", "--namespace", main_job::operator::RELEASE, "-o", "jsonpath={.items[0].spec.nodeName}"];
    stage.kubernetes.kubectl(args).text().expect("the operator runs")
}
