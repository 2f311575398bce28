//! Owns the condition Secured: whether all traffic is protected. In this version it is not.

use crds::{ConditionType, Reason};

use super::{Facts, Finding, Holds};
use crate::decision::Note;

pub(crate) fn find(_: &Facts<'_>) -> Finding {
    let message = "this version has no TLS: restrict access to ports 2379 and 2380 with a NetworkPolicy";
    Finding { kind: ConditionType::Secured, holds: Holds::No, note: Note::new(Reason::Plaintext, message) }
}
