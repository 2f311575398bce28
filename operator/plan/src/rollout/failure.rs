//! Members that failed the rollout. Owns when a member has failed, and whether it said why. Does not own what follows
//! (`rollout.rs`).

use crds::Reason;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use k8s_openapi::jiff::SignedDuration;

use crate::decision::Note;
use crate::names;
use crate::observed::member::MemberPhase;
use crate::observed::{Observed, settings_of_pod};
use crate::roster::{Roster, Seat};
use crate::troubles;
use crate::validated::ValidatedCluster;

/// Exit codes from this one on are those of signals, for example of a process that exceeded its memory limit.
const SIGNALS: i32 = 128;

/// Maximum length of what is quoted of a process, in characters.
const SAID_MAX: usize = 400;

/// A member that failed the rollout.
pub(super) struct Failure {
    pub(super) name: String,
    /// What went wrong.
    what: String,
    /// Whether the member's process said why, so that waiting does not help.
    said_why: bool,
}

/// The members that failed: on trial with the settings of the spec, on a machine that is there.
pub(super) fn find(
    valid: &ValidatedCluster<'_>,
    observed: &Observed,
    roster: &Roster<'_>,
    wanted: &str,
) -> Vec<Failure> {
    let tries = |seat: &&Seat<'_>| seat.on_trial && seat.pod.and_then(settings_of_pod) == Some(wanted);
    roster.seats.values().filter(tries).filter_map(|seat| one(valid, observed, seat)).collect()
}

fn one(valid: &ValidatedCluster<'_>, observed: &Observed, seat: &Seat<'_>) -> Option<Failure> {
    let pod = seat.pod.filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()))?;
    if seat.health.serves() && seat.is_pod_ready() {
        return None;
    }
    let failure = |what, said_why| Some(Failure { name: seat.name.clone(), what, said_why });
    if let Some(report) = seat.report {
        let said = report.error.as_deref().unwrap_or_default();
        match report.phase {
            MemberPhase::Damaged => return failure(format!("refuses its disk: {said}"), true),
            MemberPhase::TooNew => {
                return failure(format!("runs a program that is too old for its data: {said}"), true);
            }
            _ => {}
        }
    }
    if let Some(ended) = ended(pod) {
        let said = said(ended);
        let said_why = (1..SIGNALS).contains(&ended.exit_code) && !said.is_empty();
        let reason = ended.reason.as_deref().unwrap_or("Error");
        return failure(format!("ended with exit code {} ({reason}): {said}", ended.exit_code), said_why);
    }
    let created = pod.metadata.creation_timestamp.as_ref()?.0;
    let deadline = SignedDuration::try_from(valid.progress_deadline).unwrap_or(SignedDuration::MAX);
    if observed.now.duration_since(created) < deadline {
        return None;
    }
    let trouble = troubles::of(seat).map(|trouble| format!(": {}", trouble.message)).unwrap_or_default();
    failure(format!("has not served within {} s{trouble}", valid.progress_deadline.as_secs()), false)
}

/// The last words of a process, in one line. Kubernetes keeps up to 2 KiB of its log.
fn said(ended: &ContainerStateTerminated) -> String {
    let words: Vec<&str> = ended.message.as_deref().unwrap_or_default().split_whitespace().collect();
    let line = words.join(" ");
    let excess = line.chars().count().saturating_sub(SAID_MAX);
    let said: String = line.chars().skip(excess).collect();
    debug_assert!(said.chars().count() <= SAID_MAX, "a condition has a limited length");
    said
}

/// The end of the member's process, if it ended since the pod was created.
fn ended(pod: &Pod) -> Option<&ContainerStateTerminated> {
    let containers = pod.status.as_ref()?.container_statuses.as_deref().unwrap_or_default();
    let container = containers.iter().find(|container| container.name == names::CONTAINER)?;
    // If the pod is being deleted, for example by a drain, the kubelet ends the process.
    let present = container.state.as_ref().filter(|_| pod.metadata.deletion_timestamp.is_none());
    [present, container.last_state.as_ref()].into_iter().flatten().find_map(|state| state.terminated.as_ref())
}

/// The report about the members that failed; `None` if none did.
pub(super) fn note(failures: &[Failure]) -> Option<Note> {
    if failures.is_empty() {
        return None;
    }
    let members: Vec<String> = failures.iter().map(|failure| format!("{} {}", failure.name, failure.what)).collect();
    let message = format!(
        "{}; no further member restarts. Take the change back or correct it: the operator then restarts the member, whose volume is kept",
        members.join("; ")
    );
    Some(Note::new(Reason::RolloutFailed, message))
}

/// Returns whether a member's process said why it failed. A person must act then.
pub(super) fn is_final(failures: &[Failure]) -> bool {
    failures.iter().any(|failure| failure.said_why)
}
