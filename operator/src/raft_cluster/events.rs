//! Events for people: changed conditions, refused writes, and actions that were carried out, each published once. Owns
//! which events are published. A lost event does no harm, because the status reports the same information.

use crds::raft_cluster::RaftClusterStatus;
use crds::{ConditionType, Reason};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use plan::action::{Action, Description, Timing};
use plan::names::Ordinal;
use plan::observed::Observed;
use plan::observed::member::{Answer, MemberPhase};
use plan::pass::RefusedWrite;
use plan::status::is_obstacle;

use super::apply::Applied;
use crate::context::Context;

/// Maximum length of an event's `note` in bytes. The API server refuses an event with a longer one.
const NOTE_MAX: usize = 1024;

/// Publishes the events of a pass.
pub(super) async fn publish(observed: &Observed, status: &RaftClusterStatus, applied: &Applied, context: &Context) {
    let former = observed.cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let cluster = observed.cluster.object_ref(&());
    publish_changes(former, &status.conditions, &cluster, context).await;
    let phase = |ordinal| match observed.members.get(&ordinal)?.answer.as_ref()? {
        Answer::Report(report) => Some(report.phase),
        Answer::Silent { .. } => None,
    };
    let done = applied.done.iter().map(Action::describe).filter(|action| is_first(action.timing, phase));
    for event in done.filter_map(step) {
        write(&event, &cluster, context).await;
    }
    for (action, refused) in &applied.news {
        write(&refusal(action, refused), &cluster, context).await;
    }
}

/// Publishes the changed conditions of an object.
pub(crate) async fn publish_changes(
    former: &[Condition],
    now: &[Condition],
    about: &ObjectReference,
    context: &Context,
) {
    for event in changes(former, now) {
        write(&event, about, context).await;
    }
}

/// Publishes one event. A failure is only logged.
pub(super) async fn write(event: &Event, about: &ObjectReference, context: &Context) {
    if let Err(error) = context.recorder.publish(event, about).await {
        tracing::debug!(%error, reason = event.reason, "an event was not written");
    }
}

/// Builds the events for conditions whose status or reason changed.
fn changes(former: &[Condition], now: &[Condition]) -> Vec<Event> {
    now.iter()
        .filter(|condition| {
            let before = former.iter().find(|before| before.type_ == condition.type_);
            let is_news = before.map_or_else(
                // The first report of a condition is an event only if the condition reports a problem.
                || is_bad(condition) == Some(true),
                |before| before.status != condition.status || before.reason != condition.reason,
            );
            is_news && is_bad(condition).is_some() && !is_reported_elsewhere(condition, now)
        })
        .map(|condition| Event {
            type_: if is_bad(condition) == Some(true) { EventType::Warning } else { EventType::Normal },
            reason: condition.reason.clone(),
            note: Some(clipped(format!("{}={}: {}", condition.type_, condition.status, condition.message))),
            action: "Report".to_owned(),
            secondary: None,
        })
        .collect()
}

/// Returns whether the event of another condition, or of a refused write, reports the same with more details.
fn is_reported_elsewhere(condition: &Condition, now: &[Condition]) -> bool {
    if condition.reason == Reason::Refused.as_str() {
        return true;
    }
    let is_ready = |other: &Condition| ConditionType::from_word(&other.type_) == Some(ConditionType::Ready);
    let same = |other: &Condition| other.reason == condition.reason && is_bad(other) == Some(true);
    is_ready(condition) && now.iter().any(|other| !is_ready(other) && same(other))
}

/// Returns whether a condition reports a problem; `None` if its changes are not published as events.
fn is_bad(condition: &Condition) -> Option<bool> {
    let kind = ConditionType::from_word(&condition.type_)?;
    let holds = condition.status == "True";
    match kind {
        ConditionType::Degraded | ConditionType::Stalled => Some(holds),
        ConditionType::BackupReady => Some(condition.status == "False"),
        // Every new cluster is unready at first. A condition Ready that does not hold is therefore a problem only if a
        // person can remove the cause.
        ConditionType::Ready if holds => Some(false),
        ConditionType::Ready => Reason::from_word(&condition.reason).is_some_and(is_obstacle).then_some(true),
        ConditionType::Reconciling | ConditionType::Secured => None,
    }
}

/// Returns whether a carried-out action is published. A restore is ordered repeatedly until it succeeds, but is
/// published only while the member is blank.
fn is_first(timing: Timing, phase: impl Fn(Ordinal) -> Option<MemberPhase>) -> bool {
    match timing {
        Timing::AtOnce => true,
        Timing::Later { member } => phase(member) == Some(MemberPhase::Blank),
    }
}

/// The event for a carried-out action; `None` if the action is not worth an event.
fn step(action: Description) -> Option<Event> {
    Some(Event {
        type_: EventType::Normal,
        reason: action.name.to_owned(),
        note: Some(clipped(action.event?)),
        action: action.name.to_owned(),
        secondary: None,
    })
}

/// The event for a refused write.
fn refusal(action: &str, refused: &RefusedWrite) -> Event {
    Event {
        type_: EventType::Warning,
        reason: Reason::Refused.as_str().to_owned(),
        note: Some(clipped(format!("the API server refuses {}: {}", refused.write, refused.message))),
        action: action.to_owned(),
        secondary: None,
    }
}

