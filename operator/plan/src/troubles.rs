//! The problem that keeps a member from serving, as a reason and an explanation. The sources are the member's pod, its
//! claim, warnings about both, and the member's own report. Owns the choice of the reason. Does not own what follows
//! from the reason.

use crds::Reason;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use crate::decision::Note;
use crate::observed::Warning;
use crate::observed::member::MemberPhase;
use crate::roster::{Health, Loss, Seat, condition_of, describe, stays};

/// Seconds without progress after which a report about a repair mentions them.
const STALLED: u64 = 10;

/// Advice about a member that fits no node with new settings. Only a person knows whether its machine is lost.
const NOT_REPLACED: &str = "; it is not replaced before it has served with its new settings: if they fit no node, or if its machine is lost for good, take the change back";

/// The problem of a member; `None` if there is none.
#[must_use]
pub fn of(seat: &Seat<'_>) -> Option<Note> {
    match seat.health {
        Health::Removed => None,
        Health::Lost(loss) => Some(lost(seat, loss)),
        Health::TooNew => Some(too_old(seat)),
        Health::Serving { .. } if seat.is_pod_ready() => None,
        _ if seat.set.is_none() => Some(set_deleted(seat)),
        Health::Silent { .. } | Health::Unreachable { .. } if is_repairing(seat) => Some(repairing(seat)),
        _ => pod_trouble(seat).or_else(|| quiet(seat)),
    }
}

/// The problem of a member whose program is too old for its data.
fn too_old(seat: &Seat<'_>) -> Note {
    let said = seat.report.and_then(|report| report.error.as_deref()).unwrap_or_default();
    let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
    let message = format!(
        "its program is too old for the data on its volume{said}: set spec.image to a newer one; its volume is kept, and it is not replaced"
    );
    Note::new(Reason::MemberTooOld, message)
}

/// Returns whether the member repairs its disk, according to its report.
pub(crate) fn is_repairing(seat: &Seat<'_>) -> bool {
    seat.report.is_some_and(|report| report.phase == MemberPhase::Repairing)
}

/// The problem of a member that repairs its disk.
fn repairing(seat: &Seat<'_>) -> Note {
    let Some(repair) = seat.report.and_then(|report| report.repair.as_ref()) else {
        return Note::new(Reason::MemberRepairing, "it repairs its disk");
    };
    let of = if repair.bytes_total == 0 { String::new() } else { format!(" of {}", repair.bytes_total) };
    let what = if repair.what.is_empty() { String::new() } else { format!(" ({})", repair.what) };
    let stalled = match repair.stalled.as_secs() {
        0..STALLED => String::new(),
        seconds => format!(", and nothing has arrived for {seconds} s"),
    };
    let message = format!("it repairs its disk{what}: {}{of} bytes have arrived{stalled}", repair.bytes_done);
    Note::new(Reason::MemberRepairing, message)
}

fn lost(seat: &Seat<'_>, loss: Loss) -> Note {
    let reason = match loss {
        Loss::Damaged => Reason::MemberDamaged,
        Loss::Wiped | Loss::Vanished | Loss::Foreign | Loss::Tombstoned => Reason::MemberBlank,
    };
    let said = seat.report.and_then(|report| report.error.as_deref()).unwrap_or_default();
    let message = if said.is_empty() { describe(loss).to_owned() } else { format!("{}: {said}", describe(loss)) };
    Note::new(reason, message)
}

/// The problem of a member whose StatefulSet a person deleted.
fn set_deleted(seat: &Seat<'_>) -> Note {
    if seat.volume.is_some_and(stays) {
        return Note::new(Reason::MembersNotReady, "its StatefulSet was deleted, and is created again on its volume");
    }
    Note::new(Reason::MemberBlank, "its StatefulSet was deleted, and Kubernetes deletes its volume with it")
}

