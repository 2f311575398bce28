//! Owns the errors that the operator receives: the gRPC code of every error, the reason of every refusal as a number
//! and as a name, and the number of every cause of a failed backup or restore. Does not own the texts (`engine`,
//! `raft`), nor the meaning of the numbers (`admin.proto`).

use prost::Message;
use proto::admin as wire;
use raft::{ChangeRefusal as Refused, ProposeRefusal};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use engine::error::{AdoptError, ChangeError, ConfigurationError, RaiseError, ReadError, TransferError};
use wire::RefusalReason as Reason;

/// Trailer with the name of the reason. Operators of the first version read it.
const NAME_KEY: &str = "raft-refusal";
/// Trailer with the reason as a [`wire::Refusal`].
const REFUSAL_KEY: &str = "raft-refusal-bin";

/// Status with both trailers.
fn refused(code: Code, error: &impl std::fmt::Display, reason: Reason) -> Status {
    let mut status = Status::new(code, error.to_string());
    let refusal = wire::Refusal { reason: reason as i32 }.encode_to_vec();
    status.metadata_mut().insert_bin(REFUSAL_KEY, MetadataValue::from_bytes(&refusal));
    status.metadata_mut().insert(NAME_KEY, MetadataValue::from_static(name(reason)));
    status
}

/// Reason of a refused change. The match has no wildcard, so that a new refusal in the core does not compile until it
/// has a number here.
fn reason(refused: &Refused) -> Reason {
    match refused {
        Refused::NotLeader { .. } => Reason::NotLeader,
        Refused::Stale { .. } => Reason::Stale,
        Refused::InFlight { .. } => Reason::InFlight,
        Refused::TermNotCommitted => Reason::TermNotCommitted,
        Refused::Transferring { .. } => Reason::Transferring,
        Refused::NoVoters => Reason::NoVoters,
        Refused::TooManyVoters { .. } => Reason::TooManyVoters,
        Refused::Overlap { .. } => Reason::Overlap,
        Refused::Unknown { .. } => Reason::UnknownMember,
        Refused::WasRemoved { .. } => Reason::WasRemoved,
        Refused::NotLearner { .. } => Reason::NotLearner,
        Refused::LearnerBehind { .. } => Reason::LearnerBehind,
        Refused::QuorumAtRisk { .. } => Reason::QuorumAtRisk,
        // The operator retries with backoff, and its condition shows the message.
        Refused::NoSpace => Reason::Unspecified,
    }
}

/// Name that is sent in addition to the number. Operators of the first version compare the name, so it never changes.
fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Unspecified => "Other",
        Reason::NotLeader => "NotLeader",
        Reason::Stale => "Stale",
        Reason::InFlight => "InFlight",
        Reason::TermNotCommitted => "TermNotCommitted",
        Reason::Transferring => "Transferring",
        Reason::NoVoters => "NoVoters",
        Reason::TooManyVoters => "TooManyVoters",
        Reason::Overlap => "Overlap",
        Reason::UnknownMember => "Unknown",
        Reason::WasRemoved => "WasRemoved",
        Reason::NotLearner => "NotLearner",
        Reason::LearnerBehind => "LearnerBehind",
        Reason::QuorumAtRisk => "QuorumAtRisk",
        Reason::NotServing => "NotServing",
        Reason::TooOld => "TooOld",
        Reason::LevelHeld => "LevelHeld",
    }
}

/// Number of a cause that the archive reports; `Unspecified` if the cause has no number.
pub(super) fn cause_code(name: &str) -> wire::FailureCause {
    use wire::FailureCause as Cause;
    match name {
        "StoreUnreachable" => Cause::StoreUnreachable,
        "StoreRefused" => Cause::StoreRefused,
        "CredentialsRefused" => Cause::CredentialsRefused,
        "CredentialsMissing" => Cause::CredentialsMissing,
        "BucketMissing" => Cause::BucketMissing,
        "BackupNotFound" => Cause::BackupNotFound,
        "BackupCorrupt" => Cause::BackupCorrupt,
        "BackupForeign" => Cause::BackupForeign,
        "Invalid" => Cause::Invalid,
        "MemberFailed" => Cause::MemberFailed,
        "RestoreFailed" => Cause::RestoreFailed,
        _ => Cause::Unspecified,
    }
}

