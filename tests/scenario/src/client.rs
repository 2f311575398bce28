//! Real clients in pods: etcdctl, and the traffic writer with its ledger of acknowledged writes. Owns how clients are
//! started, and how their output is read.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dev_cluster::{PATIENCE, Run, until};
use serde_json::Value;

use crate::kubernetes::Kubernetes;

/// Time within which a pod must have started, and its client must have been served.
const SERVED_WITHIN: Duration = PATIENCE.saturating_mul(2);

/// etcd's client. Each command runs in a separate pod, because the image contains no shell in which a pod could wait
/// for further commands.
#[derive(Clone, Debug)]
pub struct Etcdctl<'a> {
    kubernetes: &'a Kubernetes,
    image: String,
    endpoint: String,
}

impl<'a> Etcdctl<'a> {
    const POD: &'static str = "etcdctl";

    /// Creates a client of `endpoint`.
    #[must_use]
    pub fn new(kubernetes: &'a Kubernetes, image: &str, endpoint: &str) -> Self {
        Self { kubernetes, image: image.to_owned(), endpoint: endpoint.to_owned() }
    }

    /// Runs `etcdctl ARGS` and returns its output.
    ///
    /// # Errors
    /// Returns an error with the output if the command failed.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        let delete = ["delete", "pod", Self::POD, "--ignore-not-found", "--wait", &timeout];
        self.kubernetes.kubectl(delete).text()?;
        // etcdctl's default timeouts of 2 and 5 s are too short on a busy machine: the routes of a new Service, or an
        // election, may take longer.
        let patience = ["--dial-timeout=30s", "--command-timeout=60s"];
        let command = [&["/etcdctl", "--endpoints", self.endpoint.as_str()], &patience[..], args].concat();
        self.kubernetes.create_client(Self::POD, &self.image, &command)?;
        let phase = until(&format!("{} ends", command.join(" ")), SERVED_WITHIN, || {
            let pod = self.kubernetes.get("pod", Self::POD)?.context("the pod does not exist")?;
            let phase = pod["status"]["phase"].as_str().unwrap_or_default().to_owned();
            Ok(["Succeeded", "Failed"].contains(&phase.as_str()).then_some(phase))
        })?;
        let printed = self.kubernetes.kubectl(["logs", Self::POD]).text()?;
        ensure!(phase == "Succeeded", "{} failed: {}", command.join(" "), printed.trim());
        Ok(printed)
    }
}

/// The traffic writer, which runs in a pod.
#[derive(Clone, Debug)]
pub struct Traffic<'a> {
    kubernetes: &'a Kubernetes,
}

/// The writer's report on one phase.
#[derive(Clone, Debug)]
pub struct Phase {
    /// Number of acknowledged writes.
    pub acknowledged: u64,
    /// Number of writes whose outcome is unknown.
    pub unknown: u64,
    /// Longest time between two acknowledgements.
    pub longest_gap: Duration,
    /// The last error of a write, if there was one.
    pub last_error: Option<String>,
}

/// Result of a successful comparison: the store holds every acknowledged write exactly once.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Number of acknowledged writes.
    pub acknowledged: u64,
    /// Number of writes whose outcome the client does not know and that the store holds.
    pub unknown_applied: u64,
    /// Number of writes whose outcome the client does not know and that the store lacks.
    pub unknown_absent: u64,
    /// Number of revisions since the first write.
    pub revisions: u64,
}

impl<'a> Traffic<'a> {
    const POD: &'static str = "traffic";

    /// Starts a pod that writes without pause.
    ///
    /// # Errors
    /// Returns an error if the pod does not start, or ends.
    pub fn start(kubernetes: &'a Kubernetes, image: &str, endpoint: &str, writers: u32) -> Result<Self> {
        let writers = writers.to_string();
        let command = ["/traffic", "write", "--endpoint", endpoint, "--writers", &writers];
        kubernetes.create_client(Self::POD, image, &command)?;
        until("the traffic writer has started to write", SERVED_WITHIN, || {
            let pod = kubernetes.get("pod", Self::POD)?.context("the pod does not exist")?;
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

    /// Ends the present phase and begins the phase `next`.
    ///
    /// # Errors
    /// Returns an error if the writer does not respond.
    pub fn mark(&self, next: &str) -> Result<Phase> {
        let response = self.request(&["mark", next])?;
        let phase = &response["phase"];
        let number = |field: &str| phase[field].as_u64().with_context(|| format!("{field} is missing in {response}"));
        Ok(Phase {
            acknowledged: number("acknowledged")?,
            unknown: number("unknown")?,
            longest_gap: Duration::from_millis(number("longest_gap_ms")?),
            last_error: phase["last_error"].as_str().map(str::to_owned),
        })
    }

    /// Stops writing and compares the store at `endpoint` with the ledger.
    ///
    /// # Errors
    /// Returns an error if an acknowledged write is lost, if a write happened twice, if the store holds a key that was
    /// never sent, or if the store could not be read.
    pub fn verify(&self, endpoint: &str) -> Result<Verdict> {
        let response = self.request(&["verify", "--endpoint", endpoint])?;
        let verdict = &response["verdict"]["verdict"];
        let number = |field: &str| verdict[field].as_u64().with_context(|| format!("{field} is missing in {response}"));
        let (lost, repeated, invented) = (number("lost")?, number("repeated")?, number("invented")?);
        ensure!(
            lost + repeated + invented == 0,
            "the store disagrees with the ledger: {lost} acknowledged writes are lost, {repeated} happened more than once, \
             {invented} were never sent: {}",
            verdict["examples"]
        );
        let first = response["verdict"]["first_revision"].as_u64().context("no first revision")?;
        Ok(Verdict {
            acknowledged: number("acknowledged")?,
            unknown_applied: number("unknown_applied")?,
            unknown_absent: number("unknown_absent")?,
            revisions: number("revision")?.saturating_sub(first),
        })
    }

    fn request(&self, args: &[&str]) -> Result<Value> {
        let mut command = self.kubernetes.kubectl(["exec", Self::POD, "--", "/traffic"]);
        let text = command.args(args).text()?;
        serde_json::from_str(&text).with_context(|| format!("the writer printed {text:?}"))
    }
}
