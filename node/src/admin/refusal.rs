//! Owns what the operator is told when a call fails: one table, every cause with its gRPC code, and for a refused
//! membership change the name of its reason. Does not own the texts: they are the errors' own.

use engine::error::{AdoptError, ChangeError, ConfigurationError, ReadError, TransferError};
use raft::ChangeRefusal as Refused;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

/// The trailer that carries the name of the reason.
const KEY: &str = "raft-refusal";

/// A status with the reason's name beside its text.
fn named(code: Code, error: &impl std::fmt::Display, name: &'static str) -> Status {
    let mut status = Status::new(code, error.to_string());
    status.metadata_mut().insert(KEY, MetadataValue::from_static(name));
    status
}

/// The name of a reason to refuse a change; what the operator acts on.
fn name(refused: &Refused) -> &'static str {
    match refused {
        Refused::NotLeader { .. } => "NotLeader",
        Refused::Stale { .. } => "Stale",
        Refused::InFlight { .. } => "InFlight",
        Refused::TermNotCommitted => "TermNotCommitted",
        Refused::Transferring { .. } => "Transferring",
        Refused::NoVoters => "NoVoters",
        Refused::TooManyVoters { .. } => "TooManyVoters",
        Refused::Overlap { .. } => "Overlap",
        Refused::Unknown { .. } => "Unknown",
        Refused::WasRemoved { .. } => "WasRemoved",
        Refused::NotLearner { .. } => "NotLearner",
        Refused::LearnerBehind { .. } => "LearnerBehind",
        Refused::QuorumAtRisk { .. } => "QuorumAtRisk",
    }
}

pub(super) fn change(error: &ChangeError) -> Status {
    match error {
        ChangeError::Refused(refused) => named(Code::FailedPrecondition, error, name(refused)),
        ChangeError::NotServing { .. } => named(Code::FailedPrecondition, error, "NotServing"),
        ChangeError::Unknown { .. } => Status::deadline_exceeded(error.to_string()),
        ChangeError::Overloaded => Status::resource_exhausted(error.to_string()),
        ChangeError::Stopping => Status::unavailable(error.to_string()),
    }
}

pub(super) fn transfer(error: &TransferError) -> Status {
    match error {
        TransferError::Refused(raft::TransferRefusal::NotLeader) => named(Code::FailedPrecondition, error, "NotLeader"),
        TransferError::Refused(_) | TransferError::NotServing { .. } => Status::failed_precondition(error.to_string()),
        TransferError::TimedOut => Status::deadline_exceeded(error.to_string()),
        TransferError::Overloaded => Status::resource_exhausted(error.to_string()),
        TransferError::Stopping => Status::unavailable(error.to_string()),
    }
}

pub(super) fn configuration(error: &ConfigurationError) -> Status {
    match error {
        ConfigurationError::NotLeader { .. } => named(Code::FailedPrecondition, error, "NotLeader"),
        ConfigurationError::Read(ReadError::Overloaded) => Status::resource_exhausted(error.to_string()),
        ConfigurationError::Read(ReadError::NotServing { .. }) => named(Code::FailedPrecondition, error, "NotServing"),
        ConfigurationError::Read(_) => Status::unavailable(error.to_string()),
    }
}

pub(super) fn adopt(error: &AdoptError) -> Status {
    match error {
        AdoptError::Invalid { .. } => Status::invalid_argument(error.to_string()),
        AdoptError::NotNamed { .. } | AdoptError::AnotherRecord { .. } | AdoptError::NotBlank { .. } => {
            Status::failed_precondition(error.to_string())
        }
        AdoptError::Disk { .. } => Status::internal(error.to_string()),
        AdoptError::Stopping => Status::unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use raft::{Index, MemberId};

    use super::*;

    #[test]
    fn a_refused_change_carries_its_reasons_name() {
        let refused = Refused::LearnerBehind { learner: MemberId(0xa1), behind: 300, limit: 100 };
        let status = change(&refused.into());
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.metadata().get(KEY).unwrap(), "LearnerBehind");
        assert_eq!(status.message(), "learner a1 lags the leader by 300 entries; at most 100 are allowed");
    }

    /// The operator may repeat what was refused; it must look before it repeats what is unknown.
    #[test]
    fn an_unknown_outcome_is_no_refusal() {
        let status = change(&ChangeError::Unknown { index: Index(7) });
        assert_eq!(status.code(), Code::DeadlineExceeded);
        assert!(status.metadata().get(KEY).is_none());
    }

    #[test]
    fn who_does_not_lead_names_the_leader() {
        let status = configuration(&ConfigurationError::NotLeader { leader: Some(MemberId(0xb2)) });
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(status.metadata().get(KEY).unwrap(), "NotLeader");
        assert_eq!(status.message(), "this member does not lead; ask b2");
    }
}