pub(super) fn change(error: &ChangeError) -> Status {
    match error {
        ChangeError::Refused(refusal) => refused(Code::FailedPrecondition, error, reason(refusal)),
        ChangeError::NotServing { .. } => refused(Code::FailedPrecondition, error, Reason::NotServing),
        ChangeError::TooOld { .. } => refused(Code::FailedPrecondition, error, Reason::TooOld),
        ChangeError::Unknown { .. } => Status::deadline_exceeded(error.to_string()),
        ChangeError::Overloaded => Status::resource_exhausted(error.to_string()),
        ChangeError::Stopping => Status::unavailable(error.to_string()),
    }
}

pub(super) fn raise(error: &RaiseError) -> Status {
    let reason = match error {
        RaiseError::NotLeader { .. } => Reason::NotLeader,
        RaiseError::TermNotCommitted => Reason::TermNotCommitted,
        RaiseError::InFlight => Reason::InFlight,
        RaiseError::TooOld { .. } => Reason::TooOld,
        RaiseError::LevelHeld { .. } => Reason::LevelHeld,
        RaiseError::Refused(ProposeRefusal::Transferring) => Reason::Transferring,
        RaiseError::NotServing { .. } => Reason::NotServing,
        RaiseError::Refused(_) | RaiseError::Stopping => return Status::unavailable(error.to_string()),
        RaiseError::Unknown => return Status::deadline_exceeded(error.to_string()),
        RaiseError::Overloaded => return Status::resource_exhausted(error.to_string()),
    };
    refused(Code::FailedPrecondition, error, reason)
}

pub(super) fn transfer(error: &TransferError) -> Status {
    match error {
        TransferError::Refused(raft::TransferRefusal::NotLeader) => {
            refused(Code::FailedPrecondition, error, Reason::NotLeader)
        }
        TransferError::Refused(_) | TransferError::NotServing { .. } => Status::failed_precondition(error.to_string()),
        TransferError::TimedOut => Status::deadline_exceeded(error.to_string()),
        TransferError::Overloaded => Status::resource_exhausted(error.to_string()),
        TransferError::Stopping => Status::unavailable(error.to_string()),
    }
}

pub(super) fn configuration(error: &ConfigurationError) -> Status {
    match error {
        ConfigurationError::NotLeader { .. } => refused(Code::FailedPrecondition, error, Reason::NotLeader),
        ConfigurationError::Read(ReadError::Overloaded) => Status::resource_exhausted(error.to_string()),
        ConfigurationError::Read(ReadError::NotServing { .. }) => {
            refused(Code::FailedPrecondition, error, Reason::NotServing)
        }
        ConfigurationError::Read(_) => Status::unavailable(error.to_string()),
    }
}

