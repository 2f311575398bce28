//! The cluster's network. Owns the address plan, the bridge on the host, a namespace for each node, the routes between
//! the pod subnets of the nodes, and the rules that keep every packet on the machine. Does not own pod interfaces (the
//! CNI plugins create them).

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, bail, ensure};

use crate::command::{Run, command};

/// The bridge that connects the nodes.
pub(crate) const BRIDGE: &str = "raftdev0";
/// Address of the host on the bridge. The API server, DNS and the S3 server listen on it.
pub(crate) const HOST: &str = "10.88.0.1";
/// Addresses of all nodes and pods.
pub(crate) const CLUSTER_RANGE: &str = "10.88.0.0/16";
/// Addresses of all Services.
pub(crate) const SERVICE_RANGE: &str = "10.96.0.0/16";
/// Maximum number of nodes in the address plan.
pub(crate) const MOST_NODES: u8 = 9;

/// One node of the cluster: `node1` to `node9`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node(u8);

impl Node {
    /// Returns the node with the number `number`.
    ///
    /// # Errors
    /// Returns an error unless the number is between 1 and 9.
    pub fn new(number: u8) -> Result<Node> {
        ensure!((1..=MOST_NODES).contains(&number), "a node's number is from 1 to {MOST_NODES}, not {number}");
        Ok(Node(number))
    }

    /// Number of the node, from 1.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Address of the node on the bridge.
    #[must_use]
    pub fn address(self) -> String {
        format!("10.88.0.1{}", self.0)
    }

    /// Subnet of the node's pods.
    #[must_use]
    pub fn pod_range(self) -> String {
        format!("10.88.{}.0/24", self.0)
    }

    /// Zone of the node, which is also the value of its zone label.
    #[must_use]
    pub fn zone(self) -> String {
        format!("zone-{}", self.0)
    }

    /// Network namespace of the node.
    pub(crate) fn namespace(self) -> String {
        format!("raftdev-{self}")
    }

    /// Name of the interface that connects the node to the bridge.
    pub(crate) fn port(self) -> String {
        format!("raftdev-v{}", self.0)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node{}", self.0)
    }
}

impl FromStr for Node {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Node> {
        match name.strip_prefix("node").and_then(|number| number.parse().ok()) {
            Some(number) => Node::new(number),
            None => bail!("{name} is no node of the dev cluster: they are node1, node2, ..."),
        }
    }
}

/// Creates the network for `nodes`.
pub(crate) fn create(nodes: &[Node]) -> Result<()> {
    refuse_a_taken_range()?;
    ip(&format!("link add {BRIDGE} type bridge"))?;
    ip(&format!("addr add {HOST}/24 dev {BRIDGE}"))?;
    ip(&format!("link set {BRIDGE} up"))?;
    command("sysctl", ["-qw", "net.ipv4.ip_forward=1"]).text()?;
    // These routes drop packets to addresses of the cluster that no other route covers. Otherwise such packets would
    // leave this machine.
    for range in [CLUSTER_RANGE, SERVICE_RANGE] {
        ip(&format!("route add blackhole {range}"))?;
    }
    for rule in RULES {
        iptables(&format!("-I FORWARD {rule}"))?;
    }
    for node in nodes {
        create_node(*node)?;
    }
    for from in nodes {
        for to in nodes.iter().filter(|to| *to != from) {
            ip(&format!("-n {} route add {} via {}", from.namespace(), to.pod_range(), to.address()))?;
        }
    }
    Ok(())
}

/// iptables rules in the chain FORWARD. The first rule accepts packets between nodes: if `br_netfilter` is loaded,
/// frames on the bridge pass through this chain too, and on some machines the chain drops packets by default. The
/// second rule drops packets that nodes or pods send out of this machine.
const RULES: [&str; 2] = ["-i raftdev0 -o raftdev0 -j ACCEPT", "-i raftdev0 ! -o raftdev0 -j DROP"];

fn create_node(node: Node) -> Result<()> {
    let (namespace, port, address) = (node.namespace(), node.port(), node.address());
    ip(&format!("netns add {namespace}"))?;
    ip(&format!("link add {port} type veth peer name eth0 netns {namespace}"))?;
    ip(&format!("link set {port} master {BRIDGE} up"))?;
    ip(&format!("-n {namespace} addr add {address}/24 dev eth0"))?;
    ip(&format!("-n {namespace} link set eth0 up"))?;
    ip(&format!("-n {namespace} link set lo up"))?;
    ip(&format!("-n {namespace} route add default via {HOST}"))?;
    ip(&format!("route add {} via {address}", node.pod_range()))?;
    command("ip", ["netns", "exec", &namespace, "sysctl", "-qw", "net.ipv4.ip_forward=1"]).text()?;
    Ok(())
}

/// Refuses to start if another interface uses addresses of the cluster, because that interface would receive the
/// cluster's packets.
fn refuse_a_taken_range() -> Result<()> {
    let taken = ip("-o -4 addr show")?;
    if let Some(line) = taken.lines().find(|line| line.contains(" 10.88.") || line.contains(" 10.96.")) {
        bail!("the dev cluster's addresses are taken by another interface: {}", line.trim());
    }
    Ok(())
}

/// Connects a node to the bridge, or disconnects the node from it.
pub(crate) fn set_port(node: Node, state: PortState) -> Result<()> {
    let word = match state {
        PortState::Up => "up",
        PortState::Down => "down",
    };
    ip(&format!("link set {} {word}", node.port()))?;
    Ok(())
}

/// State of a node's interface on the bridge.
pub(crate) enum PortState {
    /// Connected.
    Up,
    /// Disconnected.
    Down,
}

/// Removes every part of the network that exists. A missing part is not an error.
pub(crate) fn remove() {
    for number in 1..=MOST_NODES {
        let _ = ip(&format!("netns del {}", Node(number).namespace()));
        let _ = ip(&format!("link del {}", Node(number).port()));
    }
    let _ = ip(&format!("link del {BRIDGE}"));
    for rule in RULES {
        // Crashed runs may have left several copies of a rule. The limit ends the loop even if a deletion reports
        // success without an effect.
        for _ in 0..10 {
            if iptables(&format!("-D FORWARD {rule}")).is_err() {
                break;
            }
        }
    }
    for range in [CLUSTER_RANGE, SERVICE_RANGE] {
        let _ = ip(&format!("route del blackhole {range}"));
    }
}

fn ip(line: &str) -> Result<String> {
    command("ip", line.split(' ')).text()
}

fn iptables(line: &str) -> Result<String> {
    command("iptables", ["-w"].into_iter().chain(line.split(' '))).text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_named_as_kubernetes_names_them() {
        let node: Node = "node2".parse().unwrap();
        assert_eq!(
            (node.to_string(), node.address(), node.pod_range()),
            ("node2".into(), "10.88.0.12".into(), "10.88.2.0/24".into())
        );
        assert!(
            "node0".parse::<Node>().is_err() && "node10".parse::<Node>().is_err() && "web".parse::<Node>().is_err()
        );
    }

    #[test]
    fn interface_names_fit_the_kernel() {
        let node = Node::new(MOST_NODES).unwrap();
        assert!(node.port().len() <= 15 && BRIDGE.len() <= 15);
    }
}
