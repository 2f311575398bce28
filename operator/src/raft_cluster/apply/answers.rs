//! The API server's answers to writes. Owns what an answer means: a refusal by admission, which stored nothing, a
//! webhook that did not answer, or a failure. Does not own what follows from an answer (`apply.rs`).

use kube::core::Status;

use super::ActError;

/// Code of a refusal by a quota, a policy or a missing right.
const FORBIDDEN: u16 = 403;

/// Code of a precondition that does not hold.
const CONFLICT: u16 = 409;

/// Code of an object that is not valid.
const INVALID: u16 = 422;

/// Code of an answer that came too late.
const TIMED_OUT: u16 = 504;

/// Words of the API server about a webhook that did not answer.
const NO_WEBHOOK: &str = "failed calling webhook";

/// The status code of the API server's answer; `None` if it did not answer. An admission webhook may deny a write with
/// any code, and must not be mistaken for an object that was deleted or changed.
pub(super) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) if is_denied(status) => Some(FORBIDDEN),
        kube::Error::Api(status) if is_another_incarnation(status) => Some(CONFLICT),
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Returns whether admission refused the write, so that nothing was stored: a webhook or a policy denied it, a webhook did
/// not answer although the API server requires its consent, or its answer cannot be used.
fn is_denied(status: &Status) -> bool {
    let text = status.message.to_lowercase();
    let by_webhook = text.contains("admission webhook") && text.contains("denied the request");
    let by_policy = text.contains("validatingadmissionpolicy") && text.contains("denied request");
    let is_broken = status.code == 500 && (text.contains("admission") || text.contains("jsonpatch"));
    by_webhook || by_policy || is_broken || text.contains(NO_WEBHOOK)
}

/// Returns whether a patch or an apply named another UID than the object has. The API server does not answer it as a
/// precondition that does not hold, but as a change of the UID, which is not valid.
fn is_another_incarnation(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == INVALID && causes.into_iter().any(|cause| cause.field == "metadata.uid")
}

/// The API server's explanation, if a write waited for a webhook that did not answer. Each further write of the same kind
/// would wait as long.
pub(super) fn without_webhook(error: &ActError) -> Option<String> {
    match error {
        ActError::Refused(message) => message.contains(NO_WEBHOOK).then(|| message.clone()),
        ActError::Api(error) => (code(error) == Some(TIMED_OUT)).then(|| error.to_string()),
        ActError::Call(_) | ActError::NoPod | ActError::MovedOn | ActError::NotYet => None,
    }
}

impl From<kube::Error> for ActError {
    fn from(error: kube::Error) -> Self {
        match (code(&error), error) {
            // Malformed, forbidden, too large or invalid.
            (Some(400 | FORBIDDEN | 413 | INVALID), kube::Error::Api(status)) => Self::Refused(status.message.clone()),
            (_, error) => Self::Api(error),
        }
    }
}

/// Returns whether the API server did not answer.
pub(super) fn is_without_answer(error: &ActError) -> bool {
    matches!(error, ActError::Api(error) if code(error).is_none())
}
