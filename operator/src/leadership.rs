//! Ensures that only one operator of a release is active: the active operator must hold a Lease. Owns acquiring,
//! renewing and releasing Leases. Does not own what the holder does (`run.rs`).
//!
//! The rules are those of client-go. A write of a lease names the resource version that was read, so that only one of
//! two candidates succeeds. A process considers the holder alive while less than the lease duration has passed since
//! the process last saw the lease change. It measures this time on its own monotonic clock, and never uses the times in
//! the lease. A process releases the lease on shutdown, and ends when it loses the lease. Two operators may still
//! overlap for a moment, and every action is safe in this case.
//!
//! Each release has its own lease, so that two releases in one namespace are both active. Former versions had one lease
//! for all releases. An active operator therefore also ensures that no operator of a former version holds that lease:
//! `operator/docs/decisions/leases.md`.

use std::time::Duration;

use futures::future::join;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep_until, timeout};

use crate::health::Readiness;

/// Name of the only lease of former versions. The chart's role contains the same name.
const FORMER_LEASE: &str = "raft-operator";
/// Time after which a lease that is not renewed expires.
const DURATION: Duration = Duration::from_secs(15);
/// Time after which a holder ends if it could not renew its leases.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// Maximum time for the release of a lease. It is shorter than the time in which Kubernetes lets a pod end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);
/// Interval between reads or renewals of the leases.
const PERIOD: Duration = Duration::from_secs(2);
/// Time without a change after which the former lease is taken over from an operator that holds it only as a
/// protection. A change is seen up to `PERIOD` late. These times together with `RENEW_DEADLINE` are not longer than
/// `DURATION`, so that relying on the lease shortens no deadline of this process.
const PROTECTED: Duration = Duration::from_secs(3);

/// A process that waits for the leases, and later holds them.
pub struct Candidate {
    leases: Api<Lease>,
    identity: Identity,
    /// The lease of this process's release.
    own: Watched,
    /// The lease of former versions; `None` if the release's own lease has the same name.
    former: Option<Watched>,
    /// Time from which `RENEW_DEADLINE` counts. No lease that this process holds or relies on expires before this time
    /// plus `RENEW_DEADLINE`.
    held: Instant,
}

/// The holder's name in a lease: the name of the lease of the holder's release, a slash, and the name of the process.
/// Processes of former versions wrote only the name of the process.
#[derive(Clone, Debug)]
struct Identity {
    release: String,
    process: String,
}

/// A lease that this process reads repeatedly.
struct Watched {
    name: String,
    /// The last change; `None` before this process has read the lease.
    changed: Option<Change>,
    /// Start of the last request that read or wrote the lease.
    asked: Option<Instant>,
    /// The lease as this process wrote it; `None` if the last request failed or another process holds the lease.
    written: Option<Lease>,
}

/// A change of a lease, as this process saw it.
struct Change {
    /// Resource version after the change.
    version: Option<String>,
    /// Time at which this process saw the change.
    seen: Instant,
    /// A time before the change: the start of the previous request, which saw the former version. `None` if there was
    /// no previous request.
    after: Option<Instant>,
}

/// The holder of a lease, as compared with this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    /// The lease was released.
    Vacant,
    /// This process.
    ThisProcess,
    /// Another process of the same release.
    SameRelease,
    /// A process of another release, which holds the lease of its own release.
    OtherRelease,
    /// A process of another release, which holds the former lease only as a protection against former versions.
    Protector,
    /// A process of a former version. Its release is unknown.
    FormerVersion,
}

/// What a process may do with a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ruling {
    /// The process may acquire or renew the lease.
    Take,
    /// The process may be active while another process holds the lease, and acquires the lease once it has not changed
    /// for this time.
    Rely(Duration),
    /// The process must wait until the lease is released or expires.
    Wait,
}

