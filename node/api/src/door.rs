//! Owns what every call passes before anybody looks into it: phase, role, metadata; and the two ways in, through the log
//! and around it. Does not own what the calls mean.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use engine::handle::Handle;
use engine::published::Published;
use engine::status::Status as MemberStatus;
use http::HeaderMap;
use mvcc::{Alarm, AlarmAction, AlarmChange, AlarmKind, Command, Outcome};
use raft::Role;
use tonic::Status;

use crate::header::Header;
use crate::limits::Limits;
use crate::observer::{CallObserver, PendingProposal, Request, Success};
use crate::parse::Consistency;
use crate::status::Refusal;

/// Applied so many entries behind committed, a member takes no more commands.
const APPLY_BEHIND_MAX: u64 = 5_000;

/// What the client port needs to know beside the member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Sizes that clients must keep to.
    pub limits: Limits,
    /// The most that the content may take, in bytes; beyond it, only what frees space is let in.
    pub quota_bytes: u64,
}

/// The member behind the client port.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    pub(crate) handle: Handle,
    pub(crate) settings: Settings,
    pub(crate) observer: Arc<dyn CallObserver>,
}

/// One received call.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) headers: HeaderMap,
    pub(super) message: Bytes,
}

impl Call {
    /// The message. Keys and values share the received bytes; they live no longer than the call, as the log and the store
    /// make copies of their own.
    pub(super) fn decode<M: prost::Message + Default>(&self) -> Result<M, Status> {
        M::decode(self.message.clone())
            .map_err(|error| Status::internal(format!("grpc: error unmarshalling request: {error}")))
    }
}

/// Who may answer a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answerer {
    /// Learners too.
    Anyone,
    /// Only members with a vote.
    Voter,
}

impl Door {
    /// Lets a call in, or says why not, in etcd's order.
    pub(super) fn admit(&self, call: &Call, answerer: Answerer) -> Result<Admitted, Refusal> {
        let status = self.handle.status();
        status.serving()?;
        if answerer == Answerer::Voter {
            refuse_on_learner(&status)?;
        }
        check_metadata(&call.headers, &status)?;
        Ok(Admitted { status })
    }

    /// Lets a call about this member's health in, whatever its phase.
    pub(super) fn admit_in_any_phase(&self, call: &Call) -> Result<Admitted, Refusal> {
        let status = self.handle.status();
        refuse_on_learner(&status)?;
        check_metadata(&call.headers, &status)?;
        Ok(Admitted { status })
    }

    /// A view as fresh as was asked for.
    pub(super) async fn read(&self, consistency: Consistency) -> Result<Arc<Published>, Refusal> {
        match consistency {
            Consistency::Serializable => Ok(self.handle.published()),
            Consistency::Linearizable => {
                let asked = Instant::now();
                match self.handle.linearizable().await {
                    Ok(published) => {
                        self.observer.read_confirmed(asked.elapsed());
                        Ok(published)
                    }
                    Err(error) => {
                        self.observer.read_failed();
                        Err(error.into())
                    }
                }
            }
        }
    }

    /// Refuses a command that the quota has no room for, and raises the alarm, which then binds every member until somebody
    /// clears it.
    pub(super) async fn check_quota(&self, command: &Command) -> Result<(), Refusal> {
        let cost = command.cost_bytes();
        let published = self.handle.published();
        if cost == 0 || published.view.size_bytes().saturating_add(cost) < self.settings.quota_bytes {
            return Ok(());
        }
        let alarm = Alarm { kind: AlarmKind::NoSpace, member: self.handle.member().0 };
        if published.view.alarms().all(|raised| raised != alarm) {
            let raise = Command::Alarm(AlarmChange { action: AlarmAction::Activate, alarm });
            // Refused either way; without the alarm the next one tries again.
            if let Err(error) = self.handle.propose(raise).await {
                tracing::warn!(%error, "the quota is used up, but the alarm could not be raised");
            }
        }
        Err(Refusal::NoSpace)
    }

    /// Sends a command through the log and waits for what it did.
    pub(super) async fn commit(
        &self,
        call: &Call,
        admitted: &Admitted,
        request: Request,
        command: Command,
    ) -> Result<Outcome, Refusal> {
        let asked = Instant::now();
        let outcome = self.propose(call, admitted, command).await;
        self.observer.request(request, Success::of(&outcome), asked.elapsed());
        outcome
    }

