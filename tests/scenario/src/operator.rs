//! Installation of the operator with Helm. Owns the chart's values that a test must set. Does not own the defaults of
//! the chart.

use std::path::Path;

use anyhow::{Context, Result};
use dev_cluster::Run;

use crate::kubernetes::Kubernetes;

/// Name of the release, and of the release's namespace.
pub const RELEASE: &str = "raft-operator";

/// Installs the chart with these images, waits until it is ready, and returns the output of Helm.
///
/// # Errors
/// Returns an error with Helm's message if the installation fails.
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

/// Uninstalls the chart. CRDs and clusters stay.
///
/// # Errors
/// Returns an error with Helm's message if the uninstallation fails.
pub fn uninstall(kubernetes: &Kubernetes) -> Result<String> {
    kubernetes.helm(["uninstall", RELEASE, "--namespace", RELEASE, "--wait", "--timeout", "2m"]).text()
}
