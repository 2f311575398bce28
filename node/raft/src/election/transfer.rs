//! Leadership transfers (Raft thesis §3.10). Owns the steps and their order: the leader refuses proposals, the target
//! catches up, the lease ends, and only then does the leader send TimeoutNow.

use crate::ids::{EntryId, Index, MemberId};
use crate::message::{Body, Message};
use crate::raft::Raft;
use crate::role::candidate::CampaignReason;
use crate::state::leader::Leader;
use crate::state::progress::PeerProgress;
use crate::state::role::RoleState;

/// Reason why a leadership transfer was refused; no transfer was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransferRefusal {
    /// This member does not lead.
    #[error("this member does not lead")]
    NotLeader,
    /// The target has no vote.
    #[error("{target} is not a voter")]
    NotVoter {
        /// Requested target.
        target: MemberId,
    },
    /// Another transfer is in progress.
    #[error("leadership is already being transferred to {target}")]
    InFlight {
        /// Target of the transfer in progress.
        target: MemberId,
    },
    /// No other voter answered within an election timeout.
    #[error("no other voter answered recently: there is no target for a transfer")]
    NoTarget,
}

impl Raft {
    pub(crate) fn start_transfer(&mut self, target: Option<MemberId>) -> Result<MemberId, TransferRefusal> {
        let RoleState::Leader(leader) = &self.role else { return Err(TransferRefusal::NotLeader) };
        let wanted = match target {
            Some(target) if target == self.config.id => return Ok(target),
            Some(target) if !self.history.latest().1.is_voter(target) => {
                return Err(TransferRefusal::NotVoter { target });
            }
            Some(target) => Some(target),
            None => self.best_successor(leader),
        };
        if let Some(target) = leader.transfer().map(|transfer| transfer.target()) {
            return if wanted == Some(target) { Ok(target) } else { Err(TransferRefusal::InFlight { target }) };
        }
        let target = wanted.ok_or(TransferRefusal::NoTarget)?;
        assert!(target != self.config.id, "leadership is transferred to another member");
        let deadline = self.clocks.monotonic().saturating_add(self.config.transfer_timeout);
        if let RoleState::Leader(leader) = &mut self.role {
            leader.begin_transfer(target, deadline);
        }
        Ok(target)
    }

    /// Returns the best target among the voters that answered within an election timeout: one that keeps up, with the most
    /// space on its volume, among these a preferred voter that holds every committed entry, otherwise the voter with the
    /// longest log.
    fn best_successor(&self, leader: &Leader) -> Option<MemberId> {
        let voters = &self.history.latest().1.voters;
        let active = leader.peers().iter().filter(|(id, progress)| {
            voters.contains(id) && progress.is_active(self.clocks.monotonic(), self.config.election_timeout)
        });
        let rank = |(id, progress): &(&MemberId, &PeerProgress)| {
            let standing = self.standing_of(progress);
            (self.keeps_up(progress), standing, self.is_preferred(**id, progress), progress.matched())
        };
        active.max_by_key(rank).map(|(id, _)| *id)
    }

    /// Returns the target of the transfer in progress, during which proposals are refused.
    pub(crate) fn transferring_to(&self) -> Option<MemberId> {
        match &self.role {
            RoleState::Leader(leader) => leader.transfer().map(|transfer| transfer.target()),
            _ => None,
        }
    }

    /// Asks the target to campaign when the target's durable log reaches the leader's last entry.
    pub(crate) fn drive_transfer(&mut self) {
        let last = self.log.last();
        let RoleState::Leader(leader) = &mut self.role else { return };
        let Some(transfer) = leader.transfer().filter(|transfer| !transfer.is_timeout_now_sent()) else { return };
        let target = transfer.target();
        let Some(progress) = leader.peer(target) else {
            leader.end_transfer();
            return;
        };
        if progress.matched() < last.index {
            return;
        }
        assert!(progress.matched() == last.index, "the target holds the whole log durably");
        leader.timeout_now_sent();
        self.send_timeout_now(target, last);
    }

    /// Sends TimeoutNow again, because the previous one may have been lost.
    pub(crate) fn repeat_timeout_now(&mut self) {
        let RoleState::Leader(leader) = &self.role else { return };
        let asked = leader.transfer().filter(|transfer| transfer.is_timeout_now_sent());
        if let Some(target) = asked.map(|transfer| transfer.target()) {
            self.send_timeout_now(target, self.log.last());
        }
    }

    fn send_timeout_now(&mut self, target: MemberId, last: EntryId) {
        let is_over = matches!(&self.role, RoleState::Leader(leader) if leader.is_lease_over());
        assert!(is_over, "the lease ends before TimeoutNow is sent");
        self.outbox.send(target, Message { term: self.hard.term(), body: Body::TimeoutNow { last } });
    }

    /// Ends a transfer that took too long. Returns whether this member therefore stopped leading.
    pub(crate) fn abort_overdue_transfer(&mut self) -> bool {
        let now = self.clocks.monotonic();
        let RoleState::Leader(leader) = &mut self.role else { return false };
        if leader.transfer().is_none_or(|transfer| now < transfer.deadline()) {
            return false;
        }
        leader.end_transfer();
        if leader.is_retiring() {
            self.follow(self.hard.term(), None);
            return true;
        }
        false
    }

    /// If this leader is no longer a voter, starts a transfer of leadership, or steps down if there is no successor
    /// (Raft thesis §4.2.2).
    pub(crate) fn retire_when_due(&mut self) {
        let (index, committed) = self.history.at(self.log.commit());
        let stays = committed.is_voter(self.config.id) || *index != self.history.latest().0;
        let RoleState::Leader(leader) = &mut self.role else { return };
        if stays || leader.is_retiring() {
            return;
        }
        leader.retire();
        if self.start_transfer(None).is_err() {
            self.follow(self.hard.term(), None);
        }
    }

    /// If the leader's disk is stalled, starts a transfer of leadership. Until the transfer ends, the leader continues
    /// to lead, because a majority of other members can still commit entries.
    pub(crate) fn transfer_from_stalled_disk(&mut self) {
        if !self.disk_is_stalled() {
            return;
        }
        let now = self.clocks.monotonic();
        let RoleState::Leader(leader) = &mut self.role else { return };
        if now < leader.stall_retry() {
            return;
        }
        leader.retry_stall_at(now.saturating_add(self.config.election_timeout.saturating_mul(2)));
        if !leader.is_transferring() {
            // If no successor is found, this member continues to lead, so the error is ignored.
            let _ = self.start_transfer(None);
        }
    }

    /// Handles the leader's request to campaign (TimeoutNow). Ignores late, duplicate and premature requests.
    pub(crate) fn on_timeout_now(&mut self, from: MemberId, last: EntryId) {
        let follows = matches!(self.role, RoleState::Follower) && self.leader.is(from);
        let reaches = self.log.holds(last) && self.durable_through(last.index);
        if follows && reaches && self.may_campaign() {
            self.campaign(CampaignReason::Transfer);
        }
    }

    /// Returns whether a member answers, and lags this leader by a few entries at most.
    pub(crate) fn keeps_up(&self, progress: &PeerProgress) -> bool {
        progress.is_active(self.clocks.monotonic(), self.config.election_timeout)
            && !progress.needs_snapshot()
            && self.log.last().index.0 - progress.matched().0 <= self.config.catch_up_entries
    }

    fn durable_through(&self, index: Index) -> bool {
        self.log.durable() >= index
    }
}
