//! What a person should be told, once: conditions that changed, and steps that were taken. Owns the choice; a lost event
//! loses nothing that status does not tell.

use crds::raft_cluster::RaftClusterStatus;
use crds::{ConditionType, Reason};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::runtime::events::{Event, EventType};
use plan::action::Action;
use plan::names::Ordinal;
use plan::observed::Observed;
use plan::observed::member::{Answer, Phase};
use plan::status::is_obstacle;

use super::apply::{self, Applied};
use crate::context::Context;

/// Longest note that the API takes, in bytes.
const NOTE_MAX: usize = 1024;

/// Publishes what is new in this pass.
pub(super) async fn publish(observed: &Observed, status: &RaftClusterStatus, applied: &Applied, context: &Context) {
    let former = observed.cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let cluster = observed.cluster.object_ref(&());
    publish_changes(former, &status.conditions, &cluster, context).await;
    let phase = |ordinal| match observed.members.get(&ordinal)?.answer.as_ref()? {
        Answer::Said(report) => Some(report.phase),
        Answer::Silent { .. } => None,
    };
    for event in applied.done.iter().filter(|action| is_first(action, phase)).filter_map(step) {
        write(&event, &cluster, context).await;
    }
}

/// Publishes which conditions of an object changed.
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

async fn write(event: &Event, about: &ObjectReference, context: &Context) {
    if let Err(error) = context.recorder.publish(event, about).await {
        tracing::debug!(%error, reason = event.reason, "an event was not written");
    }
}