/// Cuts an event's note to the length that the API server accepts.
fn clipped(mut note: String) -> String {
    let end = note.char_indices().map(|(at, letter)| at + letter.len_utf8()).take_while(|end| *end <= NOTE_MAX).last();
    note.truncate(end.unwrap_or(0));
    note
}

#[cfg(test)]
pub(super) mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use plan::action::MemberAction;
    use plan::identity::BackupPlace;
    use plan::ids::{ClusterId, MemberId, Token};
    use plan::observed::failure::FailureCause;
    use plan::observed::member::MemberInfo;

    use super::*;

    fn condition(kind: &str, status: &str, reason: &str) -> Condition {
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
            observed_generation: None,
        }
    }

    fn reported(former: &[Condition], now: &[Condition]) -> Vec<(EventType, String)> {
        changes(former, now).into_iter().map(|event| (event.type_, event.reason)).collect()
    }

    #[test]
    fn trouble_and_its_end_are_reported_once() {
        let well = [condition("Degraded", "False", "Healthy")];
        let ill = [condition("Degraded", "True", "MemberUnreachable")];
        assert_eq!(reported(&[], &well), []);
        assert_eq!(reported(&well, &ill), [(EventType::Warning, "MemberUnreachable".to_owned())]);
        assert_eq!(reported(&ill, &ill), []);
        assert_eq!(reported(&ill, &well), [(EventType::Normal, "Healthy".to_owned())]);
    }

    /// An action that restores a backup.
    pub(in crate::raft_cluster) fn restore() -> MemberAction {
        let url = String::new;
        let store = serde_json::from_value(serde_json::json!({
            "bucket": "backups", "credentialsSecretRef": { "name": "keys" },
        }));
        MemberAction::Restore {
            member: Ordinal(1),
            cluster: ClusterId(1),
            token: Token::of([7; 32]),
            id: MemberId(1),
            info: MemberInfo { name: "demo-1".to_owned(), peer_url: url(), client_url: url() },
            place: Box::new(BackupPlace {
                store: store.expect("a store"),
                source: ClusterId(2),
                manifest: "02/manifest".to_owned(),
            }),
        }
    }

    #[test]
    fn an_obstacle_to_the_start_is_reported() {
        let starts = [condition("Ready", "False", "Bootstrapping")];
        let hindered = [condition("Ready", "False", "Unschedulable")];
        assert_eq!(reported(&[], &starts), []);
        assert_eq!(reported(&starts, &hindered), [(EventType::Warning, "Unschedulable".to_owned())]);
        assert_eq!(reported(&hindered, &starts), [], "it goes on");
        assert_eq!(
            reported(&hindered, &[condition("Ready", "True", "Healthy")]),
            [(EventType::Normal, "Healthy".to_owned())]
        );
    }

    #[test]
    fn one_cause_is_reported_by_one_condition() {
        let well = [condition("Ready", "True", "Healthy"), condition("Degraded", "False", "Healthy")];
        let ill = [condition("Ready", "False", "QuorumLost"), condition("Degraded", "True", "QuorumLost")];
        assert_eq!(reported(&well, &ill), [(EventType::Warning, "QuorumLost".to_owned())]);
    }

    /// The conditions are those that the planner reports for a backup, during an upload and after a failure.
    #[test]
    fn a_failing_backup_is_reported_with_its_cause() {
        let backup: crds::RaftBackup = serde_json::from_value(serde_json::json!({
            "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftBackup",
            "metadata": { "name": "nightly", "generation": 1 }, "spec": { "clusterName": "demo" },
        }))
        .expect("a RaftBackup");
        let MemberAction::Restore { place, cluster, .. } = restore() else { unreachable!("it is one") };
        let (member, member_name) = (Ordinal(2), "demo-2".to_owned());
        let assignment =
            plan::backup::Assignment { member, member_name, cluster, name: "uid".to_owned(), store: place.store };
        let report = |progress: &plan::backup::AttemptState| {
            plan::backup::progressed(&backup, &assignment, progress, Timestamp::UNIX_EPOCH).conditions
        };
        let uploads = report(&plan::backup::AttemptState::Running { bytes_done: 1, bytes_total: 2 });
        let (cause, error) = (Some(FailureCause::BucketMissing), "no bucket".to_owned());
        let failed = report(&plan::backup::AttemptState::Failed { cause, error });
        assert_eq!(reported(&[], &uploads), []);
        assert_eq!(reported(&uploads, &failed), [(EventType::Warning, "BucketMissing".to_owned())]);
        let note = changes(&uploads, &failed)[0].note.clone().unwrap_or_default();
        assert!(note.contains("no bucket"), "{note}");
    }

    #[test]
    fn a_restore_is_reported_once_although_it_is_ordered_repeatedly() {
        assert!(is_first(restore().describe().timing, |_| Some(MemberPhase::Blank)));
        assert!(!is_first(restore().describe().timing, |_| Some(MemberPhase::Restoring)));
    }

    #[test]
    fn a_long_note_is_cut_between_letters() {
        let note = clipped("ä".repeat(NOTE_MAX));
        assert_eq!(note.len(), NOTE_MAX);
    }
}
