//! Owns the condition Degraded: whether the cluster serves with fewer members than it should have, or a member that
//! serves needs attention. The condition is also true in an outage. It is false before the cluster exists.

use crds::{ConditionType, Reason};

use super::{Facts, Finding, Holds, trouble};
use crate::decision::Note;
use crate::warnings;

pub(crate) fn find(facts: &Facts<'_>) -> Finding {
    let kind = ConditionType::Degraded;
    // The cause is reported before the outage that it may have led to.
    if let Some(failed) = &facts.decision.rollout_failed {
        let outage = facts.decision.outage.as_ref().map(|outage| format!(" ({})", outage.message));
        let note = Note::new(failed.reason, format!("{}{}", failed.message, outage.unwrap_or_default()));
        return Finding { kind, holds: Holds::Yes, note };
    }
    if let Some(outage) = &facts.decision.outage {
        return Finding { kind, holds: Holds::Yes, note: outage.clone() };
    }
    if facts.is_stopped() {
        let note = Note::new(Reason::Stopped, "spec.stopped is true");
        return Finding { kind, holds: Holds::No, note };
    }
    let Some(configuration) = facts.observed.configuration.as_ref().map(|read| &read.configuration) else {
        let note = Note::new(Reason::Bootstrapping, "there is no cluster yet");
        return Finding { kind, holds: Holds::No, note };
    };
    // A learner's problem counts only while no change is in progress. During a change, a learner may not serve yet
    // because it was added a moment ago, and the cluster has lost no member.
    let settled = facts.decision.activity.is_none();
    let low = facts.roster.and_then(|roster| warnings::low_on_space(roster, configuration));
    // It is the cause of repairs.
    let disagreement = facts.roster.and_then(|roster| warnings::disagreement(roster, configuration));
    let troubles = facts
        .roster
        .iter()
        .flat_map(|roster| roster.seats.values())
        .filter(|seat| seat.id.is_some_and(|id| configuration.is_voter(id) || (settled && configuration.contains(id))))
        .filter_map(|seat| {
            let trouble = trouble(facts, seat)?;
            Some(Note::new(trouble.reason, format!("{}: {}", seat.name, trouble.message)))
        });
    let troubles: Vec<Note> = disagreement.into_iter().chain(troubles).chain(low).collect();
    match troubles.first() {
        Some(first) => {
            let texts: Vec<&str> = troubles.iter().map(|note| note.message.as_str()).collect();
            Finding { kind, holds: Holds::Yes, note: Note::new(first.reason, texts.join("; ")) }
        }
        None => Finding { kind, holds: Holds::No, note: Note::new(Reason::Healthy, "every configured member serves") },
    }
}