pub(super) fn adopt(error: &AdoptError) -> Status {
    match error {
        AdoptError::Invalid { .. } => Status::invalid_argument(error.to_string()),
        AdoptError::NotNamed { .. } | AdoptError::AnotherIdentity { .. } | AdoptError::NotBlank { .. } => {
            Status::failed_precondition(error.to_string())
        }
        AdoptError::TooOld { .. } => refused(Code::FailedPrecondition, error, Reason::TooOld),
        AdoptError::Disk { .. } => Status::internal(error.to_string()),
        AdoptError::Stopping => Status::unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use raft::{Index, MemberId};

    use super::*;

    fn number(status: &Status) -> Option<i32> {
        let bytes = status.metadata().get_bin(REFUSAL_KEY)?.to_bytes().expect("base64");
        Some(wire::Refusal::decode(bytes).expect("a Refusal").reason)
    }

    #[test]
    fn a_refused_change_carries_its_reason_as_number_and_as_name() {
        let refused = Refused::LearnerBehind { learner: MemberId(0xa1), lag: 300, limit: 100 };
        let text = refused.to_string();
        let status = change(&refused.into());
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.metadata().get(NAME_KEY).unwrap(), "LearnerBehind");
        assert_eq!(number(&status), Some(12));
        assert_eq!(status.message(), text);
    }

    /// The operator may repeat a refused change. A change whose outcome is unknown is therefore not sent as a refusal:
    /// the operator must first observe the cluster.
    #[test]
    fn an_unknown_outcome_is_no_refusal() {
        let status = change(&ChangeError::Unknown { index: Index(7) });
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.metadata().get(NAME_KEY).is_none() && number(&status).is_none());
    }

    #[test]
    fn a_member_that_does_not_lead_names_the_leader() {
        let status = configuration(&ConfigurationError::NotLeader { leader: Some(MemberId(0xb2)) });
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.metadata().get(NAME_KEY).unwrap(), "NotLeader");
        assert_eq!(number(&status), Some(Reason::NotLeader as i32));
        assert_eq!(status.message(), "this member does not lead; ask b2");
    }

    #[test]
    fn a_member_that_is_too_old_is_refused_with_one_reason() {
        use mvcc::FeatureLevel;
        let (supports, level) = (FeatureLevel(1), FeatureLevel(2));
        let added = ChangeError::TooOld { member: MemberId(0xd4), name: "demo-4".to_owned(), supports, level };
        for status in [change(&added), adopt(&AdoptError::TooOld { supports, level })] {
            assert_eq!((status.code(), number(&status)), (Code::FailedPrecondition, Some(15)));
            assert!(status.message().contains("supports feature level 1, and the cluster is at 2"), "{status}");
        }
        let held = RaiseError::LevelHeld { member: MemberId(0xd4), name: "demo-4".to_owned(), supports: None };
        assert_eq!(number(&raise(&held)), Some(16));
        assert!(held.to_string().starts_with("demo-4 (d4) is not connected"), "{held}");
        assert_eq!(number(&raise(&RaiseError::Unknown)), None, "the caller must read the level");
    }

    /// The numbers are part of the protocol: they never change and are never reused.
    #[test]
    fn every_reason_keeps_its_number_and_name() {
        let names: Vec<_> = (0..=16).map(|number| name(Reason::try_from(number).expect("no gap"))).collect();
        let expected = [
            "Other",
            "NotLeader",
            "Stale",
            "InFlight",
            "TermNotCommitted",
            "Transferring",
            "NoVoters",
            "TooManyVoters",
            "Overlap",
            "Unknown",
            "WasRemoved",
            "NotLearner",
            "LearnerBehind",
            "QuorumAtRisk",
            "NotServing",
            "TooOld",
            "LevelHeld",
        ];
        assert_eq!(names, expected);
        assert!(Reason::try_from(17).is_err(), "a new reason is listed here, too");
    }

    #[test]
    fn every_cause_of_the_archive_has_a_number() {
        use archive::ArchiveError;
        let errors = [
            ArchiveError::StoreUnreachable { reason: String::new() },
            ArchiveError::StoreRefused { reason: String::new() },
            ArchiveError::CredentialsRefused { reason: String::new() },
            ArchiveError::CredentialsMissing { path: "key".into(), reason: String::new() },
            ArchiveError::BucketMissing { bucket: String::new() },
            ArchiveError::BackupNotFound { key: String::new() },
            ArchiveError::BackupCorrupt { key: String::new(), reason: String::new() },
            ArchiveError::Invalid(String::new()),
            ArchiveError::MemberFailed { reason: String::new() },
        ];
        for error in errors {
            assert_ne!(cause_code(error.cause()), wire::FailureCause::Unspecified, "{}", error.cause());
        }
        assert_eq!(cause_code(""), wire::FailureCause::Unspecified);
    }
}