/// The reason why a lease was not acquired or renewed.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// Another process of the release holds the lease.
    #[error("{holder} holds the lease {lease}")]
    Held {
        /// Name of the lease.
        lease: String,
        /// Name of the holder.
        holder: String,
    },
    /// A process of a former version holds the lease that former versions share.
    #[error(
        "{holder} of a former version holds the lease {lease}: waits until that pod has ended. If it belongs to another release in this namespace, upgrade or uninstall that release"
    )]
    HeldByFormerVersion {
        /// Name of the lease.
        lease: String,
        /// Name of the holder.
        holder: String,
    },
    /// The API server refused the request or did not answer.
    #[error("the lease {lease} could not be read or written: {error}")]
    Api {
        /// Name of the lease.
        lease: String,
        /// The API server's answer.
        #[source]
        error: kube::Error,
    },
    /// The API server did not answer in time.
    #[error("the Kubernetes API does not answer")]
    Silent,
    /// A lease is lost, and this process must end.
    #[error("a lease could not be renewed in time: another copy may be working already")]
    Lost,
}

impl Candidate {
    /// Creates a candidate. `lease` is the name of the release's lease. `process` must be unique among all processes.
    #[must_use]
    pub fn new(client: Client, namespace: &str, lease: &str, process: String) -> Self {
        Self {
            leases: Api::namespaced(client, namespace),
            identity: Identity { release: lease.to_owned(), process },
            own: Watched::new(lease),
            former: (lease != FORMER_LEASE).then(|| Watched::new(FORMER_LEASE)),
            held: Instant::now(),
        }
    }

    /// Waits until this process may be active, and marks it as ready once the leases can be read and written: also a
    /// process that waits for another one is ready. If `stop` completes first, releases the release's lease, which this
    /// process may hold while it waits for the former one, and returns false.
    pub async fn acquire(&mut self, readiness: &Readiness, stop: impl Future<Output = ()>) -> bool {
        let is_active = tokio::select! {
            () = self.wait(readiness) => true,
            () = stop => false,
        };
        if !is_active {
            self.release().await;
        }
        is_active
    }

    async fn wait(&mut self, readiness: &Readiness) {
        let mut cause = String::new();
        loop {
            let began = Instant::now();
            let outcome = timeout(RENEW_DEADLINE, self.try_hold()).await.unwrap_or(Err(LeaseError::Silent));
            if is_usable(&outcome) {
                readiness.reached();
            }
            match outcome {
                Ok(held) if held.elapsed() < RENEW_DEADLINE / 2 => {
                    self.held = held;
                    return;
                }
                // The first renewal might come too late. A renewal takes fewer requests than this attempt.
                Ok(_) => tracing::info!("the lease was acquired slowly: renews it first"),
                Err(error) => log_once(&error, &mut cause),
            }
            sleep_until(began + PERIOD).await;
        }
    }

    /// Renews the leases periodically. Returns an error once a lease is lost: no renewal has succeeded within
    /// `RENEW_DEADLINE`, or another process holds a lease that this process needs.
    pub async fn keep(&mut self) -> LeaseError {
        let mut began = self.held;
        loop {
            sleep_until((began + PERIOD).min(self.held + RENEW_DEADLINE)).await;
            began = Instant::now();
            match timeout(self.time_left(), self.try_hold()).await {
                Ok(Ok(held)) => self.held = held,
                Ok(Err(error @ LeaseError::Api { .. })) => {
                    tracing::warn!(%error, "the lease was not renewed");
                    if self.time_left().is_zero() {
                        return LeaseError::Lost;
                    }
                }
                Ok(Err(
                    error @ (LeaseError::Held { .. }
                    | LeaseError::HeldByFormerVersion { .. }
                    | LeaseError::Silent
                    | LeaseError::Lost),
                )) => {
                    tracing::warn!(%error, "another process holds the lease");
                    return LeaseError::Lost;
                }
                Err(_) => return LeaseError::Lost,
            }
        }
    }

    /// Releases the release's lease, so that another process can acquire it immediately. If this fails, the lease
    /// expires by itself. The former lease is not released, because an operator of another release may rely on it; it
    /// expires, or the next process of this release takes it.
    pub async fn release(&mut self) {
        let released = timeout(RELEASE_TIMEOUT, self.try_release()).await.unwrap_or(Err(LeaseError::Silent));
        if let Err(error) = released {
            tracing::warn!(%error, "the lease was not released: it expires by itself");
        }
    }

    async fn try_release(&mut self) -> Result<(), LeaseError> {
        let failed = |error| LeaseError::Api { lease: self.own.name.clone(), error };
        let Some(lease) = self.leases.get_opt(&self.own.name).await.map_err(failed)? else { return Ok(()) };
        if self.identity.compare(&self.own.name, holder(&lease)) != Holder::ThisProcess {
            return Ok(());
        }
        let spec = LeaseSpec {
            holder_identity: Some(String::new()),
            lease_duration_seconds: Some(1),
            ..lease.spec.clone().unwrap_or_default()
        };
        replace(&self.leases, &lease, spec).await.map_err(failed)?;
        Ok(())
    }

