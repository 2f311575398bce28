//! When the next observation is due. Owns the requeue intervals. Does not own the backoff between them (the shell's
//! `retry.rs`).

use std::time::Duration;

use crds::Reason;

use crate::decision::Decision;
use crate::validated::ValidatedCluster;

/// Interval while something moves.
const SOON: Duration = Duration::from_millis(300);
/// Interval while the cluster waits for a person or for Kubernetes, which both take longer.
const LATER: Duration = Duration::from_secs(2);
/// Longest interval while a member is waited for, because no watched object changes when it is done.
const WATCHFUL: Duration = Duration::from_secs(1);
/// Interval when all is well: a wiped volume shows only in its member's own report.
pub(crate) const IDLE: Duration = Duration::from_secs(5);

/// When to observe again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The next interval.
    pub(crate) next: Duration,
    /// Longest interval, while each observation equals the one before.
    pub(crate) slowest: Duration,
}

/// The pace that a decision asks for. Changes of watched objects trigger a pass at once, whatever the pace.
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
        // Only a person or Kubernetes can help.
        Some(_) => (LATER, IDLE),
    }
}