/// Conditions whose answer or reason changed.
fn changes(former: &[Condition], now: &[Condition]) -> Vec<Event> {
    now.iter()
        .filter(|condition| {
            let before = former.iter().find(|before| before.type_ == condition.type_);
            let is_news = before.map_or_else(
                // The first report is no news where all is as it should be.
                || is_bad(condition) == Some(true),
                |before| before.status != condition.status || before.reason != condition.reason,
            );
            is_news && is_bad(condition).is_some() && !is_told_by_another(condition, now)
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

/// Ready gives the reason of a condition that says more.
fn is_told_by_another(condition: &Condition, now: &[Condition]) -> bool {
    let is_ready = |other: &Condition| ConditionType::from_word(&other.type_) == Some(ConditionType::Ready);
    let same = |other: &Condition| other.reason == condition.reason && is_bad(other) == Some(true);
    is_ready(condition) && now.iter().any(|other| !is_ready(other) && same(other))
}

/// Whether a condition tells of something bad; `None` for what is told by other means.
fn is_bad(condition: &Condition) -> Option<bool> {
    let kind = ConditionType::from_word(&condition.type_)?;
    let holds = condition.status == "True";
    match kind {
        ConditionType::Degraded | ConditionType::Stalled => Some(holds),
        ConditionType::BackupReady => Some(condition.status == "False"),
        // Not being ready yet is how everything starts; what keeps it from becoming so is another matter.
        ConditionType::Ready if holds => Some(false),
        ConditionType::Ready => Reason::from_word(&condition.reason).is_some_and(is_obstacle).then_some(true),
        ConditionType::Reconciling | ConditionType::Secured => None,
    }
}

/// Whether an action is more than one more try: a restore is ordered again and again until it succeeds, and told once.
fn is_first(action: &Action, phase: impl Fn(Ordinal) -> Option<Phase>) -> bool {
    match action {
        Action::Restore { member, .. } => phase(*member) == Some(Phase::Blank),
        _ => true,
    }
}

/// Steps that change who is in the cluster.
fn step(action: &Action) -> Option<Event> {
    let note = match action {
        Action::CreateRecord(_) => "the cluster has its identity, once and for all".to_owned(),
        Action::ChangeMembership { change, .. } => {
            format!("membership changes to {} voters and {} learners", change.voters.len(), change.learners.len())
        }
        Action::TransferLeadership { target, .. } => format!("leadership is handed over to {target}"),
        Action::DeleteSet { set } => format!("{} is removed", set.name),
        Action::EvictPod { pod } => format!("{} restarts with new settings", pod.name),
        Action::Restore { info, place, .. } => format!("{} restores {}", info.name, place.manifest),
        _ => return None,
    };
    Some(Event {
        type_: EventType::Normal,
        reason: apply::name(action).to_owned(),
        note: Some(clipped(note)),
        action: apply::name(action).to_owned(),
        secondary: None,
    })
}

fn clipped(mut note: String) -> String {
    let end = note.char_indices().map(|(at, letter)| at + letter.len_utf8()).take_while(|end| *end <= NOTE_MAX).last();
    note.truncate(end.unwrap_or(0));
    note
}

#[cfg(test)]
pub(super) mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;
    use plan::identity::BackupPlace;
    use plan::ids::{ClusterId, MemberId, Token};
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

    fn told(former: &[Condition], now: &[Condition]) -> Vec<(EventType, String)> {
        changes(former, now).into_iter().map(|event| (event.type_, event.reason)).collect()
    }

    #[test]
    fn trouble_and_its_end_are_told_once() {
        let well = [condition("Degraded", "False", "Healthy")];
        let ill = [condition("Degraded", "True", "MemberUnreachable")];
        assert_eq!(told(&[], &well), []);
        assert_eq!(told(&well, &ill), [(EventType::Warning, "MemberUnreachable".to_owned())]);
        assert_eq!(told(&ill, &ill), []);
        assert_eq!(told(&ill, &well), [(EventType::Normal, "Healthy".to_owned())]);
    }

    /// An order to restore from a backup.
    pub(in crate::raft_cluster) fn restore() -> Action {
        let url = String::new;
        let store = serde_json::from_value(serde_json::json!({
            "bucket": "backups", "credentialsSecretRef": { "name": "keys" },
        }));
        Action::Restore {
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
    fn what_keeps_a_cluster_from_its_start_is_told() {
        let starts = [condition("Ready", "False", "Bootstrapping")];
        let hindered = [condition("Ready", "False", "Unschedulable")];
        assert_eq!(told(&[], &starts), []);
        assert_eq!(told(&starts, &hindered), [(EventType::Warning, "Unschedulable".to_owned())]);
        assert_eq!(told(&hindered, &starts), [], "it goes on");
        assert_eq!(
            told(&hindered, &[condition("Ready", "True", "Healthy")]),
            [(EventType::Normal, "Healthy".to_owned())]
        );
    }

    #[test]
    fn one_cause_is_told_by_one_condition() {
        let well = [condition("Ready", "True", "Healthy"), condition("Degraded", "False", "Healthy")];
        let ill = [condition("Ready", "False", "QuorumLost"), condition("Degraded", "True", "QuorumLost")];
        assert_eq!(told(&well, &ill), [(EventType::Warning, "QuorumLost".to_owned())]);
    }

    /// As the planner reports a backup, from its first attempt to its last.
    #[test]
    fn a_failing_backup_is_told_with_its_cause() {
        let backup: crds::RaftBackup = serde_json::from_value(serde_json::json!({
            "apiVersion": "raftoperator.io/v1alpha1", "kind": "RaftBackup",
            "metadata": { "name": "nightly", "generation": 1 }, "spec": { "clusterName": "demo" },
        }))
        .expect("a RaftBackup");
        let Action::Restore { place, cluster, .. } = restore() else { unreachable!("it is one") };
        let (member, member_name) = (Ordinal(2), "demo-2".to_owned());
        let ask = plan::backup::Ask { member, member_name, cluster, name: "uid".to_owned(), store: place.store };
        let report = |progress: &plan::backup::Progress| {
            plan::backup::progressed(&backup, &ask, progress, Timestamp::UNIX_EPOCH).conditions
        };
        let uploads = report(&plan::backup::Progress::Running { bytes_done: 1, bytes_total: 2 });
        let (cause, error) = ("BucketMissing".to_owned(), "no bucket".to_owned());
        let failed = report(&plan::backup::Progress::Failed { cause, error });
        assert_eq!(told(&[], &uploads), []);
        assert_eq!(told(&uploads, &failed), [(EventType::Warning, "BucketMissing".to_owned())]);
        let note = changes(&uploads, &failed)[0].note.clone().unwrap_or_default();
        assert!(note.contains("no bucket"), "{note}");
    }

    #[test]
    fn a_restore_is_told_once_however_often_it_is_ordered() {
        assert!(is_first(&restore(), |_| Some(Phase::Blank)));
        assert!(!is_first(&restore(), |_| Some(Phase::Restoring)));
    }

    #[test]
    fn a_note_ends_at_a_letter() {
        let note = clipped("ä".repeat(NOTE_MAX));
        assert_eq!(note.len(), NOTE_MAX);
    }
}
