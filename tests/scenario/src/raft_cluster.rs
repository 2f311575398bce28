//! A RaftCluster as a user sees it: status, scaling, members, deletion. Owns the conditions that mean "done".

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dev_cluster::{PATIENCE, Run, until};
use serde_json::Value;

use crate::kubernetes::Kubernetes;

/// One RaftCluster.
#[derive(Clone, Debug)]
pub struct RaftCluster<'a> {
    kubernetes: &'a Kubernetes,
    /// Name of the cluster and of its Service.
    pub name: String,
}

/// A RaftCluster object with its status.
#[derive(Clone, Debug)]
pub struct Status(Value);

impl<'a> RaftCluster<'a> {
    /// Returns the cluster `name`, which need not exist yet.
    #[must_use]
    pub fn named(kubernetes: &'a Kubernetes, name: &str) -> Self {
        Self { kubernetes, name: name.to_owned() }
    }

    /// Endpoint for clients inside Kubernetes.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}.{}.svc:2379", self.name, self.kubernetes.namespace)
    }

    /// Runs `kubectl wait --for=condition=Ready`, as a user would.
    ///
    /// # Errors
    /// Returns an error with the conditions if the cluster is not Ready after `limit`.
    pub fn wait_ready(&self, limit: Duration) -> Result<String> {
        let name = format!("raftcluster/{}", self.name);
        let timeout = format!("--timeout={}s", limit.as_secs());
        self.kubernetes.kubectl(["wait", "--for=condition=Ready", &name, &timeout]).text().with_context(|| {
            let status = self.status().map_or_else(|error| format!("{error:#}"), |status| status.explain());
            format!("{name} is not Ready: {status}")
        })
    }

    /// Reads the status.
    ///
    /// # Errors
    /// Returns an error if the cluster does not exist or the API server does not respond.
    pub fn status(&self) -> Result<Status> {
        let object = self.kubernetes.get("raftcluster", &self.name)?;
        Ok(Status(object.with_context(|| format!("raftcluster/{} does not exist", self.name))?))
    }

    /// Runs `kubectl scale`.
    ///
    /// # Errors
    /// Returns an error if the API server refused the request.
    pub fn scale(&self, replicas: u32) -> Result<()> {
        let name = format!("raftcluster/{}", self.name);
        self.kubernetes.kubectl(["scale", &name, &format!("--replicas={replicas}")]).text()?;
        Ok(())
    }

    /// Waits until the operator has carried out the spec: the cluster has the given numbers of voters and learners, all
    /// members are healthy, and the operator has no step left to do.
    ///
    /// # Errors
    /// Returns an error with the conditions if the cluster has not reached this state after `limit`.
    pub fn await_members(&self, voters: u64, learners: u64, limit: Duration) -> Result<Status> {
        let what = format!("raftcluster/{} has {voters} voters and {learners} learners", self.name);
        until(&what, limit, || {
            let status = self.status()?;
            let done = status.settled() && status.number("voters") == voters && status.number("learners") == learners;
            ensure!(done, "{}", status.explain());
            Ok(Some(status))
        })
    }

    /// Waits for a leader and returns its name.
    ///
    /// # Errors
    /// Returns an error if there is no leader within a minute.
    pub fn leader(&self) -> Result<String> {
        until(&format!("raftcluster/{} has a leader", self.name), PATIENCE, || Ok(self.status()?.leader()))
    }

    /// Name of a member's pod.
    #[must_use]
    pub fn pod(&self, member: &str) -> String {
        format!("{member}-0")
    }

    /// Identifies one start of a member's container, by the UID of the pod and the number of restarts of the container.
    /// `None` if the member has no container that is running and ready.
    ///
    /// # Errors
    /// Returns an error if the API server did not respond.
    pub fn life(&self, member: &str) -> Result<Option<String>> {
        let Some(pod) = self.kubernetes.get("pod", &self.pod(member))? else { return Ok(None) };
        let container = &pod["status"]["containerStatuses"][0];
        let lives = container["ready"] == true && pod["metadata"]["deletionTimestamp"].is_null();
        Ok(lives.then(|| format!("{}/{}", pod["metadata"]["uid"], container["restartCount"])))
    }

    /// Waits until a member that was killed or replaced has started again and is ready, and the operator has no step
    /// left to do. `before` is the result of `life` before the member was killed or replaced.
    ///
    /// # Errors
    /// Returns an error if the member is not ready, or the operator still has steps to do, after `limit`.
    pub fn await_new_life(&self, member: &str, before: Option<&str>, limit: Duration) -> Result<()> {
        until(&format!("{member} runs again"), limit, || {
            let now = self.life(member)?;
            ensure!(now.is_some() && now.as_deref() != before, "{}", self.status()?.explain());
            Ok(self.status()?.settled().then_some(()))
        })
    }

    /// Lists the names of the cluster's volume claims.
    ///
    /// # Errors
    /// Returns an error if the API server did not respond.
    pub fn claims(&self) -> Result<Vec<String>> {
        let claims =
            self.kubernetes.list("persistentvolumeclaims", &format!("raftoperator.io/cluster={}", self.name))?;
        Ok(claims.iter().filter_map(|claim| claim["metadata"]["name"].as_str().map(str::to_owned)).collect())
    }

    /// Deletes the cluster and its volumes, and waits until both are removed.
    ///
    /// # Errors
    /// Returns an error if the cluster or a volume still exists after `limit`.
    pub fn delete_with_volumes(&self, limit: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        self.kubernetes.kubectl(["delete", "raftcluster", &self.name, "--wait", &timeout]).text()?;
        let pods = format!("raftoperator.io/cluster={}", self.name);
        until("the members' pods are removed", limit, || {
            Ok(self.kubernetes.list("pods", &pods)?.is_empty().then_some(()))
        })?;
        for claim in self.claims()? {
            self.kubernetes.kubectl(["delete", "persistentvolumeclaim", &claim, "--wait", &timeout]).text()?;
        }
        Ok(())
    }
}

