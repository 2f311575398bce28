//! Owns the errors that clients receive: one table with the gRPC code and the exact text for every cause. Does not own
//! the decisions that lead to these errors.
//!
//! Clients recognize errors by their texts instead of their codes (etcd API `rpctypes`), therefore etcd's texts are
//! kept exactly. Errors that etcd does not have begin with `raft-node:` and say what to do.

use engine::error::{ProposeError, ReadError, TransferError};
use engine::status::{NotServing, Phase};
use mvcc::{CommandError, RangeError, ValidateError};
use tonic::{Code, Status};

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident, $code:ident, $text:literal;)*) => {
        /// The reason why a request was refused or failed. Unless the documentation of a refusal says otherwise, the
        /// request had no effect and will have none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($(#[$doc])* $name,)*
        }

        impl Refusal {
            /// All refusals, in the order of the table.
            pub const ALL: &[Refusal] = &[$(Refusal::$name,)*];

            /// The gRPC code.
            #[must_use]
            pub fn code(self) -> Code {
                match self { $(Refusal::$name => Code::$code,)* }
            }

            /// The exact text that is sent.
            #[must_use]
            pub fn text(self) -> &'static str {
                match self { $(Refusal::$name => $text,)* }
            }
        }
    };
}

table! {
    /// A key is empty.
    EmptyKey, InvalidArgument, "etcdserver: key is not provided";
    /// A put with `ignore_value` or `ignore_lease` names a key that does not exist, or an operation of a transaction
    /// has no content.
    KeyNotFound, InvalidArgument, "etcdserver: key not found";
    /// A put has both a value and `ignore_value`.
    ValueProvided, InvalidArgument, "etcdserver: value is provided";
    /// A put has both a lease and `ignore_lease`.
    LeaseProvided, InvalidArgument, "etcdserver: lease is provided";
    /// As many alarms are raised as the store holds.
    TooManyAlarms, ResourceExhausted, "raft-node: too many alarms are raised: clear some of them";
    /// As many calls are in progress on all connections as may be.
    TooManyCalls, ResourceExhausted, "raft-node: too many calls are in progress on this member: end some, or use another member";
    /// A transaction has more than 128 comparisons, or more than 128 operations in one branch, or more than 4,096 of all
    /// with nested ones.
    TooManyOps, InvalidArgument, "etcdserver: too many operations in txn request";
    /// A transaction puts a key twice, or puts and deletes the same key.
    DuplicateKey, InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// The metadata `client-api-version` is not UTF-8.
    InvalidClientApiVersion, InvalidArgument, "etcdserver: invalid client api version";
    /// The sort order or the sort target does not exist.
    InvalidSortOption, InvalidArgument, "etcdserver: invalid sort option";
    /// The encoded request is larger than `Limits::request_bytes_max`.
    RequestTooLarge, InvalidArgument, "etcdserver: request is too large";
    /// The requested revision was compacted.
    Compacted, OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// The requested revision does not exist yet.
    FutureRevision, OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// The quota is used up, or no quorum of voters is above the reserve of its volume. Deletions and compactions are still
    /// admitted, unless hardly any space is left.
    NoSpace, ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// The lease does not exist.
    LeaseNotFound, NotFound, "etcdserver: requested lease not found";
    /// The alarm CORRUPT is raised: members disagree about the content of the store.
    Corrupt, DataLoss, "etcdserver: corrupt cluster";

    /// Too many committed entries are not applied yet, or too many proposals are not committed yet. The code is
    /// `Unknown`, as in etcd, which sends this error without a specific code.
    TooManyRequests, Unknown, "etcdserver: too many requests";
    /// This member knows no leader.
    NoLeader, Unavailable, "etcdserver: no leader";
    /// Only the leader can execute this call.
    NotLeader, FailedPrecondition, "etcdserver: not leader";
    /// The leader changed while the request waited.
    LeaderChanged, Unavailable, "etcdserver: leader changed";
    /// This member is stopping.
    Stopped, Unavailable, "etcdserver: server stopped";
    /// The request was not completed in time. The outcome of a write is unknown.
    Timeout, Unavailable, "etcdserver: request timed out";
    /// The target of a leadership transfer is not a voter.
    BadTransferee, FailedPrecondition, "etcdserver: bad leader transferee";
    /// The leadership transfer did not complete in time. The code is `Unknown`, as in etcd, which sends this error
    /// without a specific code.
    TransferTimeout, Unknown, "etcdserver: request timed out, leader transfer took too long";
    /// A learner answers only `Status` and serializable `Range`.
    NotSupportedForLearner, FailedPrecondition, "etcdserver: rpc not supported for learner";

    /// The client asked for another order than the ascending order of keys. `RangeStream` supports no other order.
    StreamSort, Unimplemented, "RangeStream does not support custom sort orders";
    /// The client asked for a filter by revision, which `RangeStream` does not support.
    StreamFilter, Unimplemented, "RangeStream does not support revision filters";

    /// `MemberAdd`, `MemberRemove`, `MemberUpdate` and `MemberPromote` are refused, because only the operator changes
    /// membership.
    MembershipManaged, FailedPrecondition,
        "raft-node: the operator owns membership: scale the RaftCluster instead, as by kubectl scale";
    /// `Snapshot` is refused, because it would have to send a bbolt file.
    SnapshotAbsent, Unimplemented,
        "raft-node: this version has no snapshot in etcd's format: create a RaftBackup instead";
    /// `Downgrade` is refused, because it concerns etcd's own storage format.
    DowngradeAbsent, Unimplemented,
        "raft-node: there is no downgrade to prepare: set another spec.image in the RaftCluster instead";
    /// A transaction visits too many keys ([`mvcc::View::is_too_expensive`]). etcd has no such limit.
    TxnTooExpensive, ResourceExhausted, "raft-node: the transaction visits too many keys: split it";
    /// The alarm action or the alarm type does not exist.
    UnknownAlarm, InvalidArgument, "raft-node: no such alarm action or type";

    /// This version does not implement the service.
    ServiceAbsent, Unimplemented, "raft-node: this version serves KV, Cluster and Maintenance of etcd's API, no more";

    /// The member is blank, or has not been added to its cluster yet.
    Blank, Unavailable, "raft-node: this member belongs to no cluster yet: connect to another member";
    /// The member restores a backup to its volume.
    Restoring, Unavailable, "raft-node: this member is being restored from a backup: try again later";
    /// A committed configuration removed the member.
    Removed, Unavailable, "raft-node: this member was removed from its cluster: connect to another member";
    /// The member's disk is damaged.
    Damaged, Unavailable, "raft-node: this member's disk is damaged, so it serves no requests: connect to another member";
    /// A newer program wrote the member's disk.
    TooNew, Unavailable, "raft-node: this member's program is too old for its disk: connect to another member";
    /// The member fetches from others what its disk has lost.
    Repairing, Unavailable, "raft-node: this member repairs its log, so it serves no requests: connect to another member";
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        Status::new(refusal.code(), refusal.text())
    }
}

