//! Calls to members in the planner's plain types: which calls there are, and which of them a member admits. Owns the
//! rules for tokens. Does not own the answers (`admin_service.rs`), nor the messages (`operator/messages.rs`).

use plan::action::Change;
use plan::ids::{ClusterId, MemberId};
use plan::observed::member::{Configuration, MemberInfo, MemberPhase, Report};
use plan::observed::refusal::RefusalReason;

use crate::members::{CallError, Members};

/// A call.
#[derive(Clone, Debug)]
pub enum MemberCall {
    /// Asks for a report.
    Describe,
    /// Asks for the committed configuration.
    Configuration,
    /// Makes a blank member one of the first voters.
    Bootstrap {
        /// The cluster.
        cluster: ClusterId,
        /// The token in the identity.
        token: String,
        /// The first voters.
        voters: Vec<(MemberId, MemberInfo)>,
    },
    /// Makes a blank member restore a backup.
    Restore {
        /// The cluster.
        cluster: ClusterId,
        /// The token in the identity.
        token: String,
        /// The ID that the member must have.
        id: MemberId,
        /// The member's name and addresses.
        info: MemberInfo,
    },
    /// Makes a blank member wait for a leader.
    Join {
        /// The cluster.
        cluster: ClusterId,
        /// The token in the identity.
        token: String,
        /// The ID that the member must have.
        id: MemberId,
        /// The feature level of the cluster.
        level: u32,
    },
    /// Changes the membership.
    ChangeMembership(Change),
    /// Transfers leadership to this member.
    TransferLeadership(MemberId),
    /// Raises the feature level.
    RaiseFeatureLevel(u32),
}

/// A member's answer.
#[derive(Clone, Debug)]
pub enum MemberReply {
    /// The report.
    Report(Box<Report>),
    /// The committed configuration.
    Configuration(Configuration),
    /// The call succeeded.
    Done,
}

impl MemberCall {
    /// Returns whether the call changes nothing.
    #[must_use]
    pub fn is_read(&self) -> bool {
        matches!(self, Self::Describe | Self::Configuration)
    }

    /// Returns the token in the identity that the call brings.
    fn brought(&self) -> Option<&str> {
        match self {
            Self::Bootstrap { token, .. } | Self::Restore { token, .. } | Self::Join { token, .. } => Some(token),
            Self::Describe
            | Self::Configuration
            | Self::ChangeMembership(_)
            | Self::TransferLeadership(_)
            | Self::RaiseFeatureLevel(_) => None,
        }
    }
}

impl Members {
    /// Answers a call to this pod's member, which carries `token`.
    ///
    /// # Errors
    /// Returns an error if the member cannot be reached or refuses the call. Nothing was changed.
    pub fn answer(&mut self, pod: &str, token: Option<&str>, call: &MemberCall) -> Result<MemberReply, CallError> {
        if self.hidden.contains(pod) {
            return Err(CallError::Unreachable);
        }
        let whole = self.describe(pod)?;
        let stored = self.token_of(pod).map(str::to_owned);
        let is_right = token.is_some() && token == stored.as_deref().or(call.brought());
        match call {
            MemberCall::Describe if whole.phase == MemberPhase::Blank || is_right => {
                Ok(MemberReply::Report(Box::new(whole)))
            }
            MemberCall::Describe if token.is_none() => Ok(MemberReply::Report(Box::new(Report::of_phase(whole.phase)))),
            _ if !is_right => Err(CallError::Unauthenticated),
            MemberCall::Describe => Ok(MemberReply::Report(Box::new(whole))),
            MemberCall::Configuration => {
                let configuration = self.configuration(pod).ok_or(CallError::Refused(RefusalReason::NotLeader))?;
                Ok(MemberReply::Configuration(configuration))
            }
            MemberCall::Bootstrap { cluster, token, voters } => done(self.bootstrap(pod, (*cluster, token), voters)),
            MemberCall::Restore { cluster, token, id, info } => done(self.restore(pod, (*cluster, token), *id, info)),
            MemberCall::Join { cluster, token, id, level } => done(self.join(pod, (*cluster, token), *id, *level)),
            MemberCall::ChangeMembership(change) => done(self.change(pod, change)),
            MemberCall::TransferLeadership(target) => done(self.transfer(pod, *target)),
            MemberCall::RaiseFeatureLevel(to) => done(self.raise_level(pod, *to)),
        }
    }
}

fn done(outcome: Result<(), CallError>) -> Result<MemberReply, CallError> {
    outcome.map(|()| MemberReply::Done)
}
