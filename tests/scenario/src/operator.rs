//! Installation of the operator with Helm. Owns the chart's values that a test must set. Does not own the defaults of
//! the chart.

use std::path::Path;

use anyhow::{Context, Result};
use dev_cluster::Run;

use crate::kubernetes::Kubernetes;

/// Name of the release, and of the release's namespace.
pub const RELEASE: &str = "raft-operator";

/// One installation of the chart.
#[derive(Clone, Copy, Debug)]
pub struct Release<'r> {
    /// Name of the release.
    pub name: &'r str,
    /// Namespace of the release. It is created if it does not exist.
    pub namespace: &'r str,
    /// Further arguments of Helm, such as `--set replicas=2`.
    pub arguments: &'r [&'r str],
}

/// The release that all scenarios share.
pub const SHARED: Release<'static> = Release { name: RELEASE, namespace: RELEASE, arguments: &[] };

/// Installs the chart with these images as the shared release, waits until it is ready, and returns the output of Helm.
///
/// # Errors
/// Returns an error with Helm's message if the installation fails.
pub fn install(kubernetes: &Kubernetes, charts: &Path, operator_image: &str, node_image: &str) -> Result<String> {
    SHARED.install(kubernetes, charts, operator_image, node_image)
}

/// Uninstalls the shared release. CRDs and clusters stay.
///
/// # Errors
/// Returns an error with Helm's message if the uninstallation fails.
pub fn uninstall(kubernetes: &Kubernetes) -> Result<String> {
    SHARED.uninstall(kubernetes)
}

impl Release<'_> {
    /// Installs or upgrades this release, waits until it is ready, and returns the output of Helm.
    ///
    /// # Errors
    /// Returns an error with Helm's message if the installation fails.
    pub fn install(
        &self,
        kubernetes: &Kubernetes,
        charts: &Path,
        operator_image: &str,
        node_image: &str,
    ) -> Result<String> {
        let mut helm = kubernetes.helm(["upgrade", "--install", self.name]);
        helm.arg(charts.join("raft-operator"));
        helm.args(["--namespace", self.namespace, "--create-namespace", "--wait", "--timeout", "3m"]);
        for (key, image) in [("image", operator_image), ("node.image", node_image)] {
            let (repository, tag) = image.rsplit_once(':').with_context(|| format!("image {image} has no tag"))?;
            helm.args(["--set", &format!("{key}.repository={repository}")]);
            helm.args(["--set", &format!("{key}.tag={tag}")]);
        }
        helm.args(self.arguments).text()
    }

    /// Uninstalls this release. CRDs and clusters stay.
    ///
    /// # Errors
    /// Returns an error with Helm's message if the uninstallation fails.
    pub fn uninstall(&self, kubernetes: &Kubernetes) -> Result<String> {
        kubernetes.helm(["uninstall", self.name, "--namespace", self.namespace, "--wait", "--timeout", "2m"]).text()
    }

    /// Name of the process that is active: its pod and a number, which the lease names after a slash.
    ///
    /// # Errors
    /// Returns an error if the API server did not respond or no operator is active.
    pub fn active_process(&self, kubernetes: &Kubernetes) -> Result<String> {
        let lease = format!("lease/{}", self.full_name());
        let args = ["get", &lease, "--namespace", self.namespace, "-o", "jsonpath={.spec.holderIdentity}"];
        let holder = kubernetes.kubectl(args).text()?;
        let process = holder.trim().split_once('/').map(|(_, process)| process);
        Ok(process.with_context(|| format!("{lease} has the holder {holder:?}, which names no process"))?.to_owned())
    }

    /// Name of the release's objects.
    #[must_use]
    pub fn full_name(&self) -> String {
        if self.name.contains(RELEASE) { self.name.to_owned() } else { format!("{}-{RELEASE}", self.name) }
    }
}
