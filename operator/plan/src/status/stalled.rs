//! Owns the condition Stalled: whether nothing more happens until a person acts. Helm, Argo CD and `kubectl wait` give
//! up when this condition is true. It is therefore never set for a cause that may disappear without a person.

use crds::{ConditionType, Reason};

use super::{Facts, Finding, Holds};
use crate::decision::Note;

pub(crate) fn find(facts: &Facts<'_>) -> Finding {
    let kind = ConditionType::Stalled;
    match &facts.decision.stalled {
        Some(note) => Finding { kind, holds: Holds::Yes, note: note.clone() },
        None => Finding { kind, holds: Holds::No, note: Note::new(Reason::NotStalled, "no obstacle needs a person") },
    }
}