/// The problem of a member whose pod is healthy according to Kubernetes.
fn quiet(seat: &Seat<'_>) -> Option<Note> {
    match seat.health {
        Health::Unreachable { since } | Health::Silent { since } if seat.pod.is_some() => {
            Some(Note::new(Reason::MemberUnreachable, format!("has not answered since {since:.0}")))
        }
        Health::Serving { .. } | Health::Restoring | Health::Blank | Health::Alone | Health::Joined
            if !seat.is_pod_ready() =>
        {
            Some(Note::new(Reason::MembersNotReady, "its pod is not ready yet"))
        }
        // The pod's readiness does not show this problem, because a pod can be ready although no leader receives the
        // member's answers.
        Health::Alone => {
            let message = "it answers, but no leader receives its messages: check what separates it from the other members, such as a NetworkPolicy on port 2380";
            Some(Note::new(Reason::MemberCutOff, message))
        }
        Health::Serving { .. } | Health::Restoring | Health::Blank | Health::Joined => None,
        _ => Some(Note::new(Reason::MembersNotReady, "it has no pod yet")),
    }
}

/// The problem of the member's pod.
fn pod_trouble(seat: &Seat<'_>) -> Option<Note> {
    let Some(pod) = seat.pod else { return pod_missing(seat) };
    unscheduled(seat, pod).or_else(|| pod.status.as_ref()?.container_statuses.iter().flatten().find_map(waiting))
}

fn pod_missing(seat: &Seat<'_>) -> Option<Note> {
    let warning = warning_about(seat.warnings, "StatefulSet")?;
    Some(Note::new(Reason::PodRejected, warning.message.clone()))
}

fn unscheduled(seat: &Seat<'_>, pod: &Pod) -> Option<Note> {
    let scheduled = condition_of(pod, "PodScheduled")?;
    if scheduled.status == "True" {
        return None;
    }
    let message = scheduled.message.clone().unwrap_or_default();
    if is_volume_pending(seat) && (message.is_empty() || message.to_lowercase().contains("persistentvolumeclaim")) {
        let why =
            warning_about(seat.warnings, "PersistentVolumeClaim").map_or(message, |warning| warning.message.clone());
        // The claim may have been created after the claims were read.
        let templates = seat.set.and_then(|set| set.spec.as_ref()?.volume_claim_templates.as_deref());
        let claim = seat.volume.or_else(|| templates?.first());
        let class = claim.and_then(|claim| claim.spec.as_ref()?.storage_class_name.clone());
        let class = class.map_or_else(
            || "no StorageClass is set, and the cluster has no default one".to_owned(),
            |class| format!("StorageClass {class:?}"),
        );
        return Some(Note::new(Reason::VolumePending, format!("its volume is not bound ({class}): {why}")));
    }
    let advice = if seat.on_trial { NOT_REPLACED } else { "" };
    Some(Note::new(Reason::Unschedulable, format!("its pod fits no node: {message}{advice}")))
}

fn is_volume_pending(seat: &Seat<'_>) -> bool {
    let phase = seat.volume.and_then(|volume| volume.status.as_ref()?.phase.as_deref());
    phase.is_none_or(|phase| phase == "Pending")
}

fn waiting(container: &ContainerStatus) -> Option<Note> {
    let state = container.state.as_ref()?.waiting.as_ref()?;
    let word = state.reason.as_deref()?;
    let message = state.message.clone().unwrap_or_default();
    let reason = match word {
        "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable" => {
            return Some(Note::new(
                Reason::ImagePullFailed,
                format!("image {:?} cannot be pulled ({word}): {message}", container.image),
            ));
        }
        "CrashLoopBackOff" => Reason::MemberCrashing,
        "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => Reason::PodRejected,
        _ => return None,
    };
    let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref()).map(|ended| {
        let said = ended.message.as_deref().unwrap_or_default().trim();
        format!("; last exit code {} {said}", ended.exit_code)
    });
    Some(Note::new(reason, format!("{message}{}", ended.unwrap_or_default())))
}

fn warning_about<'w>(warnings: &'w [Warning], kind: &str) -> Option<&'w Warning> {
    warnings.iter().find(|warning| warning.kind == kind)
}
