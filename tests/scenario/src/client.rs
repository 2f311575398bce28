//! Real clients in pods: etcdctl, and the traffic writer with its record of every acknowledgement. Owns how they are
//! run and what their answers must say.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dev_cluster::{PATIENCE, Run, until};
use serde_json::Value;

use crate::kubernetes::Kubernetes;

/// A pod starts, then its client may wait for the cluster.
const SERVED_WITHIN: Duration = PATIENCE.saturating_mul(2);

/// etcd's own client: a pod for each command, as its image holds no shell to wait in.
#[derive(Clone, Debug)]
pub struct Etcdctl<'a> {
    kubernetes: &'a Kubernetes,
    image: String,
    endpoint: String,
}

impl<'a> Etcdctl<'a> {
    const POD: &'static str = "etcdctl";

    /// A client of the endpoint.
    #[must_use]
    pub fn new(kubernetes: &'a Kubernetes, image: &str, endpoint: &str) -> Self {
        Self { kubernetes, image: image.to_owned(), endpoint: endpoint.to_owned() }
    }

    /// `etcdctl ARGS`; returns what it printed.
    ///
    /// # Errors
    /// It did not end with success; what it printed.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        let delete = ["delete", "pod", Self::POD, "--ignore-not-found", "--wait", &timeout];
        self.kubernetes.kubectl(delete).text()?;
        // Its own two and five seconds are less than a new Service's routes, or an election, may take on a busy machine.
        let patience = ["--dial-timeout=30s", "--command-timeout=60s"];
        let command = [&["/etcdctl", "--endpoints", self.endpoint.as_str()], &patience[..], args].concat();
        self.kubernetes.create_client(Self::POD, &self.image, &command)?;
        let phase = until(&format!("{} ends", command.join(" ")), SERVED_WITHIN, || {
            let pod = self.kubernetes.get("pod", Self::POD)?.context("the pod is gone")?;
            let phase = pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
            Ok(["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase))
        })?;
        let printed = self.kubernetes.kubectl(["logs", Self::POD]).text()?;
        ensure!(phase == "Succeeded", "{} failed: {}", command.join(" "), printed.trim());
        Ok(printed)
    }
}

/// The traffic writer, in a pod.
#[derive(Clone, Debug)]
pub struct Traffic<'a> {
    kubernetes: &'a Kubernetes,
}

/// One phase as the writer saw it.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Writes whose outcome is unknown.
    pub unknown: u64,
    /// Longest time without an acknowledgement.
    pub longest_gap: Duration,
    /// The last error, if there was one.
    pub last_error: Option<String>,
}

/// The reckoning.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Writes acknowledged; every one is there, with version 1, or this does not exist.
    pub acknowledged: u64,
    /// Writes with an unknown outcome that happened.
    pub unknown_applied: u64,
    /// Writes with an unknown outcome that did not.
    pub unknown_absent: u64,
    /// Revisions that the store gained since the writer began.
    pub revisions: u64,
}

impl<'a> Traffic<'a> {
    const POD: &'static str = "traffic";

    /// Starts writing without pause.
    ///
    /// # Errors
    /// The pod does not run.
    pub fn start(kubernetes: &'a Kubernetes, image: &str, endpoint: &str, writers: u32) -> Result<Self> {
        let writers = writers.to_string();
        let command = ["/traffic", "write", "--endpoint", endpoint, "--writers", &writers];
        kubernetes.create_client(Self::POD, image, &command)?;
        until("the traffic writer writes", SERVED_WITHIN, || {
            let pod = kubernetes.get("pod", Self::POD)?.context("the pod is gone")?;
            ensure!(
                pod["status"]["phase"] != "Failed",
                "the writer ended: {}",
                kubernetes.kubectl(["logs", Self::POD]).text()?
            );
            let ready = pod["status"]["phase"] == "Running";
            Ok((ready && !kubernetes.kubectl(["logs", Self::POD]).text()?.is_empty()).then_some(()))
        })?;
        Ok(Self { kubernetes })
    }

    /// Ends the phase, begins the next.
    ///
    /// # Errors
    /// The writer does not answer.
    pub fn mark(&self, next: &str) -> Result<Phase> {
        let answer = self.ask(&["mark", next])?;
        let phase = &answer["phase"];
        let number = |field: &str| phase[field].as_u64().with_context(|| format!("{field} is missing in {answer}"));
        Ok(Phase {
            acknowledged: number("acknowledged")?,
            unknown: number("unknown")?,
            longest_gap: Duration::from_millis(number("longest_gap_ms")?),
            last_error: phase["last_error"].as_str().map(str::to_owned),
        })
    }

    /// Stops writing and compares the store behind `endpoint` with every acknowledgement.
    ///
    /// # Errors
    /// An acknowledged write is lost, one happened twice, or one appeared that was never sent; or the store could not be
    /// read.
    pub fn verify(&self, endpoint: &str) -> Result<Verdict> {
        let answer = self.ask(&["verify", "--endpoint", endpoint])?;
        let verdict = &answer["verdict"]["verdict"];
        let number = |field: &str| verdict[field].as_u64().with_context(|| format!("{field} is missing in {answer}"));
        let (lost, repeated, invented) = (number("lost")?, number("repeated")?, number("invented")?);
        ensure!(
            lost + repeated + invented == 0,
            "the cluster did not keep its word: {lost} acknowledged writes lost, {repeated} happened more than once, \
             {invented} appeared that were never sent: {}",
            verdict["examples"]
        );
        let first = answer["verdict"]["first_revision"].as_u64().context("no first revision")?;
        Ok(Verdict {
            acknowledged: number("acknowledged")?,
            unknown_applied: number("unknown_applied")?,
            unknown_absent: number("unknown_absent")?,
            revisions: number("revision")?.saturating_sub(first),
        })
    }

    fn ask(&self, args: &[&str]) -> Result<Value> {
        let mut command = self.kubernetes.kubectl(["exec", Self::POD, "--", "/traffic"]);
        let text = command.args(args).text()?;
        serde_json::from_str(&text).with_context(|| format!("the writer answered {text:?}"))
    }
}