    /// Acquires or renews everything that this process needs to be active, and returns the time from which
    /// `RENEW_DEADLINE` counts. A renewal takes as long as one request, so that it is in time even if the API server is
    /// slow.
    async fn try_hold(&mut self) -> Result<Instant, LeaseError> {
        let is_renewal = self.own.written.is_some();
        let own = self.own.hold(&self.leases, &self.identity, own_lease);
        let Some(former) = &mut self.former else { return own.await };
        let former = former.hold(&self.leases, &self.identity, former_lease);
        if is_renewal {
            return match join(own, former).await {
                (Ok(own), Ok(former)) => Ok(own.min(former)),
                (Err(LeaseError::Api { .. }), Err(error)) | (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            };
        }
        // The release's own lease comes first, so that at most one process of the release takes the former lease.
        Ok(own.await?.min(former.await?))
    }

    /// Time until this process must end unless it renews its leases.
    fn time_left(&self) -> Duration {
        RENEW_DEADLINE.saturating_sub(self.held.elapsed())
    }
}

/// Returns whether the leases could be read and written, as far as this process needs them.
fn is_usable(outcome: &Result<Instant, LeaseError>) -> bool {
    match outcome {
        Ok(_) | Err(LeaseError::Held { .. } | LeaseError::HeldByFormerVersion { .. }) => true,
        Err(LeaseError::Api { .. } | LeaseError::Silent | LeaseError::Lost) => false,
    }
}

/// Logs the cause for which a process waits, unless it is `logged` already.
fn log_once(error: &LeaseError, logged: &mut String) {
    let text = error.to_string();
    if *logged == text {
        return;
    }
    match error {
        // This is the usual state of a standby.
        LeaseError::Held { .. } => tracing::info!(%error, "waiting for the lease"),
        LeaseError::HeldByFormerVersion { .. } | LeaseError::Api { .. } | LeaseError::Silent | LeaseError::Lost => {
            tracing::warn!(%error, "waiting for the lease")
        }
    }
    *logged = text;
}

/// What a process may do with the lease of its own release.
fn own_lease(holder: Holder) -> Ruling {
    match holder {
        // A protector holds this lease because it is also the former lease. It is active by its own lease.
        Holder::Vacant | Holder::ThisProcess | Holder::Protector => Ruling::Take,
        Holder::SameRelease | Holder::OtherRelease | Holder::FormerVersion => Ruling::Wait,
    }
}

/// What the process that holds its release's own lease may do with the former lease.
fn former_lease(holder: Holder) -> Ruling {
    match holder {
        Holder::Vacant | Holder::ThisProcess | Holder::SameRelease => Ruling::Take,
        // The holder has ended by itself after this time. A former process waits longer, therefore this one comes first.
        Holder::OtherRelease => Ruling::Rely(RENEW_DEADLINE),
        Holder::Protector => Ruling::Rely(PROTECTED),
        Holder::FormerVersion => Ruling::Wait,
    }
}

impl Watched {
    fn new(name: &str) -> Self {
        Self { name: name.to_owned(), changed: None, asked: None, written: None }
    }

