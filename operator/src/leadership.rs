//! Ensures that only one operator is active: the active operator must hold a Lease. Owns acquiring, renewing and
//! releasing the Lease. Does not own what the holder does (`run.rs`).
//!
//! The rules are those of client-go. A write of the lease names the resource version that was read, so that only one
//! of two candidates succeeds. A process considers the holder alive while less than the lease duration has passed
//! since the process last saw the lease change. It measures this time on its own monotonic clock, and never uses the
//! times in the lease. A process releases the lease on shutdown, and ends when it loses the lease. Two operators may
//! still overlap for a moment, and every action is safe in this case.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};

/// Name of the lease. The chart's role contains the same name.
const LEASE: &str = "raft-operator";
/// Time after which a lease that is not renewed expires.
const DURATION: Duration = Duration::from_secs(15);
/// Time after which a holder ends if it could not renew the lease.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Interval between reads or renewals of the lease.
const PERIOD: Duration = Duration::from_secs(2);

/// A process that waits for the lease, and later holds it.
pub struct Candidate {
    leases: Api<Lease>,
    identity: String,
    seen: Option<Seen>,
}

/// The lease, as it was when this process last saw it change.
struct Seen {
    version: Option<String>,
    at: Instant,
}

/// The reason why the lease was not acquired or renewed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process holds the lease.
    #[error("{0} holds the lease")]
    Held(String),
    /// The API server refused the request or did not answer.
    #[error("the lease could not be read or written: {0}")]
    Api(#[from] kube::Error),
    /// The lease is lost, and this process must end.
    #[error("the lease could not be renewed in time: another copy may be working already")]
    Lost,
}

impl Candidate {
    /// Creates a candidate. `identity` must be unique among all processes.
    #[must_use]
    pub fn new(client: Client, namespace: &str, identity: String) -> Self {
        Self { leases: Api::namespaced(client, namespace), identity, seen: None }
    }

    /// Waits until this process holds the lease.
    pub async fn acquire(&mut self) {
        let mut logged = None;
        loop {
            match timeout(RENEW_DEADLINE, self.try_hold()).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => {
                    let text = error.to_string();
                    if logged.as_ref() != Some(&text) {
                        tracing::info!(%text, "waiting for the lease");
                        logged = Some(text);
                    }
                }
                Err(_) => tracing::warn!("the Kubernetes API does not answer"),
            }
            sleep(PERIOD).await;
        }
    }

    /// Renews the lease periodically. Returns an error once the lease is lost: no renewal has succeeded within
    /// `RENEW_DEADLINE`, or another process holds the lease.
    pub async fn keep(&mut self) -> LeaseError {
        let mut renewed = Instant::now();
        loop {
            sleep(PERIOD).await;
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            match timeout(left, self.try_hold()).await {
                Ok(Ok(())) => renewed = Instant::now(),
                Ok(Err(LeaseError::Held(_))) | Err(_) => return LeaseError::Lost,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the lease was not renewed");
                    if renewed.elapsed() >= RENEW_DEADLINE {
                        return LeaseError::Lost;
                    }
                }
            }
        }
    }

    /// Releases the lease, so that another process can acquire it immediately.
    ///
    /// # Errors
    /// Returns an error if the API server refuses or does not answer. The lease then expires by itself.
    pub async fn release(&mut self) -> Result<(), LeaseError> {
        let lease = self.leases.get(LEASE).await?;
        if holder(&lease) != Some(self.identity.as_str()) {
            return Ok(());
        }
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..lease.spec.clone().unwrap_or_default()
        };
        self.replace(&lease, spec).await?;
        Ok(())
    }

    async fn try_hold(&mut self) -> Result<(), LeaseError> {
        let Some(lease) = self.leases.get_opt(LEASE).await? else {
            let created = self.leases.create(&PostParams::default(), &self.first()).await?;
            self.see(&created);
            return Ok(());
        };
        self.see(&lease);
        let holder = holder(&lease).unwrap_or_default();
        if holder != self.identity && !holder.is_empty() && !self.is_expired(&lease) {
            return Err(LeaseError::Held(holder.to_owned()));
        }
        let replaced = self.replace(&lease, self.next(&lease)).await?;
        self.see(&replaced);
        Ok(())
    }

    fn see(&mut self, lease: &Lease) {
        let version = lease.metadata.resource_version.clone();
        if self.seen.as_ref().is_none_or(|seen| seen.version != version) {
            self.seen = Some(Seen { version, at: Instant::now() });
        }
    }

    /// Returns whether the lease has expired. Its duration counts from the time at which this process last saw the
    /// lease change.
    fn is_expired(&self, lease: &Lease) -> bool {
        let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let duration = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs);
        self.seen.as_ref().is_some_and(|seen| seen.at.elapsed() >= duration)
    }

    async fn replace(&self, lease: &Lease, spec: LeaseSpec) -> Result<Lease, kube::Error> {
        // The write names the resource version that was read, therefore it fails if another candidate was faster.
        let lease = Lease { metadata: lease.metadata.clone(), spec: Some(spec) };
        self.leases.replace(LEASE, &PostParams::default(), &lease).await
    }

    fn first(&self) -> Lease {
        let metadata = ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(self.spec(Timestamp::now(), None, 0)) }
    }

    fn next(&self, lease: &Lease) -> LeaseSpec {
        let spec = lease.spec.clone().unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or(0);
        if spec.holder_identity.as_deref() == Some(self.identity.as_str()) {
            self.spec(Timestamp::now(), spec.acquire_time, transitions)
        } else {
            self.spec(Timestamp::now(), None, transitions.saturating_add(1))
        }
    }

    fn spec(&self, now: Timestamp, acquired: Option<MicroTime>, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}
