//! Owns the condition Reconciling: whether a change is in progress, or waits for something that can still happen.

use crds::{ConditionType, Reason};

use super::{Facts, Finding, Holds};
use crate::decision::Note;

pub(crate) fn find(facts: &Facts<'_>) -> Finding {
    let kind = ConditionType::Reconciling;
    let decision = facts.decision;
    if facts.observed.cluster.spec.paused {
        let message = "spec.paused is true: nothing is changed until it is false again";
        return Finding { kind, holds: Holds::No, note: Note::new(Reason::Paused, message) };
    }
    if let Some(activity) = decision.activity.as_ref().filter(|_| decision.stalled.is_none()) {
        let message = match &decision.blocked {
            Some(blocked) => format!("{}; waiting: {}", activity.message, blocked.message),
            None => activity.message.clone(),
        };
        return Finding { kind, holds: Holds::Yes, note: Note::new(activity.reason, message) };
    }
    Finding {
        kind,
        holds: Holds::No,
        note: Note::new(Reason::UpToDate, "the cluster matches its spec as far as it can"),
    }
}
