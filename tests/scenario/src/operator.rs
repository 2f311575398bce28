//! Installing the operator with Helm, and taking it away. Owns the values that a test needs, no default of the chart.

use std::path::Path;

use anyhow::{Context, Result};
use dev_cluster::Run;

use crate::kubernetes::Kubernetes;

/// Name of the release and of its namespace.
pub const RELEASE: &str = "raft-operator";

/// `helm install --wait` of the chart with these images. Returns what Helm printed.
///
/// # Errors
/// Helm gave up; its message.
pub fn install(kubernetes: &Kubernetes, charts: &Path, operator_image: &str, node_image: &str) -> Result<String> {
    let chart = charts.join("raft-operator");
    let mut helm = kubernetes.helm(["upgrade", "--install", RELEASE]);
    helm.arg(&chart).args(["--namespace", RELEASE, "--create-namespace", "--wait", "--timeout", "3m"]);
    for (key, image) in [("image", operator_image), ("node.image", node_image)] {
        let (repository, tag) = image.rsplit_once(':').with_context(|| format!("image {image} has no tag"))?;
        helm.args(["--set", &format!("{key}.repository={repository}")]);
        helm.args(["--set", &format!("{key}.tag={tag}")]);
    }
    helm.text()
}

/// `helm uninstall --wait`; CRDs and clusters stay.
///
/// # Errors
/// Helm's message.
pub fn uninstall(kubernetes: &Kubernetes) -> Result<String> {
    kubernetes.helm(["uninstall", RELEASE, "--namespace", RELEASE, "--wait", "--timeout", "2m"]).text()
}