impl Status {
    /// Returns whether the operator has carried out the latest spec.
    #[must_use]
    pub fn settled(&self) -> bool {
        let is_latest = self.0["status"]["observedGeneration"] == self.0["metadata"]["generation"];
        is_latest && self.is("Ready") && !self.is("Reconciling") && !self.is("Stalled") && !self.is("Degraded")
    }

    /// Returns whether a condition is True.
    #[must_use]
    pub fn is(&self, condition: &str) -> bool {
        self.condition(condition).is_some_and(|condition| condition["status"] == "True")
    }

    /// Reason of a condition; empty if there is none.
    #[must_use]
    pub fn reason(&self, condition: &str) -> String {
        self.condition(condition).and_then(|condition| condition["reason"].as_str()).unwrap_or_default().to_owned()
    }

    /// Message of a condition; empty if there is none.
    #[must_use]
    pub fn message(&self, condition: &str) -> String {
        self.condition(condition).and_then(|condition| condition["message"].as_str()).unwrap_or_default().to_owned()
    }

    fn condition(&self, kind: &str) -> Option<&Value> {
        self.0["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
    }

    /// A number in the status; 0 if the field is missing.
    #[must_use]
    pub fn number(&self, field: &str) -> u64 {
        self.0["status"][field].as_u64().unwrap_or(0)
    }

    /// A string in the status; empty if the field is missing.
    #[must_use]
    pub fn text(&self, field: &str) -> String {
        self.0["status"][field].as_str().unwrap_or_default().to_owned()
    }

    /// Name of the leader; `None` if the status names none.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        Some(self.text("leader")).filter(|leader| !leader.is_empty())
    }

    /// Name and health of every member.
    #[must_use]
    pub fn members(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let members = self.0["status"]["members"].as_array();
        members.into_iter().flatten().map(|member| (text(&member["name"]), text(&member["health"]))).collect()
    }

    /// All conditions in one line, for error messages.
    #[must_use]
    pub fn explain(&self) -> String {
        let conditions = self.0["status"]["conditions"].as_array();
        let mut lines: Vec<String> = conditions
            .into_iter()
            .flatten()
            .map(|condition| {
                let text = |field: &str| condition[field].as_str().unwrap_or_default();
                format!("{}={} ({}: {})", text("type"), text("status"), text("reason"), text("message"))
            })
            .collect();
        let blocker = &self.0["status"]["plan"]["blockedBy"];
        if blocker.is_object() {
            lines.push(format!("blocked by {blocker}"));
        }
        if lines.is_empty() { "no condition yet; check that the operator is running".into() } else { lines.join("; ") }
    }
}
