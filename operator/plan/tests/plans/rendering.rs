//! Renders a plan in a few lines for review. Owns the wording. Omits what every case would repeat: labels,
//! annotations, Services, and settings of StatefulSets.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use plan::Plan;
use plan::action::{Action, MemberAction, Object, ObjectAction};
use plan::identity::FirstVoter;
use plan::ids::MemberId;

/// The actions and conditions of a plan, one per line.
pub(crate) fn plan(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.actions.iter().filter_map(action).collect();
    for condition in &plan.status.conditions {
        let worth_showing = match condition.type_.as_str() {
            "Ready" => true,
            "Stalled" | "Degraded" | "Reconciling" => condition.status == "True",
            "BackupReady" => true,
            _ => false,
        };
        if worth_showing {
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

fn first(voters: &[FirstVoter]) -> String {
    let voters: Vec<String> = voters.iter().map(|voter| format!("{}={:x}", voter.name, voter.id.0)).collect();
    if voters.is_empty() { "none".to_owned() } else { voters.join(" ") }
}

fn action(action: &Action) -> Option<String> {
    match action {
        Action::Write(write) => written(write),
        Action::Call(call) => Some(called(call)),
    }
}

fn written(write: &ObjectAction) -> Option<String> {
    Some(match write {
        ObjectAction::Apply(apply) => return applied(apply.object()),
        ObjectAction::ReplaceSet(replace) => return applied(replace.object()),
        ObjectAction::ReserveOrdinals { first, last, .. } => format!("reserve {first}-{last}"),
        ObjectAction::CreateSet { set, .. } => {
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
        ObjectAction::CreateIdentity(secret) => {
            let owned = secret.metadata.owner_references.is_some();
            format!("{}secret {}", if owned { "owned " } else { "" }, secret.metadata.name.as_deref()?)
        }
        ObjectAction::PointToIdentity { secret, voters, .. } => {
            let voters = voters.as_ref().map(|voters| format!(" with first voters {}", first(voters)));
            format!("point to {secret}{}", voters.unwrap_or_default())
        }
        ObjectAction::ChooseFirstVoters { voters, .. } => format!("first voters {}", first(voters)),
        ObjectAction::NoteFormed { .. }
        | ObjectAction::LabelVolume { .. }
        | ObjectAction::RelabelVolume { .. }
        | ObjectAction::LabelPod { .. }
        | ObjectAction::NoteRollout { .. }
        | ObjectAction::NoteServed { .. } => return None,
        ObjectAction::GrowVolume { volume, size } => format!("grow {} to {}", volume.name, size.0),
        ObjectAction::Announce { set, id } => format!("announce {}={:x}", set.name, id.0),
        ObjectAction::DeleteSet { set } => format!("delete {}", set.name),
        ObjectAction::EvictPod { pod } => format!("evict {}", pod.name),
        ObjectAction::DeletePod { pod } => format!("delete pod {}", pod.name),
    })
}

fn applied(object: &Object) -> Option<String> {
    if let Some(budget) = object.parse::<PodDisruptionBudget>() {
        return Some(match budget.spec?.min_available? {
            IntOrString::Int(least) => format!("budget {least}"),
            IntOrString::String(text) => format!("budget {text:?}"),
        });
    }
    let set = object.parse::<StatefulSet>()?;
    let policy = set.spec.as_ref()?.persistent_volume_claim_retention_policy.as_ref()?;
    let goes = policy.when_deleted.as_deref() == Some("Delete");
    goes.then(|| format!("volume of {} goes with it", object.name()))
}

fn called(call: &MemberAction) -> String {
    match call {
        MemberAction::Bootstrap { member, .. } => format!("bootstrap {member}"),
        MemberAction::Restore { member, place, .. } => format!("restore {member} from {}", place.manifest),
        MemberAction::Join { member, id, .. } => format!("join {member}={:x}", id.0),
        MemberAction::ChangeMembership { change, .. } => format!(
            "change from {}: voters {} learners {}",
            change.expected,
            ids(&change.voters),
            ids(&change.learners)
        ),
        MemberAction::TransferLeadership { target, .. } => format!("transfer to {:x}", target.0),
        MemberAction::RaiseFeatureLevel { to, .. } => format!("raise to level {to}"),
    }
}
