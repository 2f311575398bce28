//! Owns what the status reports about writes that the API server refused. They are known only after the plan was
//! carried out, so they are added to a finished status.

use crds::raft_cluster::{Blocker, RaftClusterStatus};
use crds::{ConditionType, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use super::is_obstacle;
use crate::decision::shortened;
use crate::pass::RefusedWrite;

/// Adds the refused writes of a pass to the status: to the condition Reconciling, because everything else goes on; to
/// the condition Ready, unless it names a cause already, or the cluster lacks nothing without these writes; and to the
/// membership change that they stop.
#[must_use]
pub fn with_refusals(mut status: RaftClusterStatus, refused: &[RefusedWrite], now: Timestamp) -> RaftClusterStatus {
    let Some(first) = refused.first() else { return status };
    let text = explained(first, refused.len() - 1);
    if let Some(condition) = condition(&mut status, ConditionType::Reconciling) {
        let former = (condition.status == "True").then(|| condition.message.clone());
        set(condition, "True", &joined(former, &text), now);
    }
    let needed: Vec<&RefusedWrite> = refused.iter().filter(|refused| refused.is_needed).collect();
    if let Some(first) = needed.first()
        && let Some(condition) = condition(&mut status, ConditionType::Ready)
        && !names_a_cause(condition)
    {
        let text = explained(first, needed.len() - 1);
        let former = (condition.status == "False").then(|| condition.message.clone());
        set(condition, "False", &joined(former, &text), now);
    }
    let stops = refused.iter().find(|refused| refused.stops_membership);
    if let (Some(plan), Some(stops)) = (&mut status.plan, stops)
        && plan.blocked_by.as_ref().is_none_or(|blocker| !is_cause(&blocker.reason))
    {
        let (reason, message) = (Reason::Refused.as_str().to_owned(), shortened(&explained(stops, 0)));
        plan.blocked_by = Some(Blocker { reason, message });
    }
    status
}

fn explained(refused: &RefusedWrite, others: usize) -> String {
    let others = match others {
        0 => String::new(),
        1 => " and 1 other write".to_owned(),
        others => format!(" and {others} other writes"),
    };
    format!("the API server refuses {}{others}: {}", refused.write, refused.message)
}

fn joined(former: Option<String>, text: &str) -> String {
    let former = former.filter(|former| !former.is_empty()).map(|former| format!("{former}; ")).unwrap_or_default();
    format!("{former}{text}")
}

fn condition(status: &mut RaftClusterStatus, kind: ConditionType) -> Option<&mut Condition> {
    status.conditions.iter_mut().find(|condition| condition.type_ == kind.as_str())
}

fn set(condition: &mut Condition, status: &str, message: &str, now: Timestamp) {
    if condition.status != status {
        condition.status = status.to_owned();
        condition.last_transition_time = Time(now);
    }
    condition.reason = Reason::Refused.as_str().to_owned();
    condition.message = shortened(message);
}

/// Returns whether a condition that does not hold names a cause that explains more than a refused write: one that a
/// person can remove, or an election.
fn names_a_cause(ready: &Condition) -> bool {
    ready.status == "False" && is_cause(&ready.reason)
}

fn is_cause(reason: &str) -> bool {
    Reason::from_word(reason).is_some_and(|reason| is_obstacle(reason) || reason == Reason::NoLeader)
}