    async fn hold(
        &mut self,
        leases: &Api<Lease>,
        identity: &Identity,
        rule: fn(Holder) -> Ruling,
    ) -> Result<Instant, LeaseError> {
        let began = Instant::now();
        let name = self.name.clone();
        let failed = |error| LeaseError::Api { lease: name.clone(), error };
        if let Some(written) = self.written.take() {
            match replace(leases, &written, identity.next(&written)).await {
                Ok(replaced) => {
                    self.wrote(replaced, began);
                    return Ok(began);
                }
                // Another process wrote or deleted the lease, or an earlier write was carried out without an answer.
                Err(kube::Error::Api(refused)) if matches!(refused.code, 404 | 409) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        let Some(lease) = leases.get_opt(&self.name).await.map_err(failed)? else {
            let first = identity.first(&self.name);
            let created = leases.create(&PostParams::default(), &first).await.map_err(failed)?;
            self.wrote(created, began);
            return Ok(began);
        };
        self.see(&lease, began);
        let compared = identity.compare(&self.name, holder(&lease));
        let ruling = match rule(compared) {
            Ruling::Wait if self.unchanged() >= duration(&lease) => Ruling::Take,
            Ruling::Rely(time) if self.unchanged() >= time => Ruling::Take,
            // The holder may have ended long ago: its lease must be seen to change first.
            Ruling::Rely(_) if self.relied().is_none() => Ruling::Wait,
            ruling @ (Ruling::Take | Ruling::Rely(_) | Ruling::Wait) => ruling,
        };
        match ruling {
            Ruling::Take => {
                let replaced = replace(leases, &lease, identity.next(&lease)).await.map_err(failed)?;
                self.wrote(replaced, began);
                Ok(began)
            }
            Ruling::Rely(_) => Ok(self.relied().map_or(began, |relied| relied.min(began))),
            Ruling::Wait => {
                let holder = holder(&lease).to_owned();
                Err(match compared {
                    Holder::FormerVersion => LeaseError::HeldByFormerVersion { lease: name, holder },
                    Holder::Vacant
                    | Holder::ThisProcess
                    | Holder::SameRelease
                    | Holder::OtherRelease
                    | Holder::Protector => LeaseError::Held { lease: name, holder },
                })
            }
        }
    }

    fn wrote(&mut self, lease: Lease, began: Instant) {
        self.see(&lease, began);
        self.written = Some(lease);
    }

    fn see(&mut self, lease: &Lease, began: Instant) {
        let (version, after) = (lease.metadata.resource_version.clone(), self.asked.replace(began));
        if self.changed.as_ref().is_none_or(|change| change.version != version) {
            self.changed = Some(Change { version, seen: Instant::now(), after });
        }
    }

    /// Time since this process last saw the lease change.
    fn unchanged(&self) -> Duration {
        self.changed.as_ref().map_or(Duration::ZERO, |change| change.seen.elapsed())
    }

    /// Time from which `RENEW_DEADLINE` counts while this process relies on another one's hold: a former process
    /// acquires the lease `DURATION` after its last change or later. `None` if the lease was not seen to change.
    fn relied(&self) -> Option<Instant> {
        self.changed.as_ref()?.after.map(|after| after + (DURATION - RENEW_DEADLINE))
    }
}

impl Identity {
    /// The holder's name as a lease contains it.
    fn text(&self) -> String {
        format!("{}/{}", self.release, self.process)
    }

    fn compare(&self, lease: &str, holder: &str) -> Holder {
        match holder.split_once('/') {
            None if holder.is_empty() => Holder::Vacant,
            None => Holder::FormerVersion,
            Some((release, process)) if release == self.release => {
                if process == self.process {
                    Holder::ThisProcess
                } else {
                    Holder::SameRelease
                }
            }
            Some((release, _)) if release == lease => Holder::OtherRelease,
            Some(_) => Holder::Protector,
        }
    }

    fn first(&self, name: &str) -> Lease {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        Lease { metadata, spec: Some(self.spec(Timestamp::now(), None, 0)) }
    }

    fn next(&self, lease: &Lease) -> LeaseSpec {
        let spec = lease.spec.clone().unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or(0);
        if holder(lease) == self.text() {
            self.spec(Timestamp::now(), spec.acquire_time, transitions)
        } else {
            self.spec(Timestamp::now(), None, transitions.saturating_add(1))
        }
    }

    fn spec(&self, now: Timestamp, acquired: Option<MicroTime>, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.text()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(acquired.unwrap_or(MicroTime(now))),
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

async fn replace(leases: &Api<Lease>, lease: &Lease, spec: LeaseSpec) -> Result<Lease, kube::Error> {
    // The write names the resource version that was read, therefore it fails if another candidate was faster.
    let lease = Lease { metadata: lease.metadata.clone(), spec: Some(spec) };
    let name = lease.metadata.name.as_deref().unwrap_or_default();
    leases.replace(name, &PostParams::default(), &lease).await
}

/// Time without a change after which a lease expires.
fn duration(lease: &Lease) -> Duration {
    let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
    seconds.and_then(|seconds| u64::try_from(seconds).ok()).map_or(DURATION, Duration::from_secs)
}

/// Name of the holder in a lease; empty if the lease was released.
fn holder(lease: &Lease) -> &str {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}
