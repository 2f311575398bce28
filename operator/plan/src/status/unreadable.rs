//! Owns what is reported about a RaftCluster or RaftBackup that this version cannot read. Does not own the reading (the
//! shell's `readable.rs`).

use crds::{ConditionType, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

use super::{Finding, Holds, conditions};
use crate::decision::Note;

/// The conditions of an object that cannot be read. Conditions that say nothing about readability stay as they were
/// reported.
#[must_use]
pub fn unreadable(former: &[Condition], error: &str, now: Timestamp, generation: Option<i64>) -> Vec<Condition> {
    let message = format!(
        "this version of the operator cannot read the object and does nothing for it: {error}. Upgrade the operator, or correct the field"
    );
    let finding = |kind, holds| Finding { kind, holds, note: Note::new(Reason::Unreadable, message.clone()) };
    let findings = [
        finding(ConditionType::Ready, Holds::Unknown),
        finding(ConditionType::Reconciling, Holds::No),
        finding(ConditionType::Stalled, Holds::Yes),
    ];
    let mut now_reported = conditions(findings.into_iter(), former, now, generation);
    let replaced = |before: &&Condition| now_reported.iter().any(|condition| condition.type_ == before.type_);
    let kept: Vec<Condition> = former.iter().filter(|before| !replaced(before)).cloned().collect();
    now_reported.extend(kept);
    now_reported
}
