//! The time of the next observation. Owns the shortest and the longest requeue interval. Does not own how the interval
//! grows from the shortest to the longest (the shell's `retry.rs`).

use std::time::Duration;

use crds::Reason;

use crate::decision::Decision;
use crate::validated::ValidatedCluster;

/// Interval until the next observation while a change makes progress.
const SOON: Duration = Duration::from_millis(300);
/// Interval until the next observation while the cluster waits for a person or for Kubernetes. The interval is longer,
/// because both take longer than members.
const LATER: Duration = Duration::from_secs(2);
/// Maximum interval until the next observation while the operator waits for a member. It is short, because no watched
/// object changes when the member is done.
const WATCHFUL: Duration = Duration::from_secs(1);
/// Interval until the next observation when nothing needs to be done. Passes continue nevertheless, because only a
/// member's own report shows that the member's volume was wiped.
pub(crate) const IDLE: Duration = Duration::from_secs(5);

/// The intervals until the next observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Interval until the next observation.
    pub(crate) next: Duration,
    /// Maximum interval, reached while each observation equals the previous one.
    pub(crate) slowest: Duration,
}

/// The intervals that a decision asks for. A change of a watched object triggers a pass immediately, whatever the
/// interval.
pub(crate) fn of(valid: &ValidatedCluster<'_>, decision: &Decision) -> Pace {
    let (next, slowest) = intervals(valid, decision);
    assert!(next <= slowest, "the interval grows towards the slowest");
    Pace { next, slowest }
}

fn intervals(valid: &ValidatedCluster<'_>, decision: &Decision) -> (Duration, Duration) {
    let moves = !decision.actions.is_empty() || decision.activity.is_some() || decision.outage.is_some();
    if !moves || decision.stalled.is_some() || valid.spec.paused {
        return (IDLE, IDLE);
    }
    let restores = decision.activity.as_ref().is_some_and(|note| note.reason == Reason::Restoring);
    match decision.blocked.as_ref().map(|note| note.reason) {
        None if restores => (SOON, WATCHFUL),
        None | Some(Reason::MembersNotReady | Reason::NoLeader) => (SOON, IDLE),
        Some(Reason::LearnerBehind | Reason::ChangeInFlight) => (SOON, WATCHFUL),
        // Only a person or Kubernetes can remove any other blocker.
        Some(_) => (LATER, IDLE),
    }
}
