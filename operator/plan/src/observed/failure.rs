//! The causes for which a backup, a restore or a probe of an object store fails, as members report them. Owns the
//! causes and their names. Does not own the numbers on the wire (`node/proto/admin.proto`), nor the conversion from
//! them (the shell's `member/reasons.rs`).

use crds::Reason;

/// Declares the causes with their names, so that a new cause needs only one line.
macro_rules! causes {
    ($($(#[$doc:meta])+ $variant:ident => $reason:expr,)+) => {
        /// The cause for which a member's work on an object store failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum FailureCause {
            $($(#[$doc])+ $variant,)+
            /// A cause that this version does not know, from a newer member.
            Unrecognized {
                /// Number of the cause in `admin.proto`; 0 if the member sent only a name.
                number: i32,
            },
        }

        impl FailureCause {
            /// Every cause that this version knows.
            pub const KNOWN: &[Self] = &[$(Self::$variant),+];

            /// The cause with this name; unrecognized if no cause has this name. Older members send
            /// names.
            #[must_use]
            pub fn from_name(name: &str) -> Self {
                match name {
                    $(stringify!($variant) => Self::$variant,)+
                    _ => Self::Unrecognized { number: 0 },
                }
            }

            /// The name that older members send.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)+
                    Self::Unrecognized { .. } => "Unrecognized",
                }
            }

            /// The reason that conditions report. `None` if the reason depends on the operation that failed.
            #[must_use]
            pub fn condition_reason(self) -> Option<Reason> {
                match self {
                    $(Self::$variant => $reason,)+
                    Self::Unrecognized { .. } => None,
                }
            }
        }
    };
}

causes! {
    /// The object store does not answer.
    StoreUnreachable => Some(Reason::StoreUnreachable),
    /// The object store refuses the request for a reason that no other cause names.
    StoreRefused => Some(Reason::StoreRefused),
    /// The object store refuses the credentials.
    CredentialsRefused => Some(Reason::CredentialsRefused),
    /// The member has no credentials.
    CredentialsMissing => Some(Reason::CredentialsMissing),
    /// The bucket does not exist.
    BucketMissing => Some(Reason::BucketMissing),
    /// The backup does not exist.
    BackupNotFound => Some(Reason::BackupNotFound),
    /// The backup does not match its checksums.
    BackupCorrupt => Some(Reason::BackupCorrupt),
    /// The backup belongs to another cluster.
    BackupForeign => Some(Reason::BackupForeign),
    /// The request contradicts itself.
    Invalid => None,
    /// The member itself failed.
    MemberFailed => None,
    /// The restored data was refused.
    RestoreFailed => Some(Reason::RestoreFailed),
    /// No member answered the operator's request to check the object store. The operator sets this cause; members never
    /// send it.
    StoreUnknown => Some(Reason::StoreUnknown),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Older members send names without numbers.
    #[test]
    fn every_cause_is_found_by_its_name_and_reported_under_it() {
        for cause in FailureCause::KNOWN {
            assert_eq!(FailureCause::from_name(cause.name()), *cause);
            assert_eq!(cause.condition_reason(), Reason::from_word(cause.name()));
        }
    }

    #[test]
    fn an_unknown_cause_is_kept_as_unknown() {
        assert_eq!(FailureCause::from_name("TooWarm"), FailureCause::Unrecognized { number: 0 });
    }
}
