//! Access to a Kubernetes cluster through kubectl and helm. Owns their command lines, and the namespace of the
//! scenario.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use dev_cluster::{Cluster, Json, PATIENCE, Run, until};
use serde_json::Value;

/// A Kubernetes cluster, and the namespace of the scenario in it.
#[derive(Clone, Debug)]
pub struct Kubernetes {
    kubectl: PathBuf,
    helm: PathBuf,
    env: Vec<(String, String)>,
    /// Namespace of all Raft clusters and clients.
    pub namespace: String,
}

impl Kubernetes {
    /// Gives access to the dev cluster.
    #[must_use]
    pub fn of(cluster: &Cluster, namespace: &str) -> Self {
        let program = |command: &Command| PathBuf::from(command.get_program());
        let mut env: Vec<_> = cluster.env().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let helm = cluster.helm([""; 0]);
        for (name, value) in helm.get_envs() {
            if let (Some(name), Some(value)) = (name.to_str(), value.and_then(OsStr::to_str)) {
                env.push((name.to_owned(), value.to_owned()));
            }
        }
        Self { kubectl: program(&cluster.kubectl([""; 0])), helm: program(&helm), env, namespace: namespace.to_owned() }
    }

    /// Gives access to another Kubernetes cluster by its kubeconfig.
    #[must_use]
    pub fn given(kubectl: PathBuf, helm: PathBuf, kubeconfig: &Path, namespace: &str) -> Self {
        let env = vec![("KUBECONFIG".to_owned(), kubeconfig.to_string_lossy().into_owned())];
        Self { kubectl, helm, env, namespace: namespace.to_owned() }
    }

    /// The command `kubectl --namespace NAMESPACE ARGS`.
    #[must_use]
    pub fn kubectl<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(&self.kubectl);
        command.envs(self.env.iter().cloned()).args(["--namespace", &self.namespace]).args(args);
        command
    }

    /// The command `helm ARGS`.
    #[must_use]
    pub fn helm<I, S>(&self, args: I) -> Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        let mut command = Command::new(&self.helm);
        command.envs(self.env.iter().cloned()).args(args);
        command
    }

    /// Runs `kubectl apply` on a manifest.
    ///
    /// # Errors
    /// Returns an error with the message of kubectl if the API server refused the manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.kubectl(["apply", "--server-side", "--field-manager=person", "-f", "-"]).text_from(manifest.as_bytes())
    }

    /// Reads one object; `None` if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the API server did not respond.
    pub fn get(&self, kind: &str, name: &str) -> Result<Option<Value>> {
        let text = self.kubectl(["get", kind, name, "--ignore-not-found", "-o", "json"]).text()?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        Ok(Some(serde_json::from_str(&text).context("kubectl printed no JSON")?))
    }

    /// Lists all objects of a kind with the labels of `selector`.
    ///
    /// # Errors
    /// Returns an error if the API server did not respond.
    pub fn list(&self, kind: &str, selector: &str) -> Result<Vec<Value>> {
        let list = self.kubectl(["get", kind, "--selector", selector, "-o", "json"]).json()?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Creates the namespace unless it exists. The namespace enforces the strictest pod security standard.
    ///
    /// # Errors
    /// Returns an error if the API server refused the request.
    pub fn create_namespace(&self) -> Result<()> {
        let name = &self.namespace;
        until("a former namespace of this name is removed", PATIENCE, || {
            let former = self.get("namespace", name)?;
            Ok(former.is_none_or(|former| former["metadata"]["deletionTimestamp"].is_null()).then_some(()))
        })?;
        self.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{pod-security.kubernetes.io/enforce: restricted}}}}}}"
        ))?;
        // The API server refuses pods in a new namespace until the namespace has its service account.
        until("the namespace has its service account", PATIENCE, || self.get("serviceaccount", "default"))?;
        Ok(())
    }

    /// Deletes the namespace and waits until its pods have ended. Kubernetes removes it up to 15 s later, because its
    /// controller looks again after half of the time that pods may take to end.
    ///
    /// # Errors
    /// Returns an error if a pod still exists after `limit`.
    pub fn abandon_namespace(&self, limit: Duration) -> Result<()> {
        self.kubectl(["delete", "namespace", &self.namespace, "--ignore-not-found", "--wait=false"]).text()?;
        until("the pods of the namespace have ended", limit, || Ok(self.list("pods", "")?.is_empty().then_some(())))
    }

    /// Deletes the namespace and waits until it is removed.
    ///
    /// # Errors
    /// Returns an error if the namespace still exists after `limit`.
    pub fn delete_namespace(&self, limit: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        self.kubectl(["delete", "namespace", &self.namespace, "--ignore-not-found", "--wait", &timeout]).text()?;
        Ok(())
    }

    /// Creates a pod that runs a client and obeys the strictest pod security standard.
    ///
    /// # Errors
    /// Returns an error if the API server refused the request.
    pub fn create_client(&self, name: &str, image: &str, command: &[&str]) -> Result<()> {
        let command = serde_json::to_string(command).context("a command is always JSON")?;
        self.apply(&format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app.kubernetes.io/name: {name}}}}}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  automountServiceAccountToken: false
  securityContext: {{runAsNonRoot: true, runAsUser: 65532, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: client
      image: {image}
      imagePullPolicy: IfNotPresent
      command: {command}
      securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
"#
        ))?;
        Ok(())
    }
}
