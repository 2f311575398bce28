//! Owns what a client is told when a request fails: one table, every cause with its gRPC code and its exact text. Does not
//! own the decisions that lead here.
//!
//! Clients map texts, not codes, to typed errors (etcd API `rpctypes`), so those of etcd are kept to the letter. What etcd
//! has no word for starts with `raft-node:` and says what to do.

use engine::error::{ProposeError, ReadError, TransferError};
use engine::status::{NotServing, Phase};
use mvcc::{CommandError, RangeError, ValidateError};
use tonic::{Code, Status};

macro_rules! table {
    ($($(#[$doc:meta])* $name:ident, $code:ident, $text:literal;)*) => {
        /// Why a request was refused or failed. Unless its documentation says otherwise, the request had no effect and
        /// will have none.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Refusal {
            $($(#[$doc])* $name,)*
        }

        impl Refusal {
            /// All of them, in the table's order.
            pub const ALL: &[Refusal] = &[$(Refusal::$name,)*];

            /// The gRPC code.
            #[must_use]
            pub fn code(self) -> Code {
                match self { $(Refusal::$name => Code::$code,)* }
            }

            /// The text, exactly as sent.
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
    /// `ignore_value` or `ignore_lease` on a key that does not exist; or an operation of a transaction without content.
    KeyNotFound, InvalidArgument, "etcdserver: key not found";
    /// A value together with `ignore_value`.
    ValueProvided, InvalidArgument, "etcdserver: value is provided";
    /// A lease together with `ignore_lease`.
    LeaseProvided, InvalidArgument, "etcdserver: lease is provided";
    /// More than 128 comparisons, or operations in one branch.
    TooManyOps, InvalidArgument, "etcdserver: too many operations in txn request";
    /// A transaction puts a key twice, or puts and deletes it.
    DuplicateKey, InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// Metadata `client-api-version` is not UTF-8.
    InvalidClientApiVersion, InvalidArgument, "etcdserver: invalid client api version";
    /// A sort order or target that does not exist.
    InvalidSortOption, InvalidArgument, "etcdserver: invalid sort option";
    /// The request is encoded in more than `Limits::request_bytes_max`.
    RequestTooLarge, InvalidArgument, "etcdserver: request is too large";
    /// The revision asked for was compacted away.
    Compacted, OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// The revision asked for is not there yet.
    FutureRevision, OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// The quota is used up; deletes and compaction still work.
    NoSpace, ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// No such lease.
    LeaseNotFound, NotFound, "etcdserver: requested lease not found";
    /// Members disagree about the content, and one of them raised the alarm.
    Corrupt, DataLoss, "etcdserver: corrupt cluster";

    /// More is committed and not applied, or proposed and not committed, than is good. The code is etcd's, where a plain
    /// error escapes the table.
    TooManyRequests, Unknown, "etcdserver: too many requests";
    /// Nobody leads, as far as this member knows.
    NoLeader, Unavailable, "etcdserver: no leader";
    /// Only the leader can do that.
    NotLeader, FailedPrecondition, "etcdserver: not leader";
    /// Leadership moved while the request waited.
    LeaderChanged, Unavailable, "etcdserver: leader changed";
    /// This member stops.
    Stopped, Unavailable, "etcdserver: server stopped";
    /// The time for it is over. Of a write, the outcome is unknown.
    Timeout, Unavailable, "etcdserver: request timed out";
    /// A member cannot take over leadership.
    BadTransferee, FailedPrecondition, "etcdserver: bad leader transferee";
    /// Nobody else was seen to lead in time. The code is etcd's, where a plain error escapes the table.
    TransferTimeout, Unknown, "etcdserver: request timed out, leader transfer took too long";
    /// A learner answers only `Status` and serializable `Range`.
    NotSupportedForLearner, FailedPrecondition, "etcdserver: rpc not supported for learner";

    /// `RangeStream` sends in key order.
    StreamSort, Unimplemented, "RangeStream does not support custom sort orders";
    /// `RangeStream` does not filter.
    StreamFilter, Unimplemented, "RangeStream does not support revision filters";

    /// `MemberAdd`, `MemberRemove`, `MemberUpdate`, `MemberPromote`.
    MembershipIsOperators, FailedPrecondition,
        "raft-node: the operator owns membership: scale the RaftCluster instead, as by kubectl scale";
    /// `Snapshot` would have to send a bbolt file.
    SnapshotAbsent, Unimplemented,
        "raft-node: this version has no snapshot in etcd's format: create a RaftBackup instead";
    /// `Downgrade` is for etcd's own storage format.
    DowngradeAbsent, Unimplemented,
        "raft-node: there is no downgrade to prepare: set another spec.image in the RaftCluster instead";
    /// An alarm action or type that does not exist.
    UnknownAlarm, InvalidArgument, "raft-node: no such alarm action or type";

    /// What a client names is not served on this port in this version.
    ServiceAbsent, Unimplemented, "raft-node: this version serves KV, Cluster and Maintenance of etcd's API, no more";

    /// An empty volume, or one that was not added to its cluster yet.
    Blank, Unavailable, "raft-node: this member belongs to no cluster yet: ask another one";
    /// A restore fills the volume.
    Restoring, Unavailable, "raft-node: this member is being restored from a backup: try again later";
    /// Removed by a committed configuration.
    Removed, Unavailable, "raft-node: this member was removed from its cluster: ask another one";
    /// Its disk holds damage.
    Damaged, Unavailable, "raft-node: this member's disk is damaged and it serves nothing: ask another one";
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
            // Both waited as long as etcd waits, and etcd has one text for both.
            ProposeError::NoLeader | ProposeError::TimedOut => Refusal::Timeout,
            ProposeError::LeaderChanged => Refusal::LeaderChanged,
            ProposeError::Overloaded => Refusal::TooManyRequests,
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
    /// What a member in this phase answers to everything.
    #[must_use]
    pub fn of_phase(phase: Phase) -> Refusal {
        match phase {
            Phase::Blank => Refusal::Blank,
            Phase::Restoring => Refusal::Restoring,
            Phase::Removed => Refusal::Removed,
            Phase::Damaged => Refusal::Damaged,
            // A member that does not serve is about to stop.
            Phase::Member => Refusal::Stopped,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Texts and codes as etcd 3.7.3 has them in `api/v3rpc/rpctypes/error.go`.
    #[test]
    fn etcds_texts_have_etcds_codes() {
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
    fn every_text_is_of_one_cause_alone() {
        let texts: HashSet<_> = Refusal::ALL.iter().map(|refusal| refusal.text()).collect();
        assert_eq!(texts.len(), Refusal::ALL.len());
    }
}