impl From<ValidateError> for Refusal {
    fn from(error: ValidateError) -> Refusal {
        match error {
            ValidateError::EmptyKey => Refusal::EmptyKey,
            ValidateError::InvalidSortOption => Refusal::InvalidSortOption,
            ValidateError::ValueProvided => Refusal::ValueProvided,
            ValidateError::LeaseProvided => Refusal::LeaseProvided,
            ValidateError::TooManyOps => Refusal::TooManyOps,
            ValidateError::EmptyOp => Refusal::KeyNotFound,
            ValidateError::DuplicateKey => Refusal::DuplicateKey,
        }
    }
}

impl From<RangeError> for Refusal {
    fn from(error: RangeError) -> Refusal {
        match error {
            RangeError::Invalid(error) => error.into(),
            RangeError::Compacted => Refusal::Compacted,
            RangeError::FutureRevision => Refusal::FutureRevision,
        }
    }
}

impl From<CommandError> for Refusal {
    fn from(error: CommandError) -> Refusal {
        match error {
            CommandError::Invalid(error) => error.into(),
            CommandError::KeyNotFound => Refusal::KeyNotFound,
            CommandError::LeaseNotFound => Refusal::LeaseNotFound,
            CommandError::Compacted => Refusal::Compacted,
            CommandError::FutureRevision => Refusal::FutureRevision,
            CommandError::NoSpace => Refusal::NoSpace,
            CommandError::Corrupt => Refusal::Corrupt,
        }
    }
}

impl From<NotServing> for Refusal {
    fn from(reason: NotServing) -> Refusal {
        match reason {
            NotServing::NotAdded => Refusal::Blank,
            NotServing::Phase(phase) => Refusal::of_phase(phase),
        }
    }
}

