//! The reasons for which a member refuses a call, and the operator's next step for each of them. Owns the reasons and
//! their names. Does not own the numbers on the wire (`node/proto/admin.proto`), nor the conversion from them (the
//! shell's `member/reasons.rs`).
//!
//! `operator/docs/decisions/refusals.md` explains why members send reasons as numbers, and also as names.

use crds::Reason;

/// Declares the reasons with their names, so that a new reason needs only one line.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// The reason for which a member refused a call. The member changed nothing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum RefusalReason {
            $($(#[$doc])+ $variant,)+
            /// A reason that this version does not know, from a newer member.
            Unrecognized {
                /// Number of the reason in `admin.proto`; 0 if the member sent only a name.
                number: i32,
            },
        }

        impl RefusalReason {
            /// Every reason that this version knows.
            pub const KNOWN: &[Self] = &[$(Self::$variant),+];

            /// The reason with this name; unrecognized if no reason has this name. Older members send
            /// names.
            #[must_use]
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)+
                    _ => Self::Unrecognized { number: 0 },
                }
            }

            /// The name that older members send.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Unrecognized { .. } => "Unrecognized",
                }
            }
        }
    };
}

reasons! {
    /// The member does not lead.
    NotLeader = "NotLeader",
    /// The configuration differs from the one from which the change was computed.
    Stale = "Stale",
    /// An earlier change is not finished.
    InFlight = "InFlight",
    /// The leader has not committed an entry of its own term.
    TermNotCommitted = "TermNotCommitted",
    /// Leadership is being transferred.
    Transferring = "Transferring",
    /// The change asks for no voters.
    NoVoters = "NoVoters",
    /// The change asks for more voters than are supported.
    TooManyVoters = "TooManyVoters",
    /// The change asks for a member both as voter and as learner.
    Overlap = "Overlap",
    /// The change contains no name and addresses for one of its members.
    UnknownMember = "Unknown",
    /// The change asks for a member that was removed before.
    WasRemoved = "WasRemoved",
    /// The change gives a vote to a member that is no learner.
    NotLearner = "NotLearner",
    /// The change gives a vote to a learner that has not caught up.
    LearnerBehind = "LearnerBehind",
    /// The change would leave fewer healthy voters than a majority.
    QuorumAtRisk = "QuorumAtRisk",
    /// The member is not part of a cluster, or cannot serve.
    NotServing = "NotServing",
    /// The member that is called, or one that the change adds, does not support the cluster's feature level.
    TooOld = "TooOld",
    /// A member of the configuration does not support the requested feature level, or does not state that it does.
    LevelHeld = "LevelHeld",
    /// The member gave a reason that is none of the above.
    Other = "Other",
}

/// The operator's next step after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRefusal {
    /// Observe again immediately: the configuration or the leader changed meanwhile, an earlier change is not
    /// finished, or the leader has not committed an entry of its term yet.
    ObserveAgain,
    /// Observe again later, because a member has to catch up first, or to state that it supports the feature level.
    Wait,
    /// Report a failure and retry with backoff.
    Fail,
}

impl RefusalReason {
    /// Returns how the operator continues. A reason that this version does not know is a failure: the call is retried
    /// with backoff, and a person reads the member's message.
    #[must_use]
    pub fn then(self) -> AfterRefusal {
        match self {
            Self::NotLeader | Self::Stale | Self::InFlight | Self::TermNotCommitted => AfterRefusal::ObserveAgain,
            Self::LearnerBehind | Self::LevelHeld => AfterRefusal::Wait,
            Self::Transferring
            | Self::NoVoters
            | Self::TooManyVoters
            | Self::Overlap
            | Self::UnknownMember
            | Self::WasRemoved
            | Self::NotLearner
            | Self::QuorumAtRisk
            | Self::NotServing
            | Self::TooOld
            | Self::Other
            | Self::Unrecognized { .. } => AfterRefusal::Fail,
        }
    }

    /// Returns the reason for conditions and `status.plan.blockedBy`.
    #[must_use]
    pub fn condition_reason(self) -> Reason {
        match self {
            Self::LearnerBehind => Reason::LearnerBehind,
            Self::QuorumAtRisk => Reason::UnsafeChange,
            Self::TooOld | Self::LevelHeld => Reason::MemberTooOld,
            Self::NotLeader | Self::Stale | Self::InFlight | Self::TermNotCommitted => Reason::ChangeInFlight,
            Self::Transferring
            | Self::NoVoters
            | Self::TooManyVoters
            | Self::Overlap
            | Self::UnknownMember
            | Self::WasRemoved
            | Self::NotLearner
            | Self::NotServing
            | Self::Other
            | Self::Unrecognized { .. } => Reason::ChangeRefused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Older members send names without numbers.
    #[test]
    fn every_reason_is_found_by_its_name() {
        for reason in RefusalReason::KNOWN {
            assert_eq!(RefusalReason::from_name(reason.name()), *reason);
        }
    }

    #[test]
    fn an_unknown_reason_is_kept_as_unknown_and_fails() {
        let unknown = RefusalReason::from_name("TooWarm");
        assert_eq!(unknown, RefusalReason::Unrecognized { number: 0 });
        assert_eq!((unknown.then(), unknown.condition_reason()), (AfterRefusal::Fail, Reason::ChangeRefused));
    }
}
