//! Owns the condition BackupReady: whether members can write and read the object store. The condition is absent without
//! `spec.backup`.

use crds::{ConditionType, Reason};

use super::{Facts, Finding, Holds};
use crate::decision::Note;

pub(crate) fn find(facts: &Facts<'_>) -> Option<Finding> {
    let backup = facts.observed.cluster.spec.backup.as_ref()?;
    let kind = ConditionType::BackupReady;
    let bucket = &backup.object_store.bucket;
    Some(match &facts.observed.probe {
        None => Finding {
            kind,
            holds: Holds::Unknown,
            note: Note::new(Reason::StoreUnknown, "no member has accessed the bucket yet"),
        },
        Some(probe) => match probe.cause {
            None => Finding {
                kind,
                holds: Holds::Yes,
                note: Note::new(Reason::StoreReachable, format!("members write and read bucket {bucket}")),
            },
            Some(cause) => {
                let reason = cause.condition_reason().unwrap_or(Reason::StoreUnknown);
                Finding { kind, holds: Holds::No, note: Note::new(reason, format!("bucket {bucket}: {}", probe.error)) }
            }
        },
    })
}