impl From<ProposeError> for Refusal {
    fn from(error: ProposeError) -> Refusal {
        match error {
            // In both cases the request waited until its timeout, and etcd sends the same text in both cases.
            ProposeError::NoLeader | ProposeError::TimedOut => Refusal::Timeout,
            ProposeError::LeaderChanged => Refusal::LeaderChanged,
            ProposeError::Overloaded => Refusal::TooManyRequests,
            ProposeError::NoSpace => Refusal::NoSpace,
            ProposeError::TooLarge { .. } => Refusal::RequestTooLarge,
            ProposeError::Stopping => Refusal::Stopped,
            ProposeError::NotServing { phase } => Refusal::of_phase(phase),
        }
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Refusal {
        match error {
            ReadError::NoLeader | ReadError::TimedOut => Refusal::Timeout,
            ReadError::Overloaded => Refusal::TooManyRequests,
            ReadError::Stopping => Refusal::Stopped,
            ReadError::NotServing { phase } => Refusal::of_phase(phase),
        }
    }
}

impl From<TransferError> for Refusal {
    fn from(error: TransferError) -> Refusal {
        match error {
            TransferError::Refused(raft::TransferRefusal::NotLeader) => Refusal::NotLeader,
            TransferError::Refused(raft::TransferRefusal::NotVoter { .. }) => Refusal::BadTransferee,
            TransferError::Refused(_) | TransferError::Overloaded => Refusal::TooManyRequests,
            TransferError::TimedOut => Refusal::TransferTimeout,
            TransferError::Stopping => Refusal::Stopped,
            TransferError::NotServing { phase } => Refusal::of_phase(phase),
        }
    }
}

impl Refusal {
    /// Returns the refusal with which a member in this phase answers all calls.
    #[must_use]
    pub fn of_phase(phase: Phase) -> Refusal {
        match phase {
            Phase::Blank => Refusal::Blank,
            Phase::Restoring => Refusal::Restoring,
            Phase::Removed => Refusal::Removed,
            Phase::Damaged => Refusal::Damaged,
            Phase::TooNew => Refusal::TooNew,
            Phase::Repairing => Refusal::Repairing,
            // A member in the phase `Member` refuses all calls only when the member is about to stop.
            Phase::Member => Refusal::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// The expected texts and codes are those of etcd 3.7.3 in `api/v3rpc/rpctypes/error.go`.
    #[test]
    fn texts_of_etcd_have_the_codes_of_etcd() {
        let expected = [
            ("etcdserver: key is not provided", Code::InvalidArgument),
            ("etcdserver: key not found", Code::InvalidArgument),
            ("etcdserver: value is provided", Code::InvalidArgument),
            ("etcdserver: lease is provided", Code::InvalidArgument),
            ("etcdserver: too many operations in txn request", Code::InvalidArgument),
            ("etcdserver: duplicate key given in txn request", Code::InvalidArgument),
            ("etcdserver: invalid client api version", Code::InvalidArgument),
            ("etcdserver: invalid sort option", Code::InvalidArgument),
            ("etcdserver: request is too large", Code::InvalidArgument),
            ("etcdserver: mvcc: required revision has been compacted", Code::OutOfRange),
            ("etcdserver: mvcc: required revision is a future revision", Code::OutOfRange),
            ("etcdserver: mvcc: database space exceeded", Code::ResourceExhausted),
            ("etcdserver: requested lease not found", Code::NotFound),
            ("etcdserver: corrupt cluster", Code::DataLoss),
            ("etcdserver: too many requests", Code::Unknown),
            ("etcdserver: no leader", Code::Unavailable),
            ("etcdserver: not leader", Code::FailedPrecondition),
            ("etcdserver: leader changed", Code::Unavailable),
            ("etcdserver: server stopped", Code::Unavailable),
            ("etcdserver: request timed out", Code::Unavailable),
            ("etcdserver: bad leader transferee", Code::FailedPrecondition),
            ("etcdserver: request timed out, leader transfer took too long", Code::Unknown),
            ("etcdserver: rpc not supported for learner", Code::FailedPrecondition),
            ("RangeStream does not support custom sort orders", Code::Unimplemented),
            ("RangeStream does not support revision filters", Code::Unimplemented),
        ];
        let actual: Vec<_> = Refusal::ALL
            .iter()
            .filter(|refusal| !refusal.text().starts_with("raft-node: "))
            .map(|refusal| (refusal.text(), refusal.code()))
            .collect();
        assert_eq!(actual, expected);
    }

    #[test]
    fn every_text_belongs_to_one_cause() {
        let texts: HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.text()).collect();
        assert_eq!(texts.len(), Refusal::ALL.len());
    }
}
