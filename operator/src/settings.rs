//! Flags and environment variables. Owns their names and defaults. The chart sets them.

use std::net::SocketAddr;

use clap::Parser;
use plan::observed::OperatorSettings;

/// Watches RaftClusters and makes their objects and members match the specs.
#[derive(Clone, Debug, Parser)]
#[command(name = "raft-operator", version)]
pub struct Settings {
    /// Image for clusters that do not set spec.image and have no members yet. Existing members keep their image.
    #[arg(long, env = "RAFT_OPERATOR_NODE_IMAGE")]
    pub node_image: String,
    /// Pull policy for clusters that do not set spec.imagePullPolicy: Always, IfNotPresent or Never. Default: the
    /// default of Kubernetes.
    #[arg(long, env = "RAFT_OPERATOR_NODE_IMAGE_PULL_POLICY", value_parser = ["Always", "IfNotPresent", "Never"])]
    pub node_image_pull_policy: Option<String>,
    /// Namespaces whose RaftClusters are reconciled, separated by commas. Empty: all namespaces.
    #[arg(long, env = "RAFT_OPERATOR_WATCH_NAMESPACES", default_value = "")]
    pub watch_namespaces: String,
    /// Address at which probes and metrics are served.
    #[arg(long, env = "RAFT_OPERATOR_HEALTH_ADDR", default_value = "0.0.0.0:8080")]
    pub health_addr: SocketAddr,
    /// Name of this copy of the operator in the lease.
    #[arg(long, env = "POD_NAME", default_value = "raft-operator")]
    pub pod_name: String,
    /// Namespace of the lease. Only the copy of the operator that holds the lease works.
    #[arg(long, env = "POD_NAMESPACE", default_value = "default")]
    pub pod_namespace: String,
    /// Name of the lease: one for each release in the namespace, and the same for all copies of one release.
    #[arg(long, env = "RAFT_OPERATOR_LEASE_NAME", default_value = "raft-operator")]
    pub lease_name: String,
}

impl Settings {
    /// Namespaces whose clusters are reconciled; empty for all namespaces.
    #[must_use]
    pub fn namespaces(&self) -> Vec<&str> {
        let mut namespaces: Vec<&str> =
            self.watch_namespaces.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        namespaces
    }

    /// Names the release among all releases in Kubernetes: namespace and name of its lease, such as
    /// `raft/raft-operator`.
    #[must_use]
    pub fn release(&self) -> String {
        format!("{}/{}", self.pod_namespace, self.lease_name)
    }

    /// The settings that the planner needs.
    #[must_use]
    pub fn operator(&self) -> OperatorSettings {
        OperatorSettings {
            node_image: self.node_image.clone(),
            node_image_pull_policy: self.node_image_pull_policy.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_namespace_is_listed_once_and_none_means_all() {
        let settings = |list: &str| {
            Settings::parse_from(["raft-operator", "--node-image=i", &format!("--watch-namespaces={list}")])
        };
        assert_eq!(settings("").namespaces(), Vec::<&str>::new());
        assert_eq!(settings("b, a,b").namespaces(), ["a", "b"]);
    }
}
