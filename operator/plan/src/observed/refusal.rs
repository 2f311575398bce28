//! Why a member refused a call, and what follows from it. Owns the reasons and their names. Does not own the numbers that
//! travel (`node/proto/admin.proto`) nor how they are read (the shell's `member/convert.rs`).
//!
//! The rule and the failure that it prevents: `operator/docs/decisions/refusals.md`.

use crds::Reason;

/// Declares the reasons with their names, so that one more reason is one more line.
macro_rules! reasons {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// Why a member refused a call. Nothing was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum RefusalReason {
            $($(#[$doc])+ $variant,)+
            /// A reason that this version does not know, from a newer member.
            Unrecognized {
                /// Its number in `admin.proto`; 0 if the member sent a name only.
                number: i32,
            },
        }

        impl RefusalReason {
            /// Every reason that this version knows.
            pub const KNOWN: &[Self] = &[$(Self::$variant),+];

            /// The reason with the name that members of the first version send; unrecognized if no reason has it.
            #[must_use]
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)+
                    _ => Self::Unrecognized { number: 0 },
                }
            }

            /// The name that members of the first version send.
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
    /// The configuration is another one than the change was computed from.
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
    /// The change names a member without giving its name and addresses.
    UnknownMember = "Unknown",
    /// The change asks for a member that was removed before.
    WasRemoved = "WasRemoved",
    /// The change gives a vote to a member that is no learner.
    NotLearner = "NotLearner",
    /// The change gives a vote to a learner that lags.
    LearnerBehind = "LearnerBehind",
    /// The change would leave fewer healthy voters than a majority.
    QuorumAtRisk = "QuorumAtRisk",
    /// The member is not part of a cluster, or cannot serve.
    NotServing = "NotServing",
    /// The member names no reason of the others.
    Other = "Other",
}

/// How the operator goes on after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterRefusal {
    /// Observe again at once: the configuration changed meanwhile, or the leader waits for itself.
    ObserveAgain,
    /// Observe again later: a member has to catch up first.
    Wait,
    /// Report a failure and retry with backoff.
    Fail,
}

impl RefusalReason {
    /// How the operator goes on. A reason that it does not know is a failure: it repeats nothing quickly, and a person reads the
    /// member's own words.
    #[must_use]
    pub fn then(self) -> AfterRefusal {
        match self {
            Self::NotLeader | Self::Stale | Self::InFlight | Self::TermNotCommitted => AfterRefusal::ObserveAgain,
            Self::LearnerBehind => AfterRefusal::Wait,
            Self::Transferring
            | Self::NoVoters
            | Self::TooManyVoters
            | Self::Overlap
            | Self::UnknownMember
            | Self::WasRemoved
            | Self::NotLearner
            | Self::QuorumAtRisk
            | Self::NotServing
            | Self::Other
            | Self::Unrecognized { .. } => AfterRefusal::Fail,
        }
    }

    /// The reason of conditions and of `status.plan.blockedBy`. A reason that this version does not know may be one of safety,
    /// so it is reported like one.
    #[must_use]
    pub fn condition_reason(self) -> Reason {
        match self {
            Self::LearnerBehind => Reason::LearnerBehind,
            Self::QuorumAtRisk | Self::Unrecognized { .. } => Reason::UnsafeChange,
            Self::NotLeader
            | Self::Stale
            | Self::InFlight
            | Self::TermNotCommitted
            | Self::Transferring
            | Self::NoVoters
            | Self::TooManyVoters
            | Self::Overlap
            | Self::UnknownMember
            | Self::WasRemoved
            | Self::NotLearner
            | Self::NotServing
            | Self::Other => Reason::ChangeInFlight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members of the first version send names and no numbers.
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
        assert_eq!((unknown.then(), unknown.condition_reason()), (AfterRefusal::Fail, Reason::UnsafeChange));
    }
}