    async fn propose(&self, call: &Call, admitted: &Admitted, command: Command) -> Result<Outcome, Refusal> {
        if admitted.status.commit.0 > admitted.status.applied.0.saturating_add(APPLY_BEHIND_MAX) {
            return Err(Refusal::TooManyRequests);
        }
        self.settings.limits.check_for_log(call.message.len())?;
        let _pending = PendingProposal::begin(&*self.observer);
        match self.handle.propose(command).await {
            Ok(committed) => Ok(committed.result?),
            Err(error) => {
                self.observer.proposal_failed();
                Err(error.into())
            }
        }
    }
}

/// A call that was let in, and the member as it was then.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) status: Arc<MemberStatus>,
}

impl Admitted {
    /// The header of an answer, without revision.
    pub(super) fn header(&self) -> Header {
        Header {
            cluster_id: self.status.cluster.map_or(0, |cluster| cluster.short()),
            member_id: self.status.member.0,
            revision: 0,
            raft_term: self.status.term.0,
        }
    }
}

fn refuse_on_learner(status: &MemberStatus) -> Result<(), Refusal> {
    if status.role == Role::Learner { Err(Refusal::NotSupportedForLearner) } else { Ok(()) }
}

fn check_metadata(headers: &HeaderMap, status: &MemberStatus) -> Result<(), Refusal> {
    if let Some(version) = headers.get("client-api-version")
        && std::str::from_utf8(version.as_bytes()).is_err()
    {
        return Err(Refusal::InvalidClientApiVersion);
    }
    if status.leader.is_none() && headers.get("hasleader").is_some_and(|value| value == "true") {
        return Err(Refusal::NoLeader);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use engine::status::Phase;
    use http::HeaderValue;
    use raft::MemberId;

    use super::*;

    fn member(role: Role, leader: Option<MemberId>) -> MemberStatus {
        let mut status = MemberStatus::idle(MemberId(1), "demo-1".to_owned(), Phase::Member);
        status.role = role;
        status.leader = leader;
        status
    }

    #[test]
    fn a_member_that_does_not_serve_says_why() {
        for (phase, refusal) in [
            (Phase::Blank, Refusal::Blank),
            (Phase::Restoring, Refusal::Restoring),
            (Phase::Removed, Refusal::Removed),
            (Phase::Damaged, Refusal::Damaged),
        ] {
            let status = MemberStatus::idle(MemberId(1), String::new(), phase);
            assert_eq!(status.serving().map_err(Refusal::from), Err(refusal));
        }
        let learner = member(Role::Learner, None);
        assert_eq!(learner.serving().map_err(Refusal::from), Err(Refusal::Blank));
    }

    #[test]
    fn a_learner_is_refused_what_needs_a_vote() {
        assert_eq!(refuse_on_learner(&member(Role::Learner, None)), Err(Refusal::NotSupportedForLearner));
        assert_eq!(refuse_on_learner(&member(Role::Follower, None)), Ok(()));
    }

    /// What etcd's `WithRequireLeader` sends.
    #[test]
    fn who_requires_a_leader_is_refused_without_one() {
        let mut headers = HeaderMap::new();
        let without = member(Role::Follower, None);
        assert_eq!(check_metadata(&headers, &without), Ok(()));
        headers.insert("hasleader", HeaderValue::from_static("true"));
        assert_eq!(check_metadata(&headers, &without), Err(Refusal::NoLeader));
        assert_eq!(check_metadata(&headers, &member(Role::Follower, Some(MemberId(2)))), Ok(()));
        headers.insert("hasleader", HeaderValue::from_static("false"));
        assert_eq!(check_metadata(&headers, &without), Ok(()));
    }

    #[test]
    fn a_client_version_must_be_utf8() {
        let status = member(Role::Leader, Some(MemberId(1)));
        let mut headers = HeaderMap::new();
        headers.insert("client-api-version", HeaderValue::from_bytes(b"3.7\xff").unwrap());
        assert_eq!(check_metadata(&headers, &status), Err(Refusal::InvalidClientApiVersion));
        headers.insert("client-api-version", HeaderValue::from_bytes("3.7-ü".as_bytes()).unwrap());
        assert_eq!(check_metadata(&headers, &status), Ok(()));
    }
}
