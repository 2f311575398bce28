//! A plan in a few lines, for people to review. Leaves out what every case would repeat: labels, notes, Services, and
//! settings that are merely brought up to date.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use plan::Plan;
use plan::action::{Action, Object};
use plan::ids::MemberId;

/// Actions and conditions, a line each.
pub(crate) fn plan(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.actions.iter().filter_map(action).collect();
    for condition in &plan.status.conditions {
        let worth_telling = match condition.type_.as_str() {
            "Ready" => true,
            "Stalled" | "Degraded" | "Reconciling" => condition.status == "True",
            "BackupReady" => true,
            _ => false,
        };
        if worth_telling {
            lines.push(format!("{}={} {}", condition.type_, condition.status, condition.reason));
        }
    }
    if let Some(plan) = &plan.status.plan {
        lines.push(format!("target voters {:?} learners {:?}", plan.target_voters, plan.target_learners));
        lines.extend(plan.blocked_by.iter().map(|blocker| format!("blocked {}: {}", blocker.reason, blocker.message)));
    }
    lines.join("\n")
}

fn ids(ids: &[MemberId]) -> String {
    ids.iter().map(|id| format!("{:x}", id.0)).collect::<Vec<_>>().join(" ")
}

fn action(action: &Action) -> Option<String> {
    Some(match action {
        Action::Apply(object) => match &**object {
            Object::Service(_) => return None,
            Object::Budget(budget) => match budget.spec.as_ref()?.min_available.as_ref()? {
                IntOrString::Int(least) => format!("budget {least}"),
                IntOrString::String(text) => format!("budget {text:?}"),
            },
            Object::Set(set) => {
                let policy = set.spec.as_ref()?.persistent_volume_claim_retention_policy.as_ref()?;
                if policy.when_deleted.as_deref() != Some("Delete") {
                    return None;
                }
                format!("volume of {} goes with it", set.metadata.name.as_deref()?)
            }
        },
        Action::ReserveOrdinals { first, last, .. } => format!("reserve {first}-{last}"),
        Action::CreateSet { set, .. } => {
            let notes: Vec<String> = set
                .metadata
                .annotations
                .iter()
                .flatten()
                .filter(|(key, _)| !key.ends_with("/applied"))
                .map(|(key, value)| format!(" {}={value}", key.rsplit('/').next().unwrap_or_default()))
                .collect();
            format!("create {}{}", set.metadata.name.as_deref()?, notes.concat())
        }
        Action::CreateRecord(secret) => {
            let record = plan::identity::Record::from_secret(secret).expect("a record");
            let voters: Vec<String> =
                record.voters.iter().map(|voter| format!("{}={:x}", voter.name, voter.id.0)).collect();
            format!("record {}", voters.join(" "))
        }
        Action::NoteFormed { .. } | Action::LabelVolume { .. } | Action::LabelPod { .. } => return None,
        Action::Announce { set, id } => format!("announce {}={:x}", set.name, id.0),
        Action::Bootstrap { member, .. } => format!("bootstrap {member}"),
        Action::Restore { member, place, .. } => format!("restore {member} from {}", place.manifest),
        Action::Join { member, id, .. } => format!("join {member}={:x}", id.0),
        Action::ChangeMembership { change, .. } => format!(
            "change from {}: voters {} learners {}",
            change.expected,
            ids(&change.voters),
            ids(&change.learners)
        ),
        Action::TransferLeadership { target, .. } => format!("transfer to {:x}", target.0),
        Action::DeleteSet { set } => format!("delete {}", set.name),
        Action::EvictPod { pod } => format!("evict {}", pod.name),
        Action::DeletePod { pod } => format!("delete pod {}", pod.name),
    })
}
