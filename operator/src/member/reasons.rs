//! Converts reasons of refusals and causes of failures from the wire into the planner's types. Uses the number if the
//! member sent one, otherwise the name, because older members send only names. Does not own what a
//! reason means (`plan::observed::refusal`).
//!
//! `operator/docs/decisions/refusals.md` explains the rule, and the failure that it prevents.

use plan::observed::failure::FailureCause;
use plan::observed::refusal::RefusalReason;
use prost::Message;
use proto::admin as wire;
use tonic::metadata::MetadataMap;

/// Name of the trailer that contains the reason as a [`wire::Refusal`].
const REFUSAL_KEY: &str = "raft-refusal-bin";
/// Name of the trailer that contains the reason's name.
const NAME_KEY: &str = "raft-refusal";

/// The reason in the trailers of a failed call. `None` if they contain no reason; the outcome of the call is then
/// unknown.
pub(super) fn refusal(trailers: &MetadataMap) -> Option<RefusalReason> {
    let bytes = trailers.get_bin(REFUSAL_KEY).and_then(|value| value.to_bytes().ok());
    let number = bytes.and_then(|bytes| wire::Refusal::decode(bytes).ok()).map_or(0, |refusal| refusal.reason);
    if number != 0 {
        return Some(reason(number));
    }
    let name = trailers.get(NAME_KEY)?.to_str().unwrap_or_default();
    Some(RefusalReason::from_name(name))
}

fn reason(number: i32) -> RefusalReason {
    use wire::RefusalReason as Wire;
    match Wire::try_from(number) {
        Ok(Wire::NotLeader) => RefusalReason::NotLeader,
        Ok(Wire::Stale) => RefusalReason::Stale,
        Ok(Wire::InFlight) => RefusalReason::InFlight,
        Ok(Wire::TermNotCommitted) => RefusalReason::TermNotCommitted,
        Ok(Wire::Transferring) => RefusalReason::Transferring,
        Ok(Wire::NoVoters) => RefusalReason::NoVoters,
        Ok(Wire::TooManyVoters) => RefusalReason::TooManyVoters,
        Ok(Wire::Overlap) => RefusalReason::Overlap,
        Ok(Wire::UnknownMember) => RefusalReason::UnknownMember,
        Ok(Wire::WasRemoved) => RefusalReason::WasRemoved,
        Ok(Wire::NotLearner) => RefusalReason::NotLearner,
        Ok(Wire::LearnerBehind) => RefusalReason::LearnerBehind,
        Ok(Wire::QuorumAtRisk) => RefusalReason::QuorumAtRisk,
        Ok(Wire::NotServing) => RefusalReason::NotServing,
        Ok(Wire::TooOld) => RefusalReason::TooOld,
        Ok(Wire::LevelHeld) => RefusalReason::LevelHeld,
        Ok(Wire::Unspecified) | Err(_) => RefusalReason::Unrecognized { number },
    }
}

/// The cause of a failed backup, restore or probe; `None` if the member reports no cause.
pub(crate) fn cause(number: i32, name: &str) -> Option<FailureCause> {
    use wire::FailureCause as Wire;
    Some(match Wire::try_from(number) {
        Ok(Wire::Unspecified) if name.is_empty() => return None,
        Ok(Wire::Unspecified) => FailureCause::from_name(name),
        Ok(Wire::StoreUnreachable) => FailureCause::StoreUnreachable,
        Ok(Wire::StoreRefused) => FailureCause::StoreRefused,
        Ok(Wire::CredentialsRefused) => FailureCause::CredentialsRefused,
        Ok(Wire::CredentialsMissing) => FailureCause::CredentialsMissing,
        Ok(Wire::BucketMissing) => FailureCause::BucketMissing,
        Ok(Wire::BackupNotFound) => FailureCause::BackupNotFound,
        Ok(Wire::BackupCorrupt) => FailureCause::BackupCorrupt,
        Ok(Wire::BackupForeign) => FailureCause::BackupForeign,
        Ok(Wire::Invalid) => FailureCause::Invalid,
        Ok(Wire::MemberFailed) => FailureCause::MemberFailed,
        Ok(Wire::RestoreFailed) => FailureCause::RestoreFailed,
        Err(_) => FailureCause::Unrecognized { number },
    })
}

#[cfg(test)]
mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    fn trailers(number: Option<i32>, name: Option<&'static str>) -> MetadataMap {
        let mut trailers = MetadataMap::new();
        if let Some(reason) = number {
            let bytes = wire::Refusal { reason }.encode_to_vec();
            trailers.insert_bin(REFUSAL_KEY, MetadataValue::from_bytes(&bytes));
        }
        if let Some(name) = name {
            trailers.insert(NAME_KEY, MetadataValue::from_static(name));
        }
        trailers
    }

    #[test]
    fn an_old_member_sends_the_name_only() {
        let learner_behind = trailers(None, Some("LearnerBehind"));
        assert_eq!(refusal(&learner_behind), Some(RefusalReason::LearnerBehind));
        assert_eq!(refusal(&trailers(None, Some("Unknown"))), Some(RefusalReason::UnknownMember));
        assert_eq!(refusal(&trailers(None, None)), None, "an outcome without a reason is unknown");
    }

    /// The reason's number decides, because a later version may change the reason's name.
    #[test]
    fn a_member_of_today_sends_both_and_the_number_decides() {
        for number in 1..=16 {
            let reason = refusal(&trailers(Some(number), Some("Renamed"))).expect("a reason");
            assert!(RefusalReason::KNOWN.contains(&reason), "{number} is {reason:?}");
        }
        assert_eq!(refusal(&trailers(Some(2), Some("Renamed"))), Some(RefusalReason::Stale));
    }

    /// A number that only a newer version knows must not be mistaken for a known reason, whatever name is sent with
    /// it.
    #[test]
    fn a_number_of_a_newer_member_is_kept_as_unknown() {
        let newer = trailers(Some(99), Some("Stale"));
        assert_eq!(refusal(&newer), Some(RefusalReason::Unrecognized { number: 99 }));
        assert_eq!(cause(99, "BucketMissing"), Some(FailureCause::Unrecognized { number: 99 }));
    }

    #[test]
    fn causes_are_read_by_number_and_else_by_name() {
        assert_eq!(cause(0, ""), None);
        assert_eq!(cause(0, "BucketMissing"), Some(FailureCause::BucketMissing));
        assert_eq!(cause(7, ""), Some(FailureCause::BackupCorrupt));
        assert_eq!(cause(0, "TooWarm"), Some(FailureCause::Unrecognized { number: 0 }));
        for number in 1..=11 {
            assert!(FailureCause::KNOWN.contains(&cause(number, "").expect("a cause")), "{number}");
        }
    }

    /// A member sends the reason of a refusal in two trailers: as a number and as a name. If the trailer with the
    /// number is damaged in transit, the operator uses the name.
    #[test]
    fn an_unreadable_trailer_falls_back_to_the_name() {
        let mut damaged = trailers(None, Some("Stale"));
        damaged.insert_bin(REFUSAL_KEY, MetadataValue::from_bytes(&[0xff; 3]));
        assert_eq!(refusal(&damaged), Some(RefusalReason::Stale));
    }
}
