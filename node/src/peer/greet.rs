//! The call `Greet`: what a member supports, and what its committed configuration says of the caller. Owns the question
//! and the answer. Does not own the checks of a greeting (`greeting.rs`).
//!
//! It is the first call of each connection. Without it a member could send what the other one misreads.

use std::time::Duration;

use mvcc::FeatureLevel;
use proto::peer::peer_client::PeerClient;
use proto::peer::{Greeted, Greeting};
use raft::MemberId;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::peer::Peers;

/// Time within which a greeting must be answered.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a member may not be sent anything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
    /// The member does not answer.
    #[error("no answer to the greeting within {ANSWER_TIMEOUT:?}")]
    TimedOut,
    /// The member refuses the greeting.
    #[error("{}: {}", .0.code(), .0.message())]
    Refused(Status),
    /// The member would misread what this one sends.
    #[error("supports feature level {supports}, the cluster is at {level}: start a newer version of it")]
    TooOld {
        /// Highest level that the member supports.
        supports: FeatureLevel,
        /// Level of the cluster.
        level: FeatureLevel,
    },
}

/// Greets the receiver of a greeting. A member of a former version does not know the call: it supports the first level, and says nothing
/// else.
///
/// # Errors
/// Returns why there is no answer.
pub(super) async fn ask(greeting: Greeting, channel: Channel) -> Result<Greeted, GreetError> {
    let mut client = PeerClient::new(channel);
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.greet(greeting)).await;
    match answer.map_err(|_| GreetError::TimedOut)? {
        Ok(answer) => Ok(answer.into_inner()),
        Err(status) if status.code() == Code::Unimplemented => Ok(Greeted::default()),
        Err(status) => Err(GreetError::Refused(status)),
    }
}

/// Greets a member that is about to be sent messages or snapshots.
///
/// # Errors
/// Returns why nothing may be sent to the member.
pub(super) async fn require_level(peers: &Peers, to: MemberId, channel: Channel) -> Result<(), GreetError> {
    let supports = level(ask(peers.greeting(to), channel).await?.feature_level);
    let level = peers.shared.level();
    if supports < level {
        return Err(GreetError::TooOld { supports, level });
    }
    Ok(())
}

/// Level in a message. A sender that does not know the field supports the first level.
pub(crate) fn level(number: u32) -> FeatureLevel {
    FeatureLevel(number).max(FeatureLevel::FIRST)
}

/// Answers a greeting that was accepted.
pub(super) fn answer(peers: &Peers, from: MemberId) -> Greeted {
    let status = peers.shared.status();
    Greeted {
        feature_level: status.supports.0,
        configuration_index: status.committed_index.0,
        contains: status.committed.contains(from),
        removed: status.committed.removed.contains(&from),
    }
}

/// Highest level that the sender of a greeting supports.
pub(super) fn stated(greeting: &Greeting) -> FeatureLevel {
    level(greeting.feature_level)
}
